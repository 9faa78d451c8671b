//! The URL that a container is told.

use secrecy::SecretString;

const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];

/// `host`: a name or an address; an IPv6 address gets its brackets here.
pub(super) fn url(user: &str, password: &[u8], host: &str, port: u16, database: &str) -> SecretString {
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    SecretString::from(format!(
        "postgresql://{}:{}@{host}:{port}/{}",
        percent(user.as_bytes()),
        percent(password),
        percent(database.as_bytes())
    ))
}

/// Percent-encodes all but RFC 3986's unreserved characters.
fn percent(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    text
}

//! The statement that makes a database.

use super::connection::Connection;
use super::error::DatabaseError;
use super::sql::{quote_name, quote_text};

/// `CREATE DATABASE`, empty and closed to everybody. From `template0`, where nobody can be: a session in `template1` would
/// hold it up, and what somebody put there would arrive.
pub(super) async fn create_statement(connection: &Connection, name: &str) -> Result<String, DatabaseError> {
    let sql = "SELECT pg_encoding_to_char(encoding)::text, datcollate::text, datctype::text \
               FROM pg_database WHERE datname = 'template0'";
    let Some(row) = connection.row("find template", sql, &[]).await? else {
        return Err(DatabaseError::new("find template", "there is no database template0"));
    };
    let (encoding, collate, ctype): (String, String, String) = (row.get(0), row.get(1), row.get(2));
    // Another encoding's locale does not go with UTF8; C goes with each.
    let (collate, ctype) = if encoding == "UTF8" { (collate.as_str(), ctype.as_str()) } else { ("C", "C") };
    Ok(format!(
        "CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE {} LC_CTYPE {} ALLOW_CONNECTIONS false",
        quote_name(name),
        quote_text(collate),
        quote_text(ctype)
    ))
}

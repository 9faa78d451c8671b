//! The passwords of the previews' database roles: random, and new at every start.

use std::collections::HashMap;
use std::sync::Mutex;

use secrecy::SecretString;

use crate::id::PreviewId;
use crate::lock::lock;

const LENGTH: usize = 32;

/// The password that the next start of a preview will set.
#[derive(Default)]
pub(super) struct Passwords(Mutex<HashMap<PreviewId, SecretString>>);

impl Passwords {
    /// The password of the next start.
    pub(super) fn next(&self, id: &PreviewId) -> SecretString {
        lock(&self.0).entry(id.clone()).or_insert_with(random).clone()
    }

    /// The same, for the start that sets it: the one after that gets another.
    pub(super) fn take(&self, id: &PreviewId) -> SecretString {
        lock(&self.0).remove(id).unwrap_or_else(random)
    }
}

/// Letters and digits only, so that no URL and no shell needs to quote it.
fn random() -> SecretString {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(LENGTH);
    while text.len() < LENGTH {
        let mut bytes = [0_u8; LENGTH];
        if getrandom::fill(&mut bytes).is_err() {
            // The kernel's source does not fail after boot; a weaker password is better than none.
            fastrand::fill(&mut bytes);
        }
        // 62 * 4 = 248: what lies above would favour the first letters.
        let letters = bytes
            .iter()
            .filter(|&&byte| byte < 248)
            .map(|&byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
        text.extend(letters.take(LENGTH - text.len()));
    }
    SecretString::from(text)
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn passwords_are_long_and_each_start_has_its_own() {
        let (passwords, id) = (Passwords::default(), PreviewId::project(1));
        let first = passwords.next(&id);
        assert_eq!(first.expose_secret().len(), LENGTH);
        assert_eq!(passwords.next(&id).expose_secret(), first.expose_secret());
        assert_eq!(passwords.take(&id).expose_secret(), first.expose_secret());
        assert_ne!(passwords.next(&id).expose_secret(), first.expose_secret());
    }
}

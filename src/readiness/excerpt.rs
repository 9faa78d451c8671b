//! What users see of a report: cut to a length, without passwords.

use super::redact::without_passwords;

/// The most bytes that are kept of a report. What matters comes first.
pub(super) const MAX_BYTES: usize = 8 * 1024;

/// The most characters of a message. Longer text is no sentence.
const MAX_MESSAGE: usize = 500;

/// The message, cut where it is too long.
pub(super) fn message(mut message: String) -> String {
    if message.len() > MAX_MESSAGE
        && let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE)
    {
        message.truncate(end);
    }
    message
}

/// The text of the report, as it was printed, without passwords.
pub(super) fn raw(report: &str) -> String {
    let mut raw = without_passwords(report);
    let end = (0..=MAX_BYTES.min(raw.len())).rev().find(|&end| raw.is_char_boundary(end));
    raw.truncate(end.unwrap_or(0));
    raw
}

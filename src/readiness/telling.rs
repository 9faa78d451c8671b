//! The last telling line of a process that ended: what a person would quote.

use super::excerpt;
use super::redact::without_passwords;

/// Words of lines that say what went wrong.
const WORDS: &[&str] = &[
    "rror",
    "ailed",
    "annot",
    "can't",
    "an not",
    "ould not",
    "not found",
    "denied",
    "invalid",
    "Invalid",
    "nsupported",
    "required",
    "requires",
    "missing",
    "Missing",
    "fatal",
    "FATAL",
    "anic",
    "refused",
    "Unknown",
    "unknown",
    "xpected",
    "exception",
    "Exception",
];
/// How lines start that say no more than that something failed, or are not the app's.
const NOISE: &[&str] =
    &["npm ", "at ", "Node.js v", "error Command failed", " ELIFECYCLE", "ELIFECYCLE", "Bun v", "info Visit"];

/// The line, from the last lines of stderr, or of stdout where stderr is silent. A line with a word of failure counts more
/// than one that came later.
#[must_use]
pub fn telling_line<'a>(stderr: impl DoubleEndedIterator<Item = &'a str> + Clone) -> Option<String> {
    let telling = |line: &&str| {
        let text = line.trim();
        let letters = text.chars().filter(|letter| letter.is_alphabetic()).count();
        letters > 3 && !NOISE.iter().any(|noise| text.starts_with(noise.trim_start())) && !is_property(text)
    };
    let lines = stderr.rev().filter(telling);
    let line = lines.clone().find(|line| WORDS.iter().any(|word| line.contains(word)));
    let line = line.or_else(|| lines.into_iter().next())?.trim();
    Some(excerpt::message(without_passwords(line)))
}

/// `code: 'EACCES',` of an object that was printed, and lines of a native stack.
fn is_property(text: &str) -> bool {
    let name = text.split(':').next().unwrap_or(text);
    let property = name.len() < text.len() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let native = name.bytes().all(|byte| byte.is_ascii_digit()) && text.contains("0x");
    native || property && (text.ends_with(',') || text.ends_with('\''))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_would_quote() {
        for (lines, expected) in [
            (&["Error: boom", "    at x (/app/a.js:1:1)", "", "Node.js v20.1.0"][..], Some("Error: boom")),
            (&["The CLI requires Node 22.", "", "Please visit https://nodejs.org/"], Some("The CLI requires Node 22.")),
            (&["Error: EACCES: denied", "  code: 'EACCES',", "  path: '/x'", "}"], Some("Error: EACCES: denied")),
            (&["sh: 1: x: not found", "npm error code 127"], Some("sh: 1: x: not found")),
            (&["giving up"], Some("giving up")),
            (&["postgres://me:s3cret@db/x failed"], Some("postgres://me:***@db/x failed")),
            (&["}", "", "10: 0x195e476  [node]"], None),
        ] {
            let told = telling_line(lines.iter().copied());
            let same = told.as_deref() == expected
                || expected.is_some_and(|line| {
                    line.contains("***") && !told.as_deref().unwrap_or("s3cret").contains("s3cret")
                });
            assert!(same, "{lines:?}: {told:?}");
        }
    }
}

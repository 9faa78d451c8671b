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

/// The line, from the last lines of both streams. A line with a word of failure counts more than one that came later, and
/// stderr more than stdout, where only such a line counts.
#[must_use]
pub fn telling_line(stderr: &[&str], stdout: &[&str]) -> Option<String> {
    let failing = |lines: &[&str]| {
        let mut telling = lines.iter().rev().filter(|line| is_telling(line));
        telling.find(|line| WORDS.iter().any(|word| line.contains(word))).map(|line| (*line).to_owned())
    };
    let last = || stderr.iter().rev().find(|line| is_telling(line)).map(|line| (*line).to_owned());
    let line = failing(stderr).or_else(|| failing(stdout)).or_else(last)?;
    Some(excerpt::message(without_passwords(line.trim())))
}

fn is_telling(line: &str) -> bool {
    let text = line.trim();
    let letters = text.chars().filter(|letter| letter.is_alphabetic()).count();
    letters > 3 && !NOISE.iter().any(|noise| text.starts_with(noise.trim_start())) && !is_property(text)
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
            let told = telling_line(lines, &[]);
            let same = told.as_deref() == expected
                || expected.is_some_and(|line| {
                    line.contains("***") && !told.as_deref().unwrap_or("s3cret").contains("s3cret")
                });
            assert!(same, "{lines:?}: {told:?}");
        }
        assert_eq!(telling_line(&[], &["✓ Compiled / in 200ms"]), None);
        assert_eq!(telling_line(&["up"], &["Cannot find module 'x'", "up"]).as_deref(), Some("Cannot find module 'x'"));
    }
}

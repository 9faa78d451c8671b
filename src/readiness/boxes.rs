//! The boxes that some tools draw around what they say: `■  Vite Pre-transform error: ...` with `│  File: ...` below.

use memchr::memchr;

/// Marks of a box's first line: an error, a warning, a note, a step.
const MARKS: &[&str] = &["■  ", "▲  ", "●  ", "◆  ", "◇  "];
const BAR: &str = "│";

/// Whether a box is open, in one stream.
#[derive(Debug, Default)]
pub(super) struct Boxes {
    open: bool,
}

impl Boxes {
    /// The line without the box, and whether it goes on a sentence that was wrapped. A line of a box that was not seen to
    /// begin stays: frames of code are drawn with the same bar.
    pub(super) fn strip<'a>(&mut self, line: &'a [u8]) -> &'a [u8] {
        // All marks begin with the same byte, and few lines do.
        if line.first() != Some(&0xe2) {
            self.open &= line.is_empty();
            return line;
        }
        if let Some(rest) = MARKS.iter().find_map(|mark| line.strip_prefix(mark.as_bytes())) {
            self.open = true;
            return rest;
        }
        if let Some(rest) = line.strip_prefix(BAR.as_bytes()).filter(|_| self.open) {
            return rest.strip_prefix(b"  ").unwrap_or(rest);
        }
        self.open = false;
        line
    }

    pub(super) fn is_open(&self) -> bool {
        self.open
    }
}

/// Whether a line of a box may be the rest of the sentence before it: it begins no statement of its own.
pub(super) fn is_wrapped(line: &[u8]) -> bool {
    let first = line.first().copied().unwrap_or(b' ');
    let word = &line[..memchr(b' ', line).unwrap_or(line.len())];
    !first.is_ascii_digit()
        && !matches!(first, b' ' | b'>' | b'|')
        && !word.ends_with(b":")
        && !line.starts_with(b"at ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_taken_away() {
        let mut boxes = Boxes::default();
        for (line, expected) in [
            ("│  before", "│  before"),
            ("■  Vite Pre-transform error: x", "Vite Pre-transform error: x"),
            ("│  File: a.js", "File: a.js"),
            ("│", ""),
            ("│   1 │ code", " 1 │ code"),
            ("up", "up"),
            ("│  after", "│  after"),
        ] {
            assert_eq!(boxes.strip(line.as_bytes()), expected.as_bytes(), "{line}");
        }
    }
}

//! A report whose last line has not been seen yet.

use std::borrow::Cow;

use super::super::excerpt::MAX_BYTES;
use super::super::format::Format;
use super::super::place::leading;
use super::super::tables::CONTINUES;
use super::super::words::lossy;

/// The most lines that are kept of a report. What matters comes first.
const MAX_LINES: usize = 64;

#[derive(Debug)]
pub(in super::super) struct OpenReport {
    pub(in super::super) format: &'static Format,
    text: Vec<u8>,
    lines: usize,
    /// A message goes on until a blank line or a frame of code. After it, only what looks like more of the report is.
    message: bool,
    blank: bool,
    /// Turbopack of Next 15 prints a headline, a frame of code, and the message only then.
    headed: bool,
}

impl OpenReport {
    pub(in super::super) fn new(format: &'static Format, line: &[u8]) -> Self {
        let mut report =
            Self { format, text: Vec::with_capacity(1024), lines: 0, message: true, blank: false, headed: false };
        report.push(line);
        report
    }

    pub(in super::super) fn push(&mut self, line: &[u8]) {
        let line = line.trim_ascii_end();
        self.blank = line.is_empty();
        self.message &= !self.blank;
        if self.lines == 1 && line.strip_prefix(b"Error: ").unwrap_or(line).starts_with(b"Parsing ") {
            self.headed = true;
        } else if !self.blank {
            self.headed = false;
        }
        self.keep(line);
    }

    /// Adds the rest of a sentence that was wrapped. False: no sentence is open.
    pub(in super::super) fn rejoin(&mut self, line: &[u8]) -> bool {
        let open = self.message && self.text.len() + line.len() < MAX_BYTES && self.text.last() == Some(&b'\n');
        // What ends with a colon introduces the next line.
        let ends = self.text.trim_ascii_end().ends_with(b":");
        if open && !ends {
            self.text.pop();
            self.text.push(b' ');
            self.text.extend_from_slice(line);
            self.text.push(b'\n');
        }
        open && !ends
    }

    /// Adds a line that begins a message anew.
    pub(in super::super) fn push_opening(&mut self, line: &[u8]) {
        self.message = true;
        self.push(line);
    }

    /// Adds a line of a frame of code, or of a stack trace.
    pub(in super::super) fn push_frame(&mut self, line: &[u8]) {
        (self.blank, self.message) = (false, false);
        self.keep(line.trim_ascii_end());
    }

    fn keep(&mut self, line: &[u8]) {
        // React draws the whole tree around what does not match.
        if self.format.browser && is_drawn(line) {
            return;
        }
        if self.lines < MAX_LINES && self.text.len() + line.len() < MAX_BYTES {
            self.lines += 1;
            self.text.extend_from_slice(line);
            self.text.push(b'\n');
        }
    }

    /// The text, without blank lines at its ends.
    pub(in super::super) fn text(&self) -> Cow<'_, str> {
        lossy(self.printed())
    }

    fn printed(&self) -> &[u8] {
        let text = self.text.trim_ascii_end();
        let blank = text.iter().take_while(|byte| **byte == b'\n').count();
        &text[blank..]
    }

    /// Whether the other report has the same format and text.
    pub(in super::super) fn is_like(&self, other: &Self) -> bool {
        self.format == other.format && self.printed() == other.printed()
    }

    /// Whether a line that could open a report of this format is a part of the open one.
    pub(in super::super) fn absorbs(&self, format: &Format, line: &[u8]) -> bool {
        if self.format == format {
            (format.continues_own)(&self.text, line)
        } else {
            format.continues_other && self.goes_on(line) || (self.format.takes_in)(&self.text)
        }
    }

    /// Whether a line that means nothing by itself is a part of the report.
    pub(in super::super) fn goes_on(&self, line: &[u8]) -> bool {
        let text = line.trim_ascii_start();
        self.format.browser
            || text.is_empty()
            || text.len() < line.len()
            || self.message
            || self.headed
            || CONTINUES.start(text)
            || self.lines < self.format.head
            || {
                let text = lossy(text);
                text.starts_with(char::is_whitespace) || self.blank && leading(&text, true).is_some()
            }
    }
}

fn is_drawn(line: &[u8]) -> bool {
    let line = line.trim_ascii_start();
    line.starts_with(b"<") || line.starts_with(b"...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_starts_with_any_space_goes_on() {
        static FORMAT: Format = Format::DEFAULT;
        let mut report = OpenReport::new(&FORMAT, b"./app/page.js");
        report.push(b"");
        for (line, goes_on) in [("  more", true), ("\u{a0}more", true), ("\u{3000}", true), ("another", false)] {
            assert_eq!(report.goes_on(line.as_bytes()), goes_on, "{line:?}");
        }
    }
}

//! The lines that a dev server prints about one error, from the first to where they end.

use std::borrow::Cow;

use memchr::memmem;

use super::marker::Format;
use super::place::leading;
use super::words::{Beginnings, lossy};

/// More of a block is not kept: what matters comes first.
const MAX_LINES: usize = 64;
pub(super) const MAX_BYTES: usize = 8 * 1024;

/// A block that stands open.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) format: Format,
    text: Vec<u8>,
    lines: usize,
    /// A message goes on until a blank line or a frame of code; then only what looks like more of it belongs to it.
    message: bool,
    blank: bool,
    /// Turbopack of Next 15 tells what failed first, and what is wrong after the frame of code.
    headed: bool,
}

impl Block {
    pub(super) fn new(format: Format, line: &[u8]) -> Self {
        let mut block =
            Self { format, text: Vec::with_capacity(1024), lines: 0, message: true, blank: false, headed: false };
        block.push(line);
        block
    }

    pub(super) fn push(&mut self, line: &[u8]) {
        let line = line.trim_ascii_end();
        self.blank = line.is_empty();
        self.message &= !self.blank;
        if self.lines == 1 && line.starts_with(b"Parsing ") {
            self.headed = true;
        } else if !self.blank {
            self.headed = false;
        }
        self.keep(line);
    }

    /// Takes in a line of code or of a stack.
    pub(super) fn push_frame(&mut self, line: &[u8]) {
        (self.blank, self.message) = (false, false);
        self.keep(line.trim_ascii_end());
    }

    fn keep(&mut self, line: &[u8]) {
        if self.lines < MAX_LINES && self.text.len() + line.len() < MAX_BYTES {
            self.lines += 1;
            self.text.extend_from_slice(line);
            self.text.push(b'\n');
        }
    }

    /// What was printed, without blank lines at its ends.
    pub(super) fn text(&self) -> Cow<'_, str> {
        lossy(self.printed())
    }

    fn printed(&self) -> &[u8] {
        let text = self.text.trim_ascii_end();
        let blank = text.iter().take_while(|byte| **byte == b'\n').count();
        &text[blank..]
    }

    /// Whether it reads the same.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        self.format == other.format && self.printed() == other.printed()
    }

    /// Whether a line that could open a block of its own is a part of this one.
    pub(super) fn absorbs(&self, format: Format, line: &[u8]) -> bool {
        let first = self.lines == 1;
        match format {
            // Exceptions stand in every report; Node names the place of one before it.
            Format::Crash if self.format == Format::Crash => !self.holds("Error: "),
            Format::Crash => self.goes_on(line),
            Format::Environment => self.format != Format::Environment && self.goes_on(line),
            // Next 14 tells the place first: `⨯ app/page.js (3:21) @ price`, then `⨯ TypeError: ...`.
            Format::Next => self.format == Format::Next && first && self.holds(" @ "),
            Format::Config => self.format == Format::Config,
            Format::Vite => line.starts_with(b" ") && self.format == Format::Vite,
            _ => false,
        }
    }

    fn holds(&self, word: &str) -> bool {
        memmem::find(&self.text, word.as_bytes()).is_some()
    }

    /// Whether a line that means nothing by itself is more of this block.
    pub(super) fn goes_on(&self, line: &[u8]) -> bool {
        let text = line.trim_ascii_start();
        text.is_empty()
            || text.len() < line.len()
            || self.message
            || self.headed
            || MORE.begin(text)
            || matches!(self.format, Format::Page | Format::Config | Format::Crash) && self.lines < 3
            || {
                let text = lossy(text);
                text.starts_with(char::is_whitespace) || self.blank && leading(&text, true).is_some()
            }
    }
}

/// A line of a frame of code, or of a stack: whatever it quotes is no word of the server.
pub(super) fn is_frame(line: &[u8]) -> bool {
    let text = line.trim_ascii_start();
    let rest = text.strip_prefix(b">").unwrap_or(text).trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = rest[digits..].trim_ascii_start();
    FRAME.begin(rest) || digits == 0 && STACK.begin(rest)
}

static FRAME: Beginnings = Beginnings::new(&["|", "│", "┃"]);
static STACK: Beginnings = Beginnings::new(&[": ", "at ", "⁃ "]);

/// How lines begin that go on with a report after a blank line.
static MORE: Beginnings = Beginnings::new(&[
    "Error",
    "error",
    "Caused by",
    "ℹ Error",
    "Import trace",
    "https://",
    "./",
    "../",
    "}",
    "{",
    "]",
    "digest",
    "Parsing ",
    "Ecmascript",
    "File:",
    "FILE ",
    "Plugin:",
    "Module ",
    "Build failed",
    "[",
    "Syntax",
    "Type",
    "TS",
    "Did you",
    "Stack",
    "Require stack",
    "- /",
    "─",
    "╭",
    "│",
    "╰",
    ",-",
    "`-",
    "Location:",
    "Node.js v",
    "x ",
    "×",
    "✘",
    "Are they",
    "Reference",
    "src/",
    "SyntaxError",
    "^",
]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_begins_with_any_space_goes_on() {
        let mut block = Block::new(Format::Next, b"./app/page.js");
        block.push(b"");
        for (line, goes_on) in [("  more", true), ("\u{a0}more", true), ("\u{3000}", true), ("another", false)] {
            assert_eq!(block.goes_on(line.as_bytes()), goes_on, "{line:?}");
        }
    }
}

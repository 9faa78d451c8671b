//! Frames of code, as Babel, SWC, esbuild and Rolldown draw them.

use super::super::place::{Place, anywhere, is_source, number};
use super::super::words::Prefixes;

static BARS: Prefixes = Prefixes::new(&["|", "│", "┃"]);
static CALLS: Prefixes = Prefixes::new(&[": ", "at ", "⁃ "]);

/// Whether the line of an open report is one of a frame of code, or of a stack trace. It may quote anything.
#[inline]
pub(in super::super) fn is_frame(line: &[u8]) -> bool {
    // No server indents its own lines that far.
    if line.starts_with(b"    ") {
        return true;
    }
    let text = line.trim_ascii_start();
    match text.first() {
        Some(b'>' | b'|' | b':' | b'a' | b'0'..=b'9' | 0xe2) => {}
        _ => return false,
    }
    let rest = text.strip_prefix(b">").unwrap_or(text).trim_ascii_start();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = rest[digits..].trim_ascii_start();
    BARS.start(rest) || digits == 0 && CALLS.start(rest)
}

/// What a frame of code tells of a place.
#[derive(Default)]
pub(super) struct Frame<'a> {
    /// From the head of SWC's frame. The file is right; the position is where the frame starts.
    pub(super) file: Option<&'a str>,
    /// The line of code that is marked with `>`.
    pub(super) marked: Option<u32>,
    /// The line of code that was printed last.
    last: Option<u32>,
    /// The line of code above the caret, where it has a number, and the column of the caret.
    pub(super) caret: Option<(Option<u32>, u32)>,
}

/// What one line of a report is to a frame.
pub(super) enum FrameLine<'a> {
    /// No line of a frame.
    Other,
    Inside,
    /// The head of Rolldown's frame, which tells the place of the error.
    Head(Place<'a>),
}

impl<'a> Frame<'a> {
    /// Reads a line: Babel `> 1 | code`, SWC ` 1 | code` below `,-[file:1:1]`, esbuild ` 1 │ code`. `text` is the line
    /// without white space at its ends, `first` its first byte.
    #[inline]
    pub(super) fn read(&mut self, line: &'a str, text: &'a str, first: u8) -> FrameLine<'a> {
        // Most lines of a report start with a letter, and no line of a frame does.
        if first.is_ascii_alphabetic() {
            return FrameLine::Other;
        }
        let (marked, rest) = match text.strip_prefix("> ") {
            Some(rest) => (true, rest.trim_start()),
            None => (false, text),
        };
        if first.is_ascii_digit() || marked {
            return if self.code(rest, marked) { FrameLine::Inside } else { FrameLine::Other };
        }
        if let Some(rest) = text.strip_prefix(['|', '│', ':', '·']) {
            let caret = rest.find(['^', '┬', '─']).filter(|&at| rest[..at].trim().is_empty());
            if let (Some(caret), None) = (caret, self.caret) {
                let column = rest[..caret].chars().count();
                self.caret = Some((self.marked.or(self.last), u32::try_from(column).unwrap_or(u32::MAX).max(1)));
            }
            return FrameLine::Inside;
        }
        let rest = text.trim_start_matches([',', '-', '╭', '─', '`', '╰', '╵', '╯']);
        if rest.len() < text.len() && (rest.is_empty() || rest.starts_with('[')) {
            return self.head(rest);
        }
        if first == b'^' && self.caret.is_none() {
            let column = line.chars().count() - line.trim_start().chars().count();
            self.caret = Some((None, u32::try_from(column + 1).unwrap_or(u32::MAX)));
        }
        if first == b'^' || first == b'~' { FrameLine::Inside } else { FrameLine::Other }
    }

    /// Reads a line of code after its mark. False: it is none.
    fn code(&mut self, rest: &str, marked: bool) -> bool {
        let Some((number, rest)) = number(rest) else { return marked };
        if !rest.trim_start().starts_with(['|', '│', '┃']) {
            return false;
        }
        self.last = Some(number);
        if marked {
            self.marked.get_or_insert(number);
        }
        true
    }

    /// Reads the head or the foot of a frame. SWC's head tells where the frame starts, Rolldown's where the error is.
    fn head(&mut self, rest: &'a str) -> FrameLine<'a> {
        let Some(place) = anywhere(rest).filter(|place| is_source(place.file)) else { return FrameLine::Inside };
        if rest.starts_with("[ ") {
            return FrameLine::Head(place);
        }
        self.file.get_or_insert(place.file);
        FrameLine::Inside
    }
}

//! One line of output, and what it can mean.

use super::format::Format;
use super::place::number;
use super::problem::Problem;

/// A line without escape sequences.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    /// The line as it was printed.
    pub(super) printed: &'a str,
    /// The line without white space at its ends.
    pub(super) text: &'a str,
    /// The text after a clock, where the line starts with one.
    pub(super) after_clock: Option<&'a str>,
}

impl<'a> Line<'a> {
    pub(super) fn new(printed: &'a str) -> Self {
        let text = printed.trim_ascii();
        Self { printed, text, after_clock: after_clock(text) }
    }

    /// The text without the clock.
    pub(super) fn body(&self) -> &'a str {
        self.after_clock.unwrap_or(self.text)
    }
}

/// The text after a clock: `16:53:11 `, `4:50:05 PM `.
pub(super) fn after_clock(text: &str) -> Option<&str> {
    if !text.as_bytes().first()?.is_ascii_digit() {
        return None;
    }
    let rest = number(text)?.1.strip_prefix(':')?;
    let rest = number(rest)?.1.strip_prefix(':')?;
    let rest = number(rest)?.1.strip_prefix(' ')?;
    Some(rest.strip_prefix("AM ").or_else(|| rest.strip_prefix("PM ")).unwrap_or(rest))
}

/// What one line means.
#[derive(Debug)]
pub(super) enum Marker<'a> {
    /// The server is up, and listens on this port if the line says so.
    Ready(Option<u16>),
    Listening(u16),
    Compiling,
    Compiled,
    Answered,
    Rebuilt,
    /// The process ended, and what watches it lives on.
    Crashed,
    /// A build failed.
    Failed,
    /// Next.js says its version.
    Next(u32, u32),
    Checked(u32),
    /// The updated modules, separated by commas.
    Updated(&'a str),
    /// This page was asked for, and answered with 200.
    Loaded(&'a str),
    /// Next.js compiled what was edited, and sent it to the browsers.
    Refreshed,
    Reloaded,
    Problem(Problem),
    /// The first line of a report.
    Opens(&'static Format),
    /// A line of the server that ends a report and says nothing else.
    Ends,
}

//! Astro 5. It prints a clock before most lines.

use super::super::line::{Line, Marker};
use super::super::stack::{Groups, ReportWords, Rule, Stack, groups};
use super::shared::listening::tagged_request;
use super::shared::reports::PAGE;

groups! {
    Word, WORDS:
    Error = "ERROR",
    Request = "[200] " | "[50" | "GET " | "HEAD ",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    errors: Some(Rule { groups: Word::bits(&[Word::Error]), read: error }),
    progress: Some(Rule { groups: Word::bits(&[Word::Request]), read: request }),
    report: ReportWords {
        continues: &["Stack", "Location:"],
        prefixes: &["[ERROR] "],
        asides: &["Stack trace"],
        ..ReportWords::DEFAULT
    },
    ..Stack::DEFAULT
};

/// `06:44:58 [ERROR] Cannot read properties of undefined`.
fn error<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    line.after_clock.is_some_and(|body| body.starts_with("[ERROR]")).then_some(Marker::Opens(&PAGE))
}

/// `06:45:01 [200] / 4ms`. The error of a 500 has a line of its own.
fn request<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    let (status, path) = tagged_request(line.body()).filter(|(_, path)| path.starts_with('/'))?;
    let page = path == "/" || path.starts_with("/ ");
    Some(if status == 200 && page { Marker::Answered } else { Marker::Ends })
}

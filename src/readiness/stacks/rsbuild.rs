//! Rsbuild. Its lines begin with a level in place of a mark.

use super::super::line::{Line, Marker};
use super::super::stack::{Groups, ReportWords, Rule, Stack, groups};
use super::webpack;

groups! {
    Word, WORDS:
    Error = "rror",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    errors: Some(Rule { groups: Word::bits(&[Word::Error]), read: error }),
    report: ReportWords { headlines: &["Build error"], asides: &["Import traces"], ..ReportWords::DEFAULT },
    ..Stack::DEFAULT
};

/// `error   Build error: `, with `File: ./src/App.jsx:1:1` and the errors below.
fn error<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    let rest = line.text.strip_prefix("error ")?.trim_ascii_start();
    rest.starts_with("Build error").then_some(Marker::Opens(&webpack::REPORT))
}

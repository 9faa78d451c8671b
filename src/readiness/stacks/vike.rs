//! Vike. It numbers the requests behind Vite's tag.

use super::super::line::{Line, Marker};
use super::super::stack::{Groups, ReportWords, Rule, Stack, groups};
use super::shared::reports::PAGE;

groups! {
    Word, WORDS:
    Failed = "Failed to transpile ",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    marked: Some(Rule { groups: Word::bits(&[Word::Failed]), read: failed }),
    report: ReportWords { prefixes: &["Failed to transpile "], ..ReportWords::DEFAULT },
    ..Stack::DEFAULT
};

/// `6:28:46 PM [vite][request-5] Failed to transpile /pages/index/+Page.jsx because:`
fn failed<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    let because = words.after(Word::Failed, line.text)?.ends_with(" because:");
    (because && line.body().starts_with('[')).then_some(Marker::Opens(&PAGE))
}

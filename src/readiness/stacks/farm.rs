//! Farm.

use super::super::format::Format;
use super::super::line::{Line, Marker};
use super::super::signal::ClearedBy;
use super::super::stack::{Groups, ReportWords, Rule, Stack, groups};

groups! {
    Word, WORDS:
    Tag = "[ Farm ] ",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    marked: Some(Rule { groups: Word::bits(&[Word::Tag]), read: marked }),
    report: ReportWords { prefixes: &["[ Farm ] "], asides: &["Potential Causes"], ..ReportWords::DEFAULT },
    ..Stack::DEFAULT
};

static REPORT: Format = Format { cleared_by: |_, _| ClearedBy::Rebuilt, ..Format::DEFAULT };

/// ``[ Farm ] Error: Parse `src/App.jsx` failed.``, `[ Farm ] src/App.jsx updated in 4ms`.
fn marked<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    let rest = words.after(Word::Tag, line.text)?;
    if rest.starts_with("Error: ") {
        return Some(Marker::Opens(&REPORT));
    }
    rest.contains(" updated in ").then_some(Marker::Rebuilt)
}

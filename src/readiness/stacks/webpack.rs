//! webpack 5 and its dev server.

use super::super::format::Format;
use super::super::line::{Line, Marker};
use super::super::place::leading;
use super::super::signal::ClearedBy;
use super::super::stack::{Groups, ReportWords, Rule, Stack, groups};
use super::tsc;

groups! {
    Word, WORDS:
    Error = "ERROR",
    Compile = "ompil",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    errors: Some(Rule { groups: Word::bits(&[Word::Error]), read: error }),
    progress: Some(Rule { groups: Word::bits(&[Word::Compile]), read: compiled }),
    report: ReportWords {
        prefixes: &["ERROR in "],
        headlines: &["Module build failed", "You may need an appropriate loader"],
        missing: &["Module not found", "Can't resolve"],
        ..ReportWords::DEFAULT
    },
    ..Stack::DEFAULT
};

/// `Failed to compile.`, `ERROR in ./src/App.js`, with the errors below.
pub(super) static REPORT: Format = Format { cleared_by: |_, _| ClearedBy::Rebuilt, sections: true, ..Format::DEFAULT };

/// `ERROR in ./src/App.js`; with a position, and without `./`, the type checker's plugin prints it.
fn error<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    let rest = line.text.strip_prefix("ERROR in ")?;
    let checked = leading(rest, false).is_some_and(|(place, _)| place.line.is_some()) && !rest.starts_with("./");
    Some(Marker::Opens(if checked { &tsc::REPORT } else { &REPORT }))
}

/// `webpack compiled successfully`, `webpack 5.90.0 compiled with 1 error in 30 ms`.
fn compiled<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    if !line.text.starts_with("webpack") || !line.text.contains("ompiled") {
        return None;
    }
    Some(if line.text.contains("rror") { Marker::Ends } else { Marker::Rebuilt })
}

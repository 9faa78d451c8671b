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
    Missing = "ot found",
    Compile = "ompil",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    errors: Some(Rule { groups: Word::bits(&[Word::Error, Word::Missing]), read: error }),
    progress: Some(Rule { groups: Word::bits(&[Word::Compile]), read: compiled }),
    report: ReportWords {
        prefixes: &["ERROR in ", "× ", "╰─▶ ", "JavaScript parse error: ", "[tsl] ", "ERROR in "],
        headlines: &[
            "Module build failed",
            "Module parse failed",
            "Module Error (from",
            "You may need an appropriate loader",
        ],
        asides: &["help:", "@ "],
        missing: &["Module not found", "Can't resolve"],
        ..ReportWords::DEFAULT
    },
    ..Stack::DEFAULT
};

/// `Failed to compile.`, `ERROR in ./src/App.js`, with the errors below.
pub(super) static REPORT: Format = Format {
    cleared_by: |_, _| ClearedBy::Rebuilt,
    sections: true,
    continues_own: |_, line| line.starts_with(b"Module not found: "),
    ..Format::DEFAULT
};

/// `ERROR in ./src/App.js`; with a position, and without `./`, the type checker's plugin prints it.
fn error<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    // Docusaurus prints it so, without a place.
    if line.printed.starts_with("Module not found: Error: ") {
        return Some(Marker::Opens(&REPORT));
    }
    let rest = line.text.strip_prefix("ERROR in ")?;
    let checked = leading(rest, false).is_some_and(|(place, _)| place.line.is_some()) && !rest.starts_with("./");
    Some(Marker::Opens(if checked { &tsc::REPORT } else { &REPORT }))
}

/// `webpack 5.90.0 compiled with 2 warnings in 30 ms`. What fails, and what succeeds without one, reads as with any bundler.
fn compiled<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    let compiled = line.text.starts_with("webpack") && line.text.contains("ompiled");
    compiled.then_some(Marker::Rebuilt)
}

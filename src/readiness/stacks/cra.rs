//! Create React App: what `react-scripts start` prints around webpack.

use super::super::line::{Line, Marker};
use super::super::stack::{Groups, ReportWords, Rule, Stack, groups};
use super::webpack;

groups! {
    Word, WORDS:
    Failed = "ailed",
    Compile = "ompil",
    View = "You can now view",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    errors: Some(Rule { groups: Word::bits(&[Word::Failed]), read: failed }),
    progress: Some(Rule { groups: Word::bits(&[Word::Compile]), read: compiled }),
    ready: Some(Rule { groups: Word::bits(&[Word::View]), read: view }),
    report: ReportWords {
        prefixes: &["Parsing error: ", "[eslint] "],
        headlines: &["Failed to compile"],
        ..ReportWords::DEFAULT
    },
    ..Stack::DEFAULT
};

/// `Failed to compile.` `next build` prints it, too.
fn failed<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    line.text.starts_with("Failed to compile").then_some(Marker::Opens(&webpack::REPORT))
}

/// `Compiled successfully!`, `DONE  Compiled successfully in 2ms` of Vue CLI. Next puts a mark before it.
fn compiled<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    let done = line.text.strip_prefix("DONE").map_or(line.text, str::trim_start);
    let compiled = done.starts_with("Compiled successfully") || done.starts_with("Compiled with warnings");
    compiled.then_some(Marker::Rebuilt)
}

/// `You can now view app in the browser.`
fn view<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    line.text.starts_with("You can now view").then_some(Marker::Ready(None))
}

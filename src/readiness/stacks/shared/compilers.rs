//! What compilers print, whichever server runs them: Babel, SWC, esbuild, `PostCSS`, those of Vue and Svelte.

use super::super::super::line::{Line, Marker};
use super::super::super::stack::{Groups, ReportWords, Rule, Stack, groups};

groups! {
    Word, WORDS:
    Compile = "ompil",
}

pub(in super::super) const STACK: Stack = Stack {
    words: WORDS,
    progress: Some(Rule { groups: Word::bits(&[Word::Compile]), read: compiled }),
    report: ReportWords {
        continues: &["Error", "error", "Syntax", "Type", "Reference", "Did you", "src/", "^", "[", "]", "{", "}"],
        prefixes: &["error: ", "error  ", "ERROR: ", "ERROR ", "Syntax Error: "],
        headlines: &["Failed to load"],
        asides: &["Stack backtrace", "> "],
        syntax: &[
            "yntax Error",
            "nterminated",
            "nclosed",
            "xpected",
            "Missing semicolon",
            "Invalid left-hand side",
            "already been declared",
            "invalid syntax",
        ],
        ..ReportWords::DEFAULT
    },
    ..Stack::DEFAULT
};

/// `event - compiled client and server successfully in 1265 ms`.
fn compiled<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    (line.text.contains("ompiled") && line.text.contains("successfully")).then_some(Marker::Compiled)
}

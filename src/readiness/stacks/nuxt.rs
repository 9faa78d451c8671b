//! Nuxt 3.

use super::super::format::Format;
use super::super::line::{Line, Marker};
use super::super::signal::ClearedBy;
use super::super::stack::{Groups, ReportWords, Rule, Stack, groups};
use super::shared::reports::PAGE_FORMAT;
use super::vite;

groups! {
    Word, WORDS:
    Error = "ERROR",
    Built = "uilt in ",
    Update = "hmr update" | "age reload",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    errors: Some(Rule { groups: Word::bits(&[Word::Error]), read: error }),
    progress: Some(Rule { groups: Word::bits(&[Word::Built]), read: built }),
    updates: Some(Rule { groups: Word::bits(&[Word::Update]), read: updated }),
    report: ReportWords {
        continues: &["ℹ Error"],
        prefixes: &["[nitro]  ERROR  ", "ERROR  ", "ℹ ", "[request error] ", "[unhandled] ", "[GET] "],
        syntax: &["missing end tag", "Invalid end tag"],
        ..ReportWords::DEFAULT
    },
    ..Stack::DEFAULT
};

/// `ERROR  Pre-transform error: ...`, `ERROR  [request error] [unhandled] [GET] http://localhost:3000/`.
static REPORT: Format = Format {
    // After an error of Vite, Nuxt answers with the last good page.
    cleared_by: |_, report| if is_of_vite(report) { ClearedBy::Component } else { ClearedBy::Answer },
    ..PAGE_FORMAT
};

/// Whether Nuxt passes on an error of Vite.
fn is_of_vite(report: &str) -> bool {
    let head = report.trim_ascii_start();
    head.starts_with("ERROR  Pre-transform error")
        || head.starts_with("ERROR  Internal server error")
        || report.contains("code: 'VITE_ERROR'")
}

fn error<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    // Vue CLI counts them so.
    let text = line.text.strip_prefix("[nitro]").map_or(line.text, str::trim_ascii_start);
    let counts = text.starts_with("ERROR  Failed to compile");
    (text.starts_with("ERROR  ") && !counts).then_some(Marker::Opens(&REPORT))
}

/// `✔ Vite server built in 63ms`, `[nitro] ✔ Nuxt Nitro server built in 944ms`.
fn built<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    line.text.contains("server built in").then_some(Marker::Compiled)
}

/// `ℹ hmr update /app.vue`, `ℹ page reload app.vue`.
fn updated<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    line.text.strip_prefix("ℹ ").and_then(vite::update)
}

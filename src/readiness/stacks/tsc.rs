//! Type checkers: `tsc`, `vue-tsc`, and the plugins of webpack and Vite that run them.

use super::super::format::Format;
use super::super::line::{Line, Marker};
use super::super::place::{leading, number};
use super::super::signal::ClearedBy;
use super::super::stack::{Groups, ReportWords, Rule, Stack, groups};
use crate::preview::ErrorKind;

groups! {
    Word, WORDS:
    Code = " TS",
    Plugin = "ERROR",
    Total = "Found " | "ssues found",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    errors: Some(Rule { groups: Word::bits(&[Word::Code, Word::Plugin]), read: error }),
    progress: Some(Rule { groups: Word::bits(&[Word::Total]), read: total }),
    report: ReportWords {
        continues: &["TS", "FILE "],
        types: &["TS2", "TS7", "ERROR(TypeScript)", "ERROR(vue-tsc)", "ERROR(VLS)"],
        syntax: &["TS1"],
        ..ReportWords::DEFAULT
    },
    ..Stack::DEFAULT
};

/// `src/a.ts:3:5 - error TS2322: ...`, `ERROR(TypeScript)  ...`, `ERROR in src/a.tsx:3:5` with `TS2322: ...` below.
pub(super) static REPORT: Format =
    Format { cleared_by: |_, _| ClearedBy::Checked, kind: Some(ErrorKind::Type), ..Format::DEFAULT };

fn error<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    if let Some(rest) = line.text.strip_prefix("ERROR(") {
        let types = rest.starts_with("TypeScript") || rest.starts_with("vue-tsc") || rest.starts_with("VLS");
        return Some(if types { Marker::Opens(&REPORT) } else { Marker::Ends });
    }
    let code = words.has(Word::Code) && leading(line.text, false).is_some_and(|(_, rest)| rest.contains("error TS"));
    code.then_some(Marker::Opens(&REPORT))
}

/// `Found 2 errors.`, `[TypeScript] Found 0 errors. Watching for file changes.`, `No issues found.`
fn total<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    let text = line.body();
    let text = text.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(text, |(_, rest)| rest);
    let text = text.trim_start_matches("- ");
    if text.starts_with("No issues found") {
        return Some(Marker::Checked(0));
    }
    let (count, rest) = number(text.strip_prefix("Found ")?)?;
    rest.starts_with(" error").then_some(Marker::Checked(count))
}

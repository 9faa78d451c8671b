//! Storybook. It draws boxes, which `boxes.rs` takes away.

use super::super::format::Format;
use super::super::line::{Line, Marker};
use super::super::signal::ClearedBy;
use super::super::stack::{Groups, ReportWords, Rule, Stack, groups};
use super::vite;

groups! {
    Word, WORDS:
    Index = "Unable to index ",
    Vite = "rror: " | "hmr update " | "age reload ",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    marked: Some(Rule { groups: Word::bits(&[Word::Index, Word::Vite]), read: marked }),
    report: ReportWords { prefixes: &["🚨 "], headlines: &["Unable to index "], ..ReportWords::DEFAULT },
    ..Stack::DEFAULT
};

/// It says nothing when a story can be read again.
static REPORT: Format = Format { cleared_by: |_, _| ClearedBy::Edited, head: 2, ..Format::DEFAULT };

/// `🚨 Unable to index ./src/Button.stories.jsx:`, `Vite Pre-transform error: Failed to resolve import ...`.
fn marked<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    if words.has(Word::Index) && line.text.trim_start_matches(['🚨', ' ']).starts_with("Unable to index ") {
        return Some(Marker::Opens(&REPORT));
    }
    line.text.strip_prefix("Vite ").and_then(vite::known)
}

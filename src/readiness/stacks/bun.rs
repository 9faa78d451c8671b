//! Bun: the frame comes before the message, and the place after it.

use super::super::format::Format;
use super::super::line::{Line, Marker};
use super::super::signal::ClearedBy;
use super::super::stack::{Groups, Rule, Stack, groups};
use crate::preview::ErrorKind;

groups! {
    Word, WORDS:
    Error = "rror: ",
}

pub(super) const STACK: Stack =
    Stack { words: WORDS, errors: Some(Rule { groups: Word::bits(&[Word::Error]), read: error }), ..Stack::DEFAULT };

/// `error: Unexpected end of file`, with `    at /app/greet.ts:2:17` below. Bun prints caught exceptions in the same words, so
/// only code that does not load is an error at once. `bun --hot` goes on with the old code, and says nothing when it is mended.
static REPORT: Format = Format {
    cleared_by: |kind, _| match kind {
        ErrorKind::Syntax | ErrorKind::ModuleNotFound => ClearedBy::Edited,
        _ => ClearedBy::Unconfirmed,
    },
    ..Format::DEFAULT
};

fn error<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    line.printed.starts_with("error: ").then_some(Marker::Opens(&REPORT))
}

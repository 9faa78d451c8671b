//! Parcel: `🚨 Build failed.` on one stream, the reasons on the other.

use super::super::format::Format;
use super::super::line::{Line, Marker};
use super::super::signal::ClearedBy;
use super::super::stack::{Groups, ReportWords, Rule, Stack, groups};

groups! {
    Word, WORDS:
    Package = "@parcel/",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    errors: Some(Rule { groups: Word::bits(&[Word::Package]), read: error }),
    report: ReportWords { missing: &["Failed to resolve '"], ..ReportWords::DEFAULT },
    ..Stack::DEFAULT
};

static REPORT: Format = Format {
    cleared_by: |_, _| ClearedBy::Rebuilt,
    // Each part of Parcel that was concerned has a word.
    continues_own: |_, line| line.starts_with(b"@parcel/resolver"),
    ..Format::DEFAULT
};

/// `@parcel/core: Failed to resolve './gone' from './src/App.jsx'`, with the place and a frame below.
fn error<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    let (package, _) = line.text.strip_prefix("@parcel/")?.split_once(": ")?;
    let name = package.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    name.then_some(Marker::Opens(&REPORT))
}

//! Reports of several errors. Turbopack and `next build` print one error below the other, without a mark.

use std::sync::LazyLock;

use memchr::memmem;

use super::super::place::leading;

static BLANK_LINE: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("\n\n"));

/// Builds what is otherwise built at first use.
pub(in super::super) fn prepare() {
    LazyLock::force(&BLANK_LINE);
}

/// Whether the report may have several sections. Most have one, and a search shows that sooner than [`starts`].
pub(super) fn may_be_several(report: &str) -> bool {
    let mut blank = BLANK_LINE.find_iter(report.as_bytes());
    blank.any(|at| matches!(report.as_bytes().get(at + 2), Some(b'.' | b'/')))
}

/// Where the second section starts, and those after it.
pub(super) fn starts(report: &str) -> impl Iterator<Item = usize> {
    // `message`: a line that is no place was seen. `trace`: the lines are of an import trace, which lists files, too.
    let (mut at, mut blank, mut trace, mut message) = (0, false, false, false);
    report.split_inclusive('\n').filter_map(move |line| {
        let start = at;
        at += line.len();
        let text = line.trim();
        let starts = message
            && blank
            && (!trace || !text.starts_with("./"))
            && line.starts_with(['.', '/'])
            && leading(text, true).is_some_and(|(_, rest)| rest.is_empty());
        trace = (trace && !starts) || text.starts_with("Import trace");
        message |= !message && !text.is_empty() && !starts && start > 0 && leading(text, true).is_none();
        blank = text.is_empty();
        starts.then_some(start)
    })
}

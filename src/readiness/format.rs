//! How one kind of error report is read.

use super::signal::ClearedBy;
use crate::preview::{CompileError, ErrorKind};

/// Reads all errors of a report, if it is of the kind that the function reads.
pub(super) type ReadList = fn(&str) -> Option<Vec<CompileError>>;

/// One kind of error report. Each is a static of its stack; [`Self::DEFAULT`] says what holds for most.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a property of its own, and statics name them")]
pub(super) struct Format {
    /// What clears an error, given its kind and the text of the report.
    pub(super) cleared_by: fn(ErrorKind, &str) -> ClearedBy,
    /// `Config`: every error is of this kind, except a missing environment variable. `Type`: errors are of this kind
    /// unless their words say otherwise.
    pub(super) kind: Option<ErrorKind>,
    /// Only a line that names itself an error can be the message. For reports that print code without a frame first.
    pub(super) strict: bool,
    /// One report may list several errors, one below the other.
    pub(super) sections: bool,
    /// So many first lines belong to the report, whatever they look like.
    pub(super) head: usize,
    /// Whether a line that could open such a report continues an open one of the same format. Takes the text of the
    /// open report and the line.
    pub(super) continues_own: fn(&[u8], &[u8]) -> bool,
    /// Whether a line that could open such a report may continue an open one of another format.
    pub(super) continues_other: bool,
    /// Whether the open report, of which this is the text, takes in what would open one of another format.
    pub(super) takes_in: fn(&[u8]) -> bool,
    /// Reads all errors of a report at once. None: the report is not of the kind that this function reads.
    pub(super) list: Option<ReadList>,
    /// Whether an error without a place in the project counts, given its kind and the text of the report.
    pub(super) counts_without_place: fn(ErrorKind, &str) -> bool,
    /// It is about a browser that has the page open. Such a report goes on until the server says something else.
    pub(super) browser: bool,
    /// The report is dropped when the next line tells the problem behind it.
    pub(super) yields_to_problem: bool,
}

impl Format {
    /// One error, cleared by a good answer of the page.
    pub(super) const DEFAULT: Self = Self {
        cleared_by: |_, _| ClearedBy::Answer,
        kind: None,
        strict: false,
        sections: false,
        head: 0,
        continues_own: |_, _| false,
        continues_other: false,
        takes_in: |_| false,
        list: None,
        counts_without_place: |_, _| true,
        browser: false,
        yields_to_problem: false,
    };
}

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

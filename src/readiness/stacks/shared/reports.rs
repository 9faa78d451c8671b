//! Reports that several dev servers print.

use super::super::super::format::Format;
use super::super::super::signal::ClearedBy;
use crate::preview::ErrorKind;

/// What a framework on Vite prints when it cannot answer a request.
pub(in super::super) const PAGE_FORMAT: Format = Format { head: 3, ..Format::DEFAULT };
pub(in super::super) static PAGE: Format = PAGE_FORMAT;

/// A configuration file that cannot be loaded.
pub(in super::super) static CONFIG: Format = Format {
    cleared_by: |_, _| ClearedBy::Rebuilt,
    kind: Some(ErrorKind::Config),
    strict: true,
    head: 3,
    continues_own: |_, _| true,
    yields_to_problem: true,
    ..Format::DEFAULT
};

//! What several dev servers print.

pub(in super::super) mod builds;
pub(in super::super) mod compilers;
pub(in super::super) mod environment;
pub(in super::super) mod listening;
pub(in super::super) mod node;
pub(in super::super) mod problems;
pub(in super::super) mod reports;

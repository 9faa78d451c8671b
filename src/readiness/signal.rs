//! What the output of a dev server says, one statement at a time.

use super::problem::Problem;
use crate::preview::CompileError;

/// One statement of a dev server. [`super::Readiness`] holds what all statements add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The server is up. Most servers have compiled nothing yet.
    Ready,
    /// The server listens on this port.
    Listening(u16),
    /// A compilation started. Its errors replace the earlier errors of the same files.
    Compiling,
    /// Something was compiled. Some servers print this while the page is broken, so it is only a hint.
    Compiled,
    /// The page was answered with 200.
    Answered,
    /// Everything was built without errors. Printed by servers whose log is the only source of truth.
    Rebuilt,
    /// A type check ended with this number of errors. Errors that it did not print again are fixed.
    Checked(u32),
    /// Vite sent an update of this module to the browser. With None, it reloads the whole page.
    Updated(Option<String>),
    /// An error of the project, and what clears it.
    Error(CompileError, ClearedBy),
    /// A problem of the environment.
    Problem(Problem),
}

/// The event that clears an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClearedBy {
    /// A good answer of the page. The server answers with a 500 while the error stands.
    Answer,
    /// A good answer of the module itself, or an update of it. The page is answered with 200 all the time.
    Module,
    /// As [`Self::Module`], for Nuxt: it serves components below another path, and a page reload clears nothing.
    Component,
    /// A build without errors, told by the log.
    Rebuilt,
    /// The next type check.
    Checked,
    /// An exception that counts as an error only when the page is then answered with a 500; then as [`Self::Answer`].
    Unconfirmed,
}

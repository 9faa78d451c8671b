//! What the output of a dev server says, one statement at a time.

use super::browser::BrowserReport;
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
    /// What follows is of this task of a runner; zero: of none.
    Task(usize),
    /// The app ended, and what watches its files lives on.
    Crashed,
    /// A build failed, in the server's own words: whatever is broken stands, also if no report of it could be read.
    Failed(String),
    /// The dev server is Next.js, of this major and minor version.
    Next(u32, u32),
    /// A type check ended with this number of errors. Errors that it did not print again are fixed.
    Checked(u32),
    /// Vite sent an update of this module to the browser. With None, it reloads the whole page.
    Updated(Option<String>),
    /// An error of the project, and what clears it.
    Error(CompileError, ClearedBy),
    /// An error in a browser that has the page open.
    Browser(BrowserReport),
    /// This page was asked for, and answered.
    Loaded(String),
    /// What was edited was sent to the browsers.
    Refreshed,
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
    /// A good answer to a request that was sent after an edit: the server goes on with the old code, and tells no success.
    Edited,
    /// An exception that counts as an error only when the page is then answered with a 500; then as [`Self::Answer`].
    Unconfirmed,
}

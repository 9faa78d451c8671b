//! What the output of a dev server says, one thing at a time.

use super::problem::Problem;
use crate::preview::CompileError;

/// Something that a dev server said. [`super::Readiness`] holds what it adds up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// The server is up. Modern ones have compiled nothing yet.
    Ready,
    /// The server listens on this port.
    Listening(u16),
    /// It began to compile: what it prints next replaces what it printed of the same files.
    Compiling,
    /// Something was compiled. Some servers print it while the page is broken, so it is a hint only.
    Compiled,
    /// The page was answered with 200.
    Answered,
    /// On stacks whose log decides: all was built, nothing is broken any more.
    Rebuilt,
    /// A type check ended with so many errors: what it did not print again is mended.
    Checked(u32),
    /// Vite sent this module anew to the browser, or reloads the whole page (None).
    Updated(Option<String>),
    /// An error about the project, and what ends it.
    Error(CompileError, Ends),
    /// A problem of the environment.
    Problem(Problem),
}

/// What ends an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// A good answer of the page: the server shows the error as a 500.
    Answer,
    /// The module's own good answer, or its update: the page is answered with 200 all the same.
    Module,
    /// As [`Self::Module`], on Nuxt: components are served below another path, and a reload says nothing.
    Component,
    /// The log's word that all was built.
    Rebuilt,
    /// The next type check.
    Checked,
    /// Nobody knows that it is one until the page is answered with a 500; then as [`Self::Answer`].
    Unconfirmed,
}

//! Pure: output and answers in, readiness out. No I/O, no clock.
//!
//! - `lines.rs` splits bytes into lines without escape sequences.
//! - `labels.rs` takes away what runners of several tasks put before each line.
//! - `boxes.rs` takes away the boxes that some tools draw.
//! - `stacks/` has a file for each dev server: its words, rules and reports. `stack.rs`, `line.rs` and `format.rs` are
//!   what these files are made of. `tables.rs` joins all stacks and reads a line.
//! - `report/` collects the lines about one error and reads the error from them.
//! - `classifier.rs` turns all of it into signals.
//! - `browser.rs` has what is told of browsers; `telling.rs` the line to quote at an end; `advice.rs` what to install.
//! - `tracker.rs` has [`Readiness`]: what signals and answers add up to.

mod advice;
mod boxes;
mod browser;
mod classifier;
mod excerpt;
mod format;
mod labels;
mod line;
mod lines;
mod patterns;
mod place;
mod prepare;
mod problem;
mod redact;
mod report;
mod signal;
mod stack;
mod stacks;
mod tables;
mod telling;
mod tracker;
mod words;

pub use browser::{BrowserErrors, BrowserReport};
pub use classifier::Classifier;
pub use lines::LineSplitter;
pub use patterns::Patterns;
pub use place::is_source;
pub use prepare::prepare;
pub use problem::Problem;
pub use redact::without_passwords;
pub use report::framed_line;
pub use signal::{ClearedBy, Signal};
pub use telling::telling_line;
pub use tracker::Readiness;

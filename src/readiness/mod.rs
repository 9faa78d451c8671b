//! Pure: log bytes and answers in, readiness out. No I/O, no clock.
//!
//! Bytes become plain lines (`lines.rs`), a line means something (`marker.rs`), lines about one error are a block
//! (`block.rs`), a block becomes errors (`report.rs`, `place.rs`), and all of it signals (`classify.rs`).
//! [`Readiness`] is what signals and answers add up to (`tracker.rs`).

mod block;
mod classify;
mod lines;
mod marker;
mod patterns;
mod place;
mod problem;
mod redact;
mod report;
mod signal;
mod tracker;
mod words;

pub use classify::Classifier;
pub use lines::LineSplitter;
pub use patterns::Patterns;
pub use problem::Problem;
pub use redact::without_passwords;
pub use signal::{Ends, Signal};
pub use tracker::Readiness;

/// Builds what is built at first use. A fork while another thread builds it would leave the child waiting for ever.
pub fn prepare() {
    place::prepare();
    redact::prepare();
    report::prepare();
}

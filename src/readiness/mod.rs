//! Pure: log bytes and answers in, readiness out. No I/O, no clock.

mod classify;
mod lines;
mod redact;
mod tracker;

pub use classify::{Signal, classify};
pub use lines::LineSplitter;
pub use redact::without_passwords;
pub use tracker::Readiness;

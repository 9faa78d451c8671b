//! An engine in memory, for tests: it behaves as a Docker Engine does, and fails where a test says so.
//!
//! - `engine`: the engine, as services see it; `control`: what tests make happen
//! - `world`: what it holds, pure; `container`: one container of it
//! - `faults`: which calls fail, wait or lose their answer, and how many there were

mod container;
mod control;
mod engine;
mod faults;
#[cfg(test)]
mod tests;
mod world;

pub use engine::MemoryEngine;
pub use faults::{Call, Held};

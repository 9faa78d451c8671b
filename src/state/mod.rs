//! What is remembered about previews: pure, without any I/O. Nothing in here calls the engine, a database or a preview.
//!
//! - `store`: everything that is remembered, under one lock; `entry`: what is remembered of one preview
//! - `lost_database` and `drift`: that a container's database is gone, and what it runs without: its labels cannot tell
//! - `listeners`: who wants to hear of changes
//! - `queue`: operations on one preview, one after the other; `shared_start`: one start that many callers wait for
//! - `run`: what following one run of a container has taught
//! - `engine_status`: whether the engine answers, and what its events alone tell
//! - `snapshot`: what callers are told, from all of these; `changes`: what of it is new to subscribers
//! - `ownership`: which containers are ours to use and to remove
//!
//! Truth is in the engine: all of this can be lost at any time.

mod changes;
mod drift;
mod engine_status;
mod entry;
mod interest;
mod listeners;
mod lost_database;
mod names;
mod ownership;
mod queue;
mod run;
mod shared_start;
mod snapshot;
mod store;
#[cfg(test)]
mod tests;

pub(crate) use engine_status::{EngineStatus, Link};
pub(crate) use entry::{Ending, Record};
pub(crate) use ownership::Ownership;
pub(crate) use queue::QueuePermit;
pub(crate) use run::{Run, RunState};
pub(crate) use shared_start::{SharedStart, Waiter};
pub(crate) use snapshot::{Snapshots, labelled};
pub(crate) use store::{OperationGuard, Store};

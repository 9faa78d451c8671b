//! What keeps the state true.
//!
//! - `engine_events`: one event stream of an engine for all services on it, with a heartbeat
//! - `reconcile`: asks the engine about what events tell of, and takes the answer into the state
//! - `monitor`: follows a container's output; `page`: the requests for its page; `edits`: edits of its project
//!
//! - `project_files`: the files of a project; `project`: which of them an error means
//!
//! Calls run one way: `reconcile` calls `monitor`, which calls `page` and `project`; `page` calls `edits`; all of them call the
//! state.

mod edits;
mod engine_events;
mod monitor;
mod page;
mod project;
mod project_files;
mod reconcile;

pub use engine_events::{EngineEvents, Heartbeat};
pub(crate) use monitor::{Monitor, START_TOLERANCE};
pub(crate) use page::PageProbe;
pub(crate) use project_files::{ProjectFiles, read_text};
pub(crate) use reconcile::Reconciler;

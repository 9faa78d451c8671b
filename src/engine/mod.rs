//! What runs previews. The rest of the crate knows the trait [`Engine`] only.
//!
//! - `api`: the trait; `locality`: what depends on where this process stands in relation to the engine
//! - `network`: what previews are attached to; `spec`: what is to be made; `workload`: what the engine knows about it; `streams`: what it tells piece by piece
//! - `exec`: a program that runs in a workload beside its own; `error`: how a call fails
//! - `docker`: a Docker Engine, through bollard, whose types stay in there
//! - `memory`: an engine in memory, with faults on request: the double that tests use

mod api;
mod docker;
mod error;
mod exec;
mod locality;
pub mod memory;
mod network;
mod spec;
mod streams;
mod workload;

pub use api::Engine;
pub use docker::{DockerEngine, EngineAddress};
pub use error::EngineError;
pub use exec::{ExecResult, ExecSpec};
pub use locality::Locality;
pub use network::{Attachment, Isolation, NetworkSpec, Peer};
pub use spec::{ContainerSpec, Mount, PortRange, Publish, Resources, Secrets, Security};
pub use streams::{Change, EngineEvent, LogChunk, LogChunks, LogStart, PullProgress, Silence};
pub use workload::{RunId, SIGKILL_CODE, SIGTERM_CODE, State, Workload};

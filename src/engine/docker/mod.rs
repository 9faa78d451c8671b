//! A Docker Engine, through bollard.
//!
//! - `calls`: the trait; `client`: the connection and the deadline of each call; `address`: where the engine is
//! - `mapping`: bollard's types and ours; `errors`: the engine's words, read there only
//! - `network`: the previews' network; `locality` and `own`: where this process stands in relation to the engine

mod address;
mod calls;
mod client;
mod errors;
mod locality;
mod mapping;
mod network;
mod own;

pub use address::EngineAddress;
pub use calls::DockerEngine;

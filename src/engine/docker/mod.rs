//! A Docker Engine, through bollard.
//!
//! - `calls`: the trait; `client`: the connection and the deadline of each call; `address` and `places`: where the engine is
//! - `mapping`: bollard's types and ours; `errors`: the engine's words, read there only
//! - `exec`: a program that runs in a container beside its own
//! - `podman`: what it does not do by itself
//! - `throttle`: old engines deadlock when many containers start and end at once
//! - `seccomp`: the system calls that a preview may make
//! - `network`: networks by name; `isolation`: the previews' own, with the packet filter's `rules`, which `rules_container` sets
//! - `locality` and `own`: where this process stands in relation to the engine

mod address;
mod calls;
mod client;
mod errors;
mod exec;
mod isolation;
mod locality;
mod mapping;
mod network;
mod own;
mod places;
mod podman;
mod rules;
mod rules_container;
mod seccomp;
mod throttle;

pub use address::EngineAddress;
pub use calls::DockerEngine;

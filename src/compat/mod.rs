//! Previews on a docker-py-compatible client that Python supplies. It does what the older service did, call for call,
//! because that is what mocks of that client look for; the service on an engine knows nothing of it.
//!
//! - `client`: the seven calls that are made; `context`: what the verbs share
//! - `service`: the service; `attempt`: its start; `status`: what it tells; `streams`: output and sweep
//!
//! What differs: such a client starts what it creates, one host port is asked for, images and networks are its own affair,
//! the project's folder is passed through unchecked (it may be on another machine), and an entry of the cache counts as
//! running unless the client says that its container is dead. Nothing tells it of events. It starts what it creates, so the
//! password of the database's role is set before the name is won: two processes that start one preview at once with such a
//! client can leave it with the loser's password.

mod attempt;
mod client;
mod context;
mod service;
mod status;
mod streams;

pub use client::{Client, RunSpec};
pub use service::CompatService;

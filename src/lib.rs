//! Live previews of web apps in containers: the core of the `kosuke_docker` Python package.
//!
//! Calls run one way: `python` -> [`service`] -> `sync` -> `state`; `service` and `sync` call [`engine`], [`database`] and
//! [`probe`]. ARCHITECTURE.md has the map.
//!
//! - [`id`]: what a preview is called: its id, and every name and label derived from it
//! - [`preview`]: what callers are told about a preview; [`error`]: what can go wrong
//! - [`settings`], [`environment`], [`folder`], [`credentials`], [`containment`]: what a preview is made of, and held by;
//!   [`rules`]: what numbers and names may be
//! - [`service`]: the use cases, a file for each verb; [`compat`]: the same on a docker-py-compatible client
//! - `state`: what is remembered, pure; `sync`: what keeps it true
//! - [`readiness`]: pure: log bytes and answers in, readiness out
//! - [`engine`], [`database`], [`probe`]: a trait each, with what implements it
//! - `python`: the only place that knows Python

pub mod compat;
pub mod containment;
pub mod credentials;
pub mod database;
pub mod engine;
pub mod environment;
pub mod error;
pub mod folder;
pub mod id;
mod lock;
pub mod preview;
pub mod probe;
#[cfg(feature = "python")]
mod python;
pub mod readiness;
pub mod rules;
pub mod service;
pub mod settings;
mod state;
mod sync;
mod tasks;
mod tls;

//! Live previews of web apps in containers: the core of the `kosuke_docker` Python package.
//!
//! - [`id`]: what a preview is called: its id, and every name and label derived from it
//! - [`preview`]: what callers are told about a preview
//! - [`settings`]: every knob, typed and validated
//! - [`environment`]: the variables that a container gets
//! - [`folder`]: the project's folder, checked before anything is made
//! - [`credentials`]: what to log in to a registry with
//! - [`error`]: what can go wrong
//! - [`engine`]: the trait that runs containers, and Docker behind it
//! - [`database`]: the trait that gives each preview a database, and Postgres behind it
//! - [`readiness`]: pure: log bytes and answers in, readiness out
//! - [`probe`]: the HTTP probe
//! - [`service`]: start, stop, status, list; single-flight; owned tasks
//! - `python`: the only place that knows Python

pub mod credentials;
pub mod database;
pub mod engine;
pub mod environment;
pub mod error;
pub mod folder;
pub mod id;
pub mod preview;
pub mod probe;
#[cfg(feature = "python")]
mod python;
pub mod readiness;
pub mod service;
pub mod settings;

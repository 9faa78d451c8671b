//! What can be done with previews: the use cases, a file for each verb.
//!
//! - `api`: the trait `Previews`, which this service and the one on a docker-py-compatible client implement
//! - `previews`: the service on an engine; `context`: what its use cases share
//! - `start` (with `attempt`, `create`, `contain`, `prepare` and `ports`), `restart`, `stop`, `status`, `list`, `wait`, `logs` (with
//!   `log_queue`), `events`, `sweep`, `image`, `check` (with `routes`, `next_routes` and `types`), `verify`
//!   (with `edit_log`): one verb each
//! - `common`: what does not depend on what runs the previews; `database` (with `orphans` and `passwords`): what can be
//!   done with their databases; `operations`: one operation on a preview after the other; `phrases`: the older
//!   service's reading of output
//! - `hooks`: the steps that Python may replace
//!
//! Calls run down to `sync` and `state`, never up from there.

mod api;
mod attempt;
mod check;
mod common;
mod contain;
mod context;
mod create;
mod database;
mod deployment;
mod drift;
mod edit_log;
mod events;
mod hooks;
mod image;
mod list;
mod log_queue;
mod logs;
mod network;
mod next_routes;
mod operations;
mod orphans;
mod passwords;
mod phrases;
mod ports;
mod prepare;
mod previews;
mod restart;
mod routes;
mod start;
mod status;
mod stop;
mod sweep;
#[cfg(test)]
mod tests;
mod types;
mod verify;
mod vite;
mod wait;

pub use api::{
    CheckRequest, CheckResult, PageAddress, Previews, RouteCheck, Routes, StartRequest, SweepResult, Verdict,
    VerdictCheck, VerifyRequest, WaitOptions,
};
pub use common::Common;
pub use database::ProjectDatabases;
pub use events::Subscription;
pub use hooks::{Hook, HookAnswer, HookFailure, HookRequest, Hooks};
pub use log_queue::LogReader;
pub use orphans::{orphan_databases, remove_orphan_databases};
pub use previews::PreviewService;

pub use crate::sync::{EngineEvents, Heartbeat};

pub(crate) use common::ping;
pub(crate) use context::{MAX_RACES, POLL, UNSTARTED_TIMEOUT, known_and};
pub(crate) use hooks::ask;
pub(crate) use list::in_use;
pub(crate) use log_queue::{LineJoiner, LogWriter, open};
pub(crate) use operations::Operations;
pub(crate) use orphans::sweep_databases_into;
pub(crate) use phrases::follow_phrases;
pub(crate) use prepare::{container_environment, ensure_database};
pub(crate) use start::{Restarted, Start, Starter, is_unwanted, wait_unwanted};
pub(crate) use stop::stop_all;
pub(crate) use wait::Stages;

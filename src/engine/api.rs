//! The trait that every engine implements.

use std::path::Path;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use super::error::EngineError;
use super::exec::{ExecResult, ExecSpec};
use super::locality::Locality;
use super::network::{Attachment, NetworkSpec};
use super::spec::{ContainerSpec, Secrets};
use super::streams::{EngineEvent, LogChunks, LogStart, PullProgress};
use super::workload::{RunId, Workload};
use crate::credentials::RegistryLogin;

/// An engine that runs previews. Dropping a future or a stream gives the call up.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Asks whether the engine answers.
    async fn ping(&self) -> Result<(), EngineError>;

    /// Pulls an image; the stream's end is success. Dropping it ends the pull.
    fn pull(&self, image: &str, login: Option<RegistryLogin>) -> BoxStream<'static, Result<PullProgress, EngineError>>;

    /// Finds the network, makes it if it is missing, and keeps what is attached to it apart as far as the engine can.
    async fn ensure_network(&self, spec: &NetworkSpec) -> Result<Attachment, EngineError>;

    /// Removes a network that [`Self::ensure_network`] made, if nothing is attached to it. None is no error.
    async fn discard_network(&self, network: &str) -> Result<(), EngineError>;

    /// The engine's machine may have been started anew: what keeps previews apart is made sure of at the next
    /// [`Self::ensure_network`].
    async fn forget_rules(&self);

    /// The names of the variables that the image sets; None: the engine does not have it.
    async fn image_variables(&self, image: &str) -> Result<Option<Vec<String>>, EngineError>;

    /// Whether a user's number inside is the same number on the engine's machine: not where the engine maps users, as one
    /// without root does.
    async fn keeps_user_ids(&self) -> Result<bool, EngineError>;

    /// The engine's socket, where it is a file.
    fn socket(&self) -> Option<&Path>;

    /// The workload of this name or id, None where there is none.
    async fn inspect(&self, name_or_id: &str) -> Result<Option<Workload>, EngineError>;

    /// The variables that the workload of this id was made with, its image's among them; None where there is none. They may
    /// be secrets.
    async fn environment(&self, id: &str) -> Result<Option<Vec<(String, String)>>, EngineError>;

    /// The previews of one owner, running or not. A listing may lack exit codes and start times.
    async fn list(&self, owner: &str) -> Result<Vec<Workload>, EngineError>;

    /// Makes the workload and gives its id. The values of `spec.environment` never stand in an error.
    async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError>;

    /// Starts it. `secrets` never stand in an error.
    async fn start(&self, id: &str, secrets: &Secrets) -> Result<(), EngineError>;

    /// Stops it, killing it after `grace`. Done when it does not run or is not there.
    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError>;

    /// Removes it, killing it if it runs. When this returns it is gone and its name is free.
    async fn remove(&self, id: &str) -> Result<(), EngineError>;

    /// The output of a workload from `start` on: what is there, and with `follow` what comes, until this run ends. What
    /// earlier runs printed is a part of it, unless `start` is later.
    fn logs(&self, run: &RunId, start: LogStart, follow: bool) -> LogChunks;

    /// Runs a program in a workload that runs, with that workload's rights and nothing more. Dropping the call does not end
    /// the program.
    async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<ExecResult, EngineError>;

    /// What happens to workloads: what the engine still remembers after `since` (None: all of it), then what comes, to
    /// `until` (None: without end).
    fn events(
        &self,
        since: Option<SystemTime>,
        until: Option<SystemTime>,
    ) -> BoxStream<'static, Result<EngineEvent, EngineError>>;

    /// The engine's own time: its time stamps may come from another machine's clock.
    async fn clock(&self) -> Result<SystemTime, EngineError>;

    /// What depends on where this process stands in relation to the engine.
    fn locality(&self) -> &dyn Locality;
}

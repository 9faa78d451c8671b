//! What runs containers. The service knows this trait only; bollard's types stay in `docker`.

mod address;
mod docker;
mod own;

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::credentials::RegistryLogin;
use crate::error::EngineError;

pub use address::EngineAddress;
pub use docker::DockerEngine;

/// An engine that runs containers.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Asks whether the engine answers.
    async fn ping(&self) -> Result<(), EngineError>;

    /// Pulls an image; the stream's end is success. Dropping it ends the pull.
    fn pull(&self, image: &str, login: Option<RegistryLogin>) -> BoxStream<'static, Result<PullProgress, EngineError>>;

    /// Tells whether the image is here.
    async fn has_image(&self, image: &str) -> Result<bool, EngineError>;

    /// Finds the network by name, makes it if it is missing, and gives what containers are attached by.
    async fn ensure_network(&self, name: &str) -> Result<String, EngineError>;

    /// The container of this name or id, None where there is none.
    async fn inspect(&self, name_or_id: &str) -> Result<Option<Container>, EngineError>;

    /// The previews of one owner, running or not.
    async fn list(&self, owner: &str) -> Result<Vec<Container>, EngineError>;

    /// Makes the container.
    async fn create(&self, spec: &ContainerSpec) -> Result<Created, EngineError>;

    /// Starts it.
    async fn start(&self, id: &str) -> Result<(), EngineError>;

    /// Stops it, killing it after `grace`. Done when it does not run or is not there.
    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError>;

    /// Removes it, killing it if it runs. When this returns it is gone and its name is free.
    async fn remove(&self, id: &str) -> Result<(), EngineError>;

    /// Its output from `start` on: what is there, and with `follow` what comes, until it ends.
    fn logs(&self, id: &str, start: LogStart, follow: bool) -> BoxStream<'static, Result<LogChunk, EngineError>>;

    /// What happens to containers: what the engine still remembers after `since` (None: all of it), then what comes, to
    /// `until` (None: for ever).
    fn events(
        &self,
        since: Option<SystemTime>,
        until: Option<SystemTime>,
    ) -> BoxStream<'static, Result<EngineEvent, EngineError>>;

    /// The engine's own time: its stamps may be of another machine.
    async fn clock(&self) -> Result<SystemTime, EngineError>;

    /// The host through which ports published on `bound` are reached from this process; None: they cannot be.
    fn published_host(&self, bound: IpAddr) -> Option<String>;

    /// The container that this process runs in, None where it runs in none of this engine's.
    async fn own_container(&self) -> Result<Option<OwnContainer>, EngineError> {
        Ok(None)
    }

    /// Whether the host ports that the engine publishes on are those of this process.
    async fn shares_ports(&self) -> bool {
        false
    }

    /// What this engine's calls can and cannot do.
    fn traits(&self) -> EngineTraits {
        EngineTraits::default()
    }
}

/// How an engine differs from a native one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineTraits {
    /// Python supplied it: one host port is asked for, images and networks are its own affair, the folder is passed
    /// through, and what the cache holds counts unless the engine says that it is dead.
    pub supplied: bool,
}

/// A container's state, in the engine's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made, not started.
    Created,
    /// Runs (or is being restarted by the engine).
    Running,
    /// Frozen by `docker pause`.
    Paused,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// A word that is not known here. A supplied engine may say anything.
    Unknown,
}

/// What the engine knows about one container.
#[derive(Debug, Clone)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its state.
    pub state: State,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// Published ports: inside -> host.
    pub ports: HashMap<u16, u16>,
    /// The networks it is attached to, by id, with its address in each.
    pub networks: HashMap<String, Option<IpAddr>>,
    /// When it was made, as the engine's clock says.
    pub created_at: Option<SystemTime>,
    /// When it was last started.
    pub started_at: Option<SystemTime>,
    /// When it ended.
    pub finished_at: Option<SystemTime>,
    /// The exit code, once it ended.
    pub exit_code: Option<i64>,
    /// The engine's flag: a process of it was killed for memory, once. It stays set.
    pub oom_killed: bool,
    /// Whether it was made with a terminal: its output is one raw stream then.
    pub tty: bool,
    /// When the look that gave this began: of two, the later one is right.
    pub looked: Instant,
}

impl Container {
    /// Runs, as the table of phases means it: a paused one counts.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running | State::Paused)
    }

    /// Is known not to run. Not the reverse of [`Self::is_running`]: see [`State::Unknown`].
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.state, State::Created | State::Removing | State::Exited)
    }
}

/// The container that this process runs in.
#[derive(Debug, Clone, Default)]
pub struct OwnContainer {
    /// What is mounted: path inside -> path on the host.
    pub mounts: Vec<(PathBuf, PathBuf)>,
    /// The networks it is attached to, by id, with the address of each one's gateway: the host.
    pub networks: HashMap<String, Option<IpAddr>>,
    /// It has the host's own network.
    pub host_network: bool,
}

/// A step of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PullProgress {
    /// The layer, where it is about one.
    pub layer: Option<String>,
    /// What is being done, in the engine's words.
    pub status: String,
    /// Bytes done.
    pub current: Option<u64>,
    /// Bytes in all.
    pub total: Option<u64>,
}

/// What to make.
#[derive(Clone)]
pub struct ContainerSpec {
    /// The container's name.
    pub name: String,
    /// The image's reference.
    pub image: String,
    /// The words to run.
    pub command: Vec<String>,
    /// Name and value.
    pub environment: Vec<(String, String)>,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// The project's folder on the host, bound to `/app`.
    pub folder: PathBuf,
    /// The network's id, or its name for a supplied engine.
    pub network: String,
    /// The port inside.
    pub port: u16,
    /// The host address to publish on.
    pub bind_address: IpAddr,
    /// The host ports to choose from; first and last may be equal.
    pub host_ports: (u16, u16),
}

/// What [`Engine::create`] made.
#[derive(Debug, Clone)]
pub struct Created {
    /// The container's id.
    pub id: String,
    /// The host port, for an engine that starts what it creates; None: it has to be started.
    pub started_on: Option<u16>,
}

/// From where to read a container's output; by default all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStart {
    /// From this moment on.
    pub since: Option<SystemTime>,
    /// Of that, the last lines only.
    pub tail: Option<u32>,
}

impl LogStart {
    /// From this moment on.
    #[must_use]
    pub fn at(since: SystemTime) -> Self {
        Self { since: Some(since), tail: None }
    }
}

/// Something that happened to a container. A hint: a look at the container decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    /// The container's id.
    pub container_id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// What happened.
    pub kind: EventKind,
    /// When, as the engine's clock says.
    pub at: SystemTime,
}

/// What an [`EngineEvent`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A process of it was killed for memory.
    Oom,
    /// Somebody sent it a signal.
    Killed,
    /// It was removed.
    Destroyed,
    /// Its state changed otherwise.
    Changed,
}

/// A piece of a container's output, split anywhere.
#[derive(Debug, Clone)]
pub struct LogChunk {
    /// Whether it came from stderr.
    pub stderr: bool,
    /// When the engine received it.
    pub at: Option<SystemTime>,
    /// The bytes.
    pub bytes: Vec<u8>,
}

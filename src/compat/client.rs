//! The calls that are made of a docker-py-compatible client.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;

use crate::engine::{EngineError, LogChunks, Secrets, Workload};

/// What to run.
#[derive(Clone)]
pub struct RunSpec {
    /// The container's name.
    pub name: String,
    /// The image's reference.
    pub image: String,
    /// The words to run.
    pub command: Vec<String>,
    /// Name and value.
    pub environment: Vec<(String, String)>,
    /// The project's folder.
    pub folder: PathBuf,
    /// The network's name.
    pub network: String,
    /// The port inside.
    pub port: u16,
    /// The host port.
    pub host_port: u16,
}

impl RunSpec {
    /// The values of the environment, which must not be repeated in an error.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        Secrets::of(&self.environment)
    }
}

/// See the module.
#[async_trait]
pub trait Client: Send + Sync + 'static {
    /// `client.ping()`
    async fn ping(&self) -> Result<(), EngineError>;

    /// `client.containers.get(name_or_id)`; None: it is not there.
    async fn get(&self, name_or_id: &str) -> Result<Option<Workload>, EngineError>;

    /// `client.containers.list(...)`: the containers with our labels of this owner.
    async fn list(&self, owner: &str) -> Result<Vec<Workload>, EngineError>;

    /// `client.containers.run(...)`: creates and starts; gives the container's id.
    async fn run(&self, spec: &RunSpec) -> Result<String, EngineError>;

    /// `container.stop(timeout=...)`; done when it is not there.
    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError>;

    /// `container.remove(force=True)`; done when it is not there.
    async fn remove(&self, id: &str) -> Result<(), EngineError>;

    /// `container.logs(stream=True, ...)`
    fn logs(&self, id: &str, follow: bool, tail: Option<u32>) -> LogChunks;
}

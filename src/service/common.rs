//! What does not depend on what runs the previews: settings, cache, databases, tasks.

use std::sync::Arc;
use std::time::Duration;

use super::database::ProjectDatabases;
use super::operations::Operations;
use super::phrases::follow_phrases;
use crate::engine::{EngineError, LogChunks};
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::ContainerInfo;
use crate::probe::ProbeTarget;
use crate::settings::Settings;
use crate::state::Store;
use crate::sync::PageProbe;
use crate::tasks::Tasks;

/// See the module.
pub struct Common {
    pub(crate) settings: Settings,
    pub(crate) store: Arc<Store>,
    pub(crate) page: PageProbe,
    pub(crate) tasks: Tasks,
    pub(crate) operations: Operations,
    pub(crate) databases: ProjectDatabases,
}

impl Common {
    /// What can be done with the previews' databases.
    #[must_use]
    pub fn databases(&self) -> &ProjectDatabases {
        &self.databases
    }

    /// From now on the container of this preview has this name, until another one is told.
    pub fn set_container_name(&self, id: &PreviewId, name: &str) {
        self.store.set_name(id, name);
    }

    /// What the cache holds.
    #[must_use]
    pub fn containers(&self) -> Vec<ContainerInfo> {
        self.store.containers()
    }

    /// Puts an entry into the cache; it is verified before it counts as running.
    pub fn put(&self, info: ContainerInfo) {
        let target = self.target_of(&info.url);
        self.store.put(info, target);
    }

    /// Takes an entry out of the cache; the container is left alone.
    pub fn forget(&self, id: &PreviewId) {
        self.store.remove(id);
    }

    /// Whether this URL answers with 2xx, asked anew.
    pub async fn check_health(&self, url: &str) -> bool {
        match self.target_of(url) {
            Some(target) => self.page.is_healthy(&target).await,
            None => false,
        }
    }

    /// Where to ask an entry that was put in by hand: its own URL.
    pub(crate) fn target_of(&self, url: &str) -> Option<ProbeTarget> {
        ProbeTarget::on_host_of(url, &self.settings.preview_health_path)
    }

    /// Reads the output that Python brings until a phrase of the older service stands in it. A failure is logged.
    pub async fn monitor_chunks(&self, id: &PreviewId, chunks: LogChunks) {
        follow_phrases(&self.store, id, chunks).await;
    }

    /// Whether the service was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.tasks.closed().is_cancelled()
    }

    /// Tells every task of the service to end.
    pub fn abandon(&self) {
        self.tasks.cancel();
    }

    /// Ends every task of the service and waits for them, for `timeout` at the most. Containers are left as they are.
    /// Gives how many tasks are still ending: a call that the engine does not answer is one.
    pub async fn close(&self, timeout: Duration) -> usize {
        self.tasks.close(timeout).await
    }
}

/// The answer to a ping, within the heartbeat's time-out: a frozen engine takes a connection and says nothing.
pub(crate) async fn ping(
    answer: impl Future<Output = Result<(), EngineError>>,
    settings: &Settings,
) -> Result<(), Error> {
    let timeout = settings.engine_heartbeat_timeout;
    let answer = tokio::time::timeout(timeout, answer).await.unwrap_or(Err(EngineError::Timeout(timeout)));
    answer.map_err(|source| Error::engine("ping", None, source))
}

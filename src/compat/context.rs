//! What the verbs share: the client, the cache, and what is done with both.

use std::sync::Arc;

use super::client::Client;
use crate::engine::{RunId, Workload};
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::Started;
use crate::service::{Common, follow_phrases};
use crate::state::{Ownership, Run};

/// See the module.
pub(super) struct Context {
    pub(super) common: Arc<Common>,
    pub(super) client: Arc<dyn Client>,
    pub(super) ownership: Ownership,
}

impl Context {
    /// What a listing shows of one preview: how one that is not cached is found.
    pub(super) async fn listed(&self, id: &PreviewId) -> Result<Option<Workload>, Error> {
        let listed = self.client.list(self.ownership.owner()).await;
        let listed = listed.map_err(|source| Error::engine("list", Some(id), source))?;
        Ok(listed.into_iter().find(|workload| self.ownership.preview_of(workload).as_ref() == Some(id)))
    }

    /// Takes a running container into the cache; with `follow`, its output is read from now on.
    pub(super) fn register(self: &Arc<Self>, id: &PreviewId, container_id: String, port: u16, follow: bool) -> Started {
        let common = &self.common;
        let info = common.store.snapshots().info(id, &container_id, &common.store.name(id), port);
        let (url, run) = (info.url.clone(), RunId { task: container_id.clone(), started_at: None });
        let (run, new) = common.store.register(info, &run, common.target_of(&url));
        if new && follow {
            self.follow(id, run);
        }
        Started { url, container_id, fresh: false }
    }

    fn follow(self: &Arc<Self>, id: &PreviewId, run: Arc<Run>) {
        let (this, id) = (Arc::clone(self), id.clone());
        self.common.tasks.spawn(async move {
            let chunks = this.client.logs(&run.id().task, true, None);
            let following = run.ended().run_until_cancelled(follow_phrases(&this.common.store, &id, chunks));
            this.common.tasks.closed().run_until_cancelled(following).await;
            // Whoever waits for it to become ready waits for this, too.
            run.end();
        });
    }

    /// As the older service has it: a failure is logged, and the entry goes in any case.
    pub(super) async fn stop(&self, id: &PreviewId) -> Result<(), Error> {
        let container = match self.common.store.record(id) {
            Some(record) => Some(record.info.container_id),
            None => self.listed(id).await?.map(|workload| workload.id),
        };
        let Some(container) = container else { return Ok(()) };
        let stopped = match self.client.stop(&container, self.common.settings.preview_stop_timeout).await {
            Ok(()) => self.client.remove(&container).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stopped {
            let project = id.project_id();
            log::error!(target: "kosuke_docker::service", "Error stopping container for project {project}: {error}");
        }
        self.common.store.remove(id);
        Ok(())
    }
}

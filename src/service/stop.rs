//! Stop: an owned task behind what is queued already. When it returns the container is gone and its name is free.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use futures_util::StreamExt;
use futures_util::stream;

use super::registry::Registry;
use super::{Inner, PreviewService};
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::Phase;

/// Stops at once in [`PreviewService::stop_all`].
const PARALLEL_STOPS: usize = 8;

impl PreviewService {
    /// Stops and removes the preview's container and, where asked to, its database. Neither is no error. The place in the
    /// queue is taken at the call.
    ///
    /// # Errors
    /// When the engine refuses, or the container is not ours to remove; then the database is left alone. When the
    /// database server refuses: the container is gone all the same. A caller that leaves does not cancel it.
    pub fn stop(
        &self,
        key: &PreviewId,
        name: &str,
        remove_database: bool,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let turn = self.inner.registry.queue_stop(key, name);
        let (inner, key, name) = (Arc::clone(&self.inner), key.clone(), name.to_owned());
        let stopping = self.inner.tasks.spawn(async move {
            turn.come().await;
            let doing = inner.registry.doing(&key, Phase::Stopping);
            let mut stopped = if inner.engine.traits().supplied {
                inner.stop_supplied(&key).await
            } else {
                inner.stop(&key, &name).await
            };
            if stopped.is_ok() && remove_database {
                stopped = inner.drop_database(&key).await;
            }
            drop(doing);
            inner.finish(&key, turn);
            stopped
        });
        async move { stopping.await.unwrap_or(Err(Error::Closed { operation: "stop" })) }
    }

    /// Stops every preview of this owner, and what is being started here. All are tried.
    ///
    /// # Errors
    /// The first that failed; the others are logged.
    pub async fn stop_all(&self) -> Result<(), Error> {
        let previews = self.inner.known_and_owned("stop").await?;
        let results: Vec<_> = stream::iter(previews)
            .map(|(key, name)| async move { self.stop(&key, &name, false).await })
            .buffer_unordered(PARALLEL_STOPS)
            .collect()
            .await;
        let mut errors = results.into_iter().filter_map(Result::err);
        let first = errors.next();
        for error in errors {
            log::error!(target: "kosuke_docker::service", "stop_all_previews: {error}");
        }
        first.map_or(Ok(()), Err)
    }
}

impl Inner {
    async fn stop(&self, key: &PreviewId, name: &str) -> Result<(), Error> {
        let failed = |source| Error::engine("stop", Some(key), source);
        let looked = Instant::now();
        let Some(container) = self.engine.inspect(name).await.map_err(failed)? else {
            self.registry.gone(key, looked);
            return Ok(());
        };
        self.check_ours(key, &container)?;
        if container.is_running() {
            self.engine.stop(&container.id, self.settings.preview_stop_timeout).await.map_err(failed)?;
        }
        self.engine.remove(&container.id).await.map_err(failed)?;
        self.registry.gone(key, Instant::now());
        log::info!(target: "kosuke_docker::service", "{key}: stopped");
        Ok(())
    }

    /// As the ticket has it: a failure is logged, and the entry goes in any case.
    pub(super) async fn stop_supplied(&self, key: &PreviewId) -> Result<(), Error> {
        let id = match self.registry.record(key) {
            Some(record) => Some(record.info().container_id),
            None => self.listed(key).await?.map(|container| container.id),
        };
        let Some(id) = id else { return Ok(()) };
        let stopped = match self.engine.stop(&id, self.settings.preview_stop_timeout).await {
            Ok(()) => self.engine.remove(&id).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stopped {
            let project = key.project_id();
            log::error!(target: "kosuke_docker::service", "Error stopping container for project {project}: {error}");
        }
        self.registry.remove(key);
        Ok(())
    }

    /// The previews that are cached, being worked on, or known to the engine as this owner's, with their containers' names.
    pub(super) async fn known_and_owned(&self, operation: &'static str) -> Result<Vec<(PreviewId, String)>, Error> {
        let listed = self.engine.list(&self.settings.preview_owner).await;
        let listed = listed.map_err(|source| Error::engine(operation, None, source))?;
        let mut previews = self.registry.previews();
        for container in listed {
            if let Some(key) = Registry::labelled(&container.labels, &self.settings.preview_owner)
                && !previews.iter().any(|(known, _)| *known == key)
            {
                previews.push((key, container.name));
            }
        }
        Ok(previews)
    }
}

//! Keeps what is remembered true: listens to the engine's events, and looks at what they are about.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use super::feed::{Listener, News};
use super::registry::Registry;
use super::{Inner, lock};
use crate::engine::{Container, EngineEvent, EventKind, State};
use crate::error::EngineError;
use crate::id::{LABEL_START, PreviewId};

impl Inner {
    /// From the first call on: one listener per service. A supplied engine is asked each time.
    pub(super) fn keep_warm(self: &Arc<Self>) {
        if self.engine.traits().supplied || self.listening.swap(true, Ordering::Relaxed) {
            return;
        }
        let (inner, listener) = (Arc::clone(self), self.feed.listen());
        self.tasks.spawn(async move {
            let closed = inner.closed.clone();
            closed.run_until_cancelled(inner.listen(listener)).await;
            // The listener is gone: if it was the last, its connection is closed before the service counts as closed.
            inner.feed.ended().await;
        });
    }

    async fn listen(self: &Arc<Self>, mut listener: Listener) {
        loop {
            match listener.next().await {
                News::Event(event) => self.hear(&event),
                News::Lost => self.registry.touch_all(),
                News::LookAgain => {
                    let inner = Arc::clone(self);
                    self.spawn(async move { inner.look_at_everything().await });
                }
            }
        }
    }

    fn hear(self: &Arc<Self>, event: &EngineEvent) {
        let labelled = Registry::labelled(&event.labels, &self.settings.preview_owner);
        if event.kind == EventKind::Changed && self.is_undone(&event.labels) {
            let (inner, id) = (Arc::clone(self), event.container_id.clone());
            self.spawn(async move { inner.remove_undone(&id).await });
            return;
        }
        let Some(key) = self.registry.of_event(event) else {
            if let Some(key) = labelled.filter(|key| self.is_watched(key)) {
                self.get_to_know(key, event.name.clone());
            }
            return;
        };
        if event.kind == EventKind::Oom
            && let Some(record) = self.registry.record(&key)
            && record.watch.is_of(&event.container_id)
            && record.watch.started_at().is_none_or(|started| event.at >= started)
        {
            record.watch.oom();
        }
        self.look_soon(&key);
    }

    /// From now on a preview (None: every one of this owner) is looked at, whoever makes it.
    pub(super) fn watch(&self, only: Option<&PreviewId>) {
        match only {
            None => self.watching_all.store(true, Ordering::Relaxed),
            Some(key) => drop(lock(&self.watched).insert(key.clone())),
        }
    }

    fn is_watched(&self, key: &PreviewId) -> bool {
        self.watching_all.load(Ordering::Relaxed) || lock(&self.watched).contains(key)
    }

    async fn look_at_everything(self: &Arc<Self>) {
        match self.engine.list(&self.settings.preview_owner).await {
            Ok(listed) => {
                for container in listed {
                    if container.state == State::Created && self.is_undone(&container.labels) {
                        self.remove_undone(&container.id).await;
                    } else if let Some(key) = Registry::labelled(&container.labels, &self.settings.preview_owner)
                        && self.is_watched(&key)
                    {
                        self.get_to_know(key, container.name);
                    }
                }
            }
            // The feed tells when the engine answers again, and that leads here.
            Err(error) => log::debug!(target: "kosuke_docker::engine", "the previews could not be listed: {error}"),
        }
        for (key, _) in self.registry.previews() {
            self.look_soon(&key);
        }
    }

    fn get_to_know(self: &Arc<Self>, key: PreviewId, name: String) {
        let inner = Arc::clone(self);
        self.spawn(async move {
            if let Err(error) = inner.look(&key, &name).await {
                log::debug!(target: "kosuke_docker::engine", "{key}: {error}");
            }
        });
    }

    /// Looks at a preview's container in a task, once for any number of events.
    pub(super) fn look_soon(self: &Arc<Self>, key: &PreviewId) {
        let Some(name) = self.registry.begin_look(key) else { return };
        let (inner, key) = (Arc::clone(self), key.clone());
        self.spawn(async move {
            loop {
                if let Err(error) = inner.look(&key, &name).await {
                    log::debug!(target: "kosuke_docker::engine", "{key}: {error}");
                }
                if !inner.registry.end_look(&key) {
                    return;
                }
            }
        });
    }

    /// Makes sure that the preview is remembered, and that what is remembered is true.
    pub(super) async fn recall(self: &Arc<Self>, key: &PreviewId, name: &str) -> Result<(), EngineError> {
        self.registry.looked(key).await;
        if self.registry.is_warm(key, name) {
            return Ok(());
        }
        self.feed.caught_up().await;
        self.look(key, name).await
    }

    /// As [`Self::recall`]; where the engine does not answer and the preview is remembered, it is the answer why not.
    pub(super) async fn recall_what_can_be(
        self: &Arc<Self>,
        key: &PreviewId,
        name: &str,
    ) -> Result<Option<EngineError>, EngineError> {
        match self.recall(key, name).await {
            Ok(()) => Ok(None),
            Err(why @ (EngineError::Unreachable(_) | EngineError::Timeout(_)))
                if self.registry.is_remembered(key, name) =>
            {
                Ok(Some(why))
            }
            Err(error) => Err(error),
        }
    }

    /// Asks the engine about a preview's container and takes in what it says, unless a later look is known already.
    pub(super) async fn look(self: &Arc<Self>, key: &PreviewId, name: &str) -> Result<(), EngineError> {
        let looked = Instant::now();
        let found = self.engine.inspect(name).await?;
        match found.filter(|container| self.check_ours(key, container).is_ok()) {
            Some(container) => self.saw(key, container).await,
            None => self.registry.gone(key, looked),
        };
        Ok(())
    }

    /// Takes in what a look found; a running container is followed from now on. False: a later look is known.
    pub(super) async fn saw(self: &Arc<Self>, key: &PreviewId, container: Container) -> bool {
        if container.state == State::Exited {
            let end = match self.registry.end_of(key, &container) {
                Some(known) => known,
                None => Arc::new(self.read_end(&container).await),
            };
            return self.registry.saw(key, container, Some(end));
        }
        let running = container.is_running().then(|| container.clone());
        let taken = self.registry.saw(key, container, None);
        if taken && let Some(container) = running {
            self.adopt(key, &container).await;
        }
        taken
    }

    fn is_undone(&self, labels: &std::collections::HashMap<String, String>) -> bool {
        labels.get(LABEL_START).is_some_and(|token| lock(&self.undone).contains(token))
    }

    /// A create that was not answered in time may be carried out later.
    async fn remove_undone(&self, id: &str) {
        match self.engine.remove(id).await {
            Ok(()) => log::info!(target: "kosuke_docker::service", "removed container {id} of a start that had failed"),
            Err(error) => {
                log::error!(target: "kosuke_docker::service", "container {id} of a failed start is left: {error}");
            }
        }
    }

    /// A task that ends with the service.
    pub(super) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closed = self.closed.clone();
        self.tasks.spawn(async move {
            closed.run_until_cancelled(work).await;
        });
    }
}

//! Status: what is remembered, which events keep true, and what the probe finds.

use std::sync::Arc;

use super::hooks::{HookAnswer, HookRequest, Hooks, ask};
use super::snapshot::{blank, from_labels};
use super::watch::Watch;
use super::{Inner, PreviewService};
use crate::engine::Container;
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{Phase, Preview};
use crate::probe::Answer;

impl PreviewService {
    /// The preview, None when it has no container and none is being made.
    ///
    /// # Errors
    /// When the engine does not answer and nothing was known before.
    pub async fn get(
        &self,
        key: &PreviewId,
        name: &str,
        hooks: Option<Arc<dyn Hooks>>,
    ) -> Result<Option<Preview>, Error> {
        if self.inner.engine.traits().supplied {
            self.inner.get_supplied(key, hooks.as_deref()).await
        } else {
            self.inner.get(key, name, hooks.as_deref()).await
        }
    }
}

impl PreviewService {
    /// Whether the preview's container runs, without asking the app.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn is_running(&self, key: &PreviewId, name: &str) -> Result<bool, Error> {
        let inner = &self.inner;
        let failed = |source| Error::engine("status", Some(key), source);
        if !inner.engine.traits().supplied {
            let found = inner.engine.inspect(name).await.map_err(failed)?;
            return Ok(found.is_some_and(|found| found.is_running() && inner.check_ours(key, &found).is_ok()));
        }
        match inner.registry.record(key) {
            None => Ok(inner.listed(key).await?.is_some_and(|found| found.is_running())),
            Some(record) => {
                let found = inner.engine.inspect(&record.info().container_id).await.map_err(failed)?;
                Ok(found.is_some_and(|found| !found.is_dead()))
            }
        }
    }

    /// Whether this URL answers with 2xx, asked anew.
    pub async fn check_health(&self, url: &str) -> bool {
        match self.inner.target_of_url(url) {
            Some(target) => self.inner.probe.ask(&target, self.inner.settings.preview_probe_timeout).await.is_good(),
            None => false,
        }
    }
}

impl Inner {
    async fn get(
        self: &Arc<Self>,
        key: &PreviewId,
        name: &str,
        hooks: Option<&dyn Hooks>,
    ) -> Result<Option<Preview>, Error> {
        self.keep_warm();
        let unreachable = self.recall_what_can_be(key, name).await;
        let unreachable = unreachable.map_err(|source| Error::engine("status", Some(key), source))?;
        let mut healthy = None;
        if unreachable.is_none()
            && let Some(watch) = self.registry.watch_of_run(key)
            // A paused app answers nothing.
            && self.registry.preview(key, None).is_some_and(|preview| preview.phase != Phase::Paused)
        {
            watch.introduced().await;
            healthy = self.look_at_the_page(key, &watch, hooks).await?;
        }
        let mut preview = self.registry.preview(key, unreachable.as_ref());
        if let (Some(preview), Some(healthy)) = (&mut preview, healthy) {
            preview.is_responding = healthy;
        }
        Ok(preview)
    }

    /// Probes a running container, or asks the hook in place of that; what the hook said is returned.
    async fn look_at_the_page(
        &self,
        key: &PreviewId,
        watch: &Watch,
        hooks: Option<&dyn Hooks>,
    ) -> Result<Option<bool>, Error> {
        let Some(url) = self.registry.preview(key, None).and_then(|preview| preview.url) else { return Ok(None) };
        if let Some(HookAnswer::Healthy(healthy)) = ask(hooks, key, HookRequest::Health(url)).await? {
            return Ok(Some(healthy));
        }
        let state = watch.state();
        // While a request is on its way, the server is not up or errors stand, the log and the watch's own requests tell:
        // another one would only make the compile slower.
        if !state.warming && state.readiness.is_up() && !state.readiness.has_error() {
            watch.probe(&self.probe, self.settings.preview_probe_ttl, self.settings.preview_probe_timeout).await;
        }
        Ok(None)
    }

    /// An entry that is known runs unless the supplied engine says that it is dead.
    async fn get_supplied(
        self: &Arc<Self>,
        key: &PreviewId,
        hooks: Option<&dyn Hooks>,
    ) -> Result<Option<Preview>, Error> {
        let view = self.registry.view();
        let Some(record) = self.registry.record(key) else {
            let listed = self.listed(key).await?.filter(Container::is_running);
            return Ok(listed.map(|container| {
                let mut preview = from_labels(key, &container);
                (preview.running, preview.phase) = (true, Phase::Starting);
                preview.port = container.ports.get(&self.settings.preview_port).copied();
                preview.url = preview.port.map(|port| view.url(port));
                preview
            }));
        };
        let info = record.info();
        let found = self.engine.inspect(&info.container_id).await;
        if matches!(&found, Ok(None)) || matches!(&found, Ok(Some(container)) if container.is_dead()) {
            self.registry.remove_watch(key, &record.watch);
            return Ok(None);
        }
        let asked = ask(hooks, key, HookRequest::Health(info.url.clone())).await?;
        let healthy = if let Some(HookAnswer::Healthy(healthy)) = asked {
            Some(healthy)
        } else {
            let settings = &self.settings;
            record.watch.probe(&self.probe, settings.preview_probe_ttl, settings.preview_probe_timeout).await;
            None
        };
        let state = record.watch.state();
        let mut preview = blank(key, &info.container_name, state.phase());
        preview.running = true;
        preview.port = Some(info.port);
        preview.url = Some(info.url);
        preview.container_id = Some(info.container_id);
        preview.is_responding = healthy.unwrap_or_else(|| state.last_answer.is_some_and(Answer::is_good));
        preview.http_status = state.last_answer.and_then(Answer::status);
        preview.compilation_complete = state.readiness.is_complete() || info.compilation_complete;
        if preview.compilation_complete && preview.phase == Phase::Starting {
            preview.phase = if preview.is_responding { Phase::Ready } else { Phase::Unresponsive };
        }
        if found.is_err() {
            preview.phase = Phase::EngineUnreachable;
        }
        Ok(Some(preview))
    }
}

//! Status: what the engine says now, with what following the container has taught.

use std::sync::Arc;
use std::time::SystemTime;

use super::hooks::{HookAnswer, HookRequest, Hooks, ask};
use super::monitor::Watch;
use super::{Inner, PreviewService};
use crate::engine::{Container, State};
use crate::error::{EngineError, Error};
use crate::preview::{
    DatabaseState, Isolation, LABEL_DATABASE, LABEL_DATABASE_NAME, LABEL_ISOLATION, Phase, Preview, PreviewKey,
};
use crate::probe::Answer;

impl PreviewService {
    /// The preview, None when it has no container and none is being made.
    ///
    /// # Errors
    /// When the engine does not answer and nothing was known before.
    pub async fn get(
        &self,
        key: &PreviewKey,
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
    pub async fn is_running(&self, key: &PreviewKey, name: &str) -> Result<bool, Error> {
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
        key: &PreviewKey,
        name: &str,
        hooks: Option<&dyn Hooks>,
    ) -> Result<Option<Preview>, Error> {
        let before = self.registry.phase(key);
        let (known, last_port) = (self.registry.record(key), self.registry.last_port(key));
        let container = match self.engine.inspect(name).await {
            Ok(container) => container,
            Err(source @ (EngineError::Unreachable(_) | EngineError::Timeout(_))) => {
                return self
                    .last_known(key, &source)
                    .map(Some)
                    .ok_or_else(|| Error::engine("status", Some(key), source));
            }
            Err(source) => return Err(Error::engine("status", Some(key), source)),
        };
        // A stop or restart may have begun while the engine was asked: what it answered is then of that operation.
        let doing = self.registry.phase(key).or(before);
        let Some(container) = container.filter(|container| self.check_ours(key, container).is_ok()) else {
            if let Some(known) = known {
                self.registry.remove_watch(key, &known.watch);
            }
            let making = doing.filter(|phase| matches!(phase, Phase::Pulling | Phase::Creating));
            return Ok(making.map(|phase| blank(key, name, phase)));
        };
        let mut preview = from_labels(key, &container);
        match container.state {
            // Until it is gone, what is being stopped counts as running: an exit code would look like a crash.
            _ if doing == Some(Phase::Stopping) => {
                let port = container.ports.get(&self.settings.preview_port).copied();
                preview.phase = Phase::Stopping;
                preview.running = true;
                preview.port = port.or(last_port);
                preview.url = preview.port.map(|port| self.url(port));
            }
            // Between the two halves of a restart.
            _ if doing == Some(Phase::Starting) && !container.is_running() => {
                preview.running = true;
                preview.port = last_port;
                preview.url = preview.port.map(|port| self.url(port));
            }
            State::Created => preview.phase = Phase::Creating,
            State::Removing => preview.phase = Phase::Stopping,
            State::Exited | State::Unknown => {
                if let Some(known) = known.filter(|known| known.watch.is_of(&container.id)) {
                    self.registry.remove_watch(key, &known.watch);
                }
                preview.phase = if container.oom_killed { Phase::OomKilled } else { Phase::Exited };
                preview.exit_code = container.exit_code;
                preview.last_lines = self.last_lines(&container.id).await;
            }
            State::Running | State::Paused => {
                let watch = self.adopt(key, &container).await;
                preview.running = true;
                preview.port = container.ports.get(&self.settings.preview_port).copied();
                preview.url = preview.port.map(|port| self.url(port));
                watch.replayed().await;
                if container.state == State::Paused {
                    preview.phase = Phase::Paused;
                    preview.compilation_complete = watch.state().readiness.is_complete();
                } else {
                    self.look(key, &mut preview, &watch, hooks).await?;
                }
            }
        }
        Ok(Some(preview))
    }

    /// Probes a running container and fills in what its watch knows.
    async fn look(
        &self,
        key: &PreviewKey,
        preview: &mut Preview,
        watch: &Watch,
        hooks: Option<&dyn Hooks>,
    ) -> Result<(), Error> {
        let replaced = match &preview.url {
            Some(url) => ask(hooks, key, HookRequest::Health(url.clone())).await?,
            None => None,
        };
        // The warm-up is a request on its way: a second one would only make the compile slower.
        let answer = match replaced {
            Some(_) => None,
            None if watch.state().warming => None,
            None => {
                watch.probe(&self.probe, self.settings.preview_probe_ttl, self.settings.preview_probe_timeout).await
            }
        };
        let state = watch.state();
        let readiness = &state.readiness;
        preview.is_responding = match replaced {
            Some(HookAnswer::Healthy(healthy)) => healthy,
            _ => answer.is_some_and(Answer::is_good),
        };
        preview.http_status = answer.and_then(Answer::status);
        preview.compilation_complete = readiness.is_complete();
        preview.detail = state.detail.map(str::to_owned);
        preview.phase = if readiness.has_error() {
            Phase::CompileError
        } else if readiness.is_complete() {
            match answer {
                Some(Answer::NoServer | Answer::TooLate) => Phase::Unresponsive,
                _ => Phase::Ready,
            }
        } else if readiness.is_up() {
            Phase::Compiling
        } else {
            Phase::Starting
        };
        Ok(())
    }

    /// An entry that is known runs unless the supplied engine says that it is dead.
    async fn get_supplied(
        self: &Arc<Self>,
        key: &PreviewKey,
        hooks: Option<&dyn Hooks>,
    ) -> Result<Option<Preview>, Error> {
        let Some(record) = self.registry.record(key) else {
            let listed = self.listed(key).await?.filter(Container::is_running);
            return Ok(listed.map(|container| {
                let mut preview = from_labels(key, &container);
                (preview.running, preview.phase) = (true, Phase::Starting);
                preview.port = container.ports.get(&self.settings.preview_port).copied();
                preview.url = preview.port.map(|port| self.url(port));
                preview
            }));
        };
        let info = record.info();
        let found = self.engine.inspect(&info.container_id).await;
        if matches!(&found, Ok(None)) || matches!(&found, Ok(Some(container)) if container.is_dead()) {
            self.registry.remove_watch(key, &record.watch);
            return Ok(None);
        }
        let mut preview = blank(key, &info.container_name, Phase::Starting);
        preview.running = true;
        preview.port = Some(info.port);
        preview.url = Some(info.url);
        preview.container_id = Some(info.container_id);
        self.look(key, &mut preview, &record.watch, hooks).await?;
        preview.compilation_complete |= info.compilation_complete;
        if preview.compilation_complete && preview.phase == Phase::Starting {
            preview.phase = if preview.is_responding { Phase::Ready } else { Phase::Unresponsive };
        }
        if found.is_err() {
            preview.phase = Phase::EngineUnreachable;
        }
        Ok(Some(preview))
    }

    fn last_known(&self, key: &PreviewKey, source: &EngineError) -> Option<Preview> {
        // An entry that was put in by hand was never verified.
        let record = self.registry.record(key).filter(|record| record.watch.is_followed())?;
        let info = record.info();
        let mut preview = blank(key, &info.container_name, Phase::EngineUnreachable);
        preview.running = true;
        preview.port = Some(info.port);
        preview.url = Some(info.url);
        preview.container_id = Some(info.container_id);
        preview.compilation_complete = info.compilation_complete;
        preview.is_responding = info.is_responding;
        preview.detail = Some(source.to_string());
        preview.as_of = record.seen;
        Some(preview)
    }
}

fn blank(key: &PreviewKey, name: &str, phase: Phase) -> Preview {
    Preview {
        project_id: key.project_id,
        phase,
        running: false,
        url: None,
        port: None,
        container_id: None,
        container_name: name.to_owned(),
        compilation_complete: false,
        is_responding: false,
        http_status: None,
        exit_code: None,
        last_lines: Vec::new(),
        database: None,
        database_name: None,
        database_isolation: None,
        database_detail: None,
        detail: None,
        as_of: SystemTime::now(),
    }
}

fn from_labels(key: &PreviewKey, container: &Container) -> Preview {
    let label = |name: &str| container.labels.get(name).map(String::as_str);
    let mut preview = blank(key, &container.name, Phase::Starting);
    preview.container_id = Some(container.id.clone());
    preview.database = label(LABEL_DATABASE).and_then(DatabaseState::parse);
    preview.database_name = label(LABEL_DATABASE_NAME).map(str::to_owned);
    preview.database_isolation = label(LABEL_ISOLATION).and_then(Isolation::parse);
    preview.database_detail = label(crate::preview::LABEL_DATABASE_DETAIL).map(str::to_owned);
    preview
}

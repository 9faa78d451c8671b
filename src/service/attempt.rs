//! One attempt of a start: finds the container and adopts it, or makes one. Whoever loses a race looks again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::api::{StartRequest, WaitOptions};
use super::contain::Contained;
use super::context::{Context, MAX_RACES, POLL, UNSTARTED_TIMEOUT};
use super::create::{Create, Made};
use super::drift::drift;
use super::hooks::{HookAnswer, HookRequest, ask};
use super::prepare::Preparation;
use super::start::{Starter, is_unwanted, wait_unwanted};
use super::wait::Wait;
use crate::engine::{EngineError, PortRange, Secrets, State, Workload};
use crate::error::Error;
use crate::folder;
use crate::id::PreviewId;
use crate::preview::{Phase, Started};
use crate::state::{Ownership, SharedStart};

/// What the engine said about the container.
enum Existing {
    Running(Workload),
    Absent,
    /// One of ours that does not run.
    Dead(Workload),
}

/// How one look ended, if not with an error.
enum Outcome {
    Started(Started),
    /// Somebody else made or removed the container, or its network, meanwhile.
    LostRace(Option<EngineError>),
}

/// See the module.
pub(super) struct Attempt {
    context: Arc<Context>,
    preparation: Arc<Preparation>,
    create: Create,
    wait: Arc<Wait>,
}

#[async_trait]
impl Starter for Attempt {
    async fn start(&self, request: &StartRequest, shared: &SharedStart) -> Result<Started, Error> {
        // Around all tries: who loses a race to another process finds its preview, which is about to need the network.
        self.preparation.begin_start();
        let started = self.try_until_won(request, shared).await;
        self.preparation.end_start(started.is_ok()).await;
        started
    }

    async fn drift(&self, request: &StartRequest, started: &Started) -> Result<bool, Error> {
        let id = &request.id;
        let found = self.context.engine.inspect(&started.container_id).await;
        let found = found.map_err(|source| Error::engine("start", Some(id), source))?;
        match found {
            Some(workload) => self.note_drift(request, &workload).await,
            None => Ok(false),
        }
    }

    async fn wait_ready(&self, request: &StartRequest, _started: &Started, options: WaitOptions) -> Result<(), Error> {
        self.wait.call(&request.id, options).await.map(drop)
    }
}

impl Attempt {
    pub(super) fn new(context: Arc<Context>, preparation: Arc<Preparation>, wait: Arc<Wait>) -> Self {
        Self { create: Create::new(Arc::clone(&context)), context, preparation, wait }
    }

    async fn try_until_won(&self, request: &StartRequest, shared: &SharedStart) -> Result<Started, Error> {
        let mut last = None;
        for _ in 0..MAX_RACES {
            if is_unwanted(&self.context.common, shared) {
                return Err(Error::abandoned(&request.id));
            }
            match self.look(request, shared).await? {
                Outcome::Started(started) => return Ok(started),
                Outcome::LostRace(words) => {
                    last = words.or(last);
                    tokio::time::sleep(POLL).await;
                }
            }
        }
        let name = self.context.store().name(&request.id);
        Err(Error::ContainerStart {
            preview: request.id.clone(),
            step: "create",
            source: last.unwrap_or_else(|| EngineError::Conflict(format!("container {name} comes and goes"))),
        })
    }

    async fn look(&self, request: &StartRequest, shared: &SharedStart) -> Result<Outcome, Error> {
        let old = match self.find(request, shared).await? {
            Existing::Running(workload) => {
                if !(self.note_drift(request, &workload).await? && request.recreate) {
                    return self.adopt(&request.id, &workload).await;
                }
                Some(workload)
            }
            Existing::Dead(workload) => Some(workload),
            Existing::Absent => None,
        };
        self.make(request, shared, old).await
    }

    /// Whether the container that runs lacks what the caller gives; it is told on the preview.
    async fn note_drift(&self, request: &StartRequest, workload: &Workload) -> Result<bool, Error> {
        let id = &request.id;
        if request.variables.is_empty() {
            return Ok(false);
        }
        let environment = self.context.engine.environment(&workload.id).await;
        let environment = environment.map_err(|source| Error::engine("start", Some(id), source))?.unwrap_or_default();
        let names = drift(workload, &environment, &request.variables);
        let drifted = !names.is_empty();
        if drifted && !request.recreate {
            let told = names.join(", ");
            log::warn!(target: "kosuke_docker::service", "{id}: its container runs with other values than asked for: {told}");
        }
        self.context.store().set_drift(id, &workload.id, names);
        Ok(drifted)
    }

    /// Looks for the container, waiting while another process is between making and starting it, or removing it.
    async fn find(&self, request: &StartRequest, shared: &SharedStart) -> Result<Existing, Error> {
        let began = Instant::now();
        loop {
            let found = self.context.engine.inspect(&self.context.store().name(&request.id)).await;
            let found = found.map_err(|source| Error::engine("start", Some(&request.id), source))?;
            let Some(workload) = found else { return Ok(Existing::Absent) };
            self.context.ownership.check(&request.id, &workload)?;
            let timeout = match workload.state {
                State::Running | State::Paused => return Ok(Existing::Running(workload)),
                State::Exited | State::Unknown => return Ok(Existing::Dead(workload)),
                State::Created => UNSTARTED_TIMEOUT,
                State::Removing => self.context.settings().engine_timeout,
            };
            if began.elapsed() >= timeout {
                return Ok(Existing::Dead(workload));
            }
            tokio::select! {
                () = wait_unwanted(&self.context.common, shared) => return Err(Error::abandoned(&request.id)),
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    async fn adopt(&self, id: &PreviewId, workload: &Workload) -> Result<Outcome, Error> {
        match started(&self.context, id, workload).await {
            Some(started) => Ok(Outcome::Started(started)),
            None => Err(Error::ContainerConflict {
                preview: id.clone(),
                name: workload.name.clone(),
                problem: Ownership::without_port(workload, self.context.settings().preview_port),
            }),
        }
    }

    async fn make(
        &self,
        request: &StartRequest,
        shared: &SharedStart,
        old: Option<Workload>,
    ) -> Result<Outcome, Error> {
        let id = &request.id;
        let here = folder::resolve(&self.context.settings().projects_dir, id).await?;
        let folder = self.folder(id, &here).await?;
        let contained = Contained::decide(&self.context, request, &here).await?;
        let operation = self.context.store().begin_operation(id, Phase::Creating);
        if let Some(old) = old {
            self.remove(id, &old).await?;
        }
        let mut prepared = tokio::select! {
            () = wait_unwanted(&self.context.common, shared) => return Err(Error::abandoned(id)),
            prepared = self.preparation.prepare(request, &operation) => prepared?,
        };
        contained.complete(&prepared.of_image, &mut prepared.environment);
        let ports = self.host_ports(request).await?;
        let unwanted = || is_unwanted(&self.context.common, shared);
        let made = self.create.call(id, &prepared, &contained, folder, ports, unwanted).await?;
        let workload = match made {
            Made::Container(workload) => workload,
            Made::LostRace(words) => return Ok(Outcome::LostRace(words)),
        };
        self.context.store().regain_database(id);
        let Some(started) = started(&self.context, id, &workload).await else {
            if self.context.reconciler.was_stopped(&workload) {
                let words = format!("container {} was stopped while it was being started", workload.name);
                return Ok(Outcome::LostRace(Some(EngineError::Conflict(words))));
            }
            return Err(self.without_port(id, &workload, &Secrets::of(&prepared.environment)).await);
        };
        // Not before the container is known: between the two there would be no preview.
        drop(operation);
        Ok(Outcome::Started(Started { fresh: true, ..started }))
    }

    /// Removes what a new container takes the place of.
    async fn remove(&self, id: &PreviewId, old: &Workload) -> Result<(), Error> {
        let engine = &self.context.engine;
        if old.is_running() {
            log::info!(target: "kosuke_docker::service", "{id}: replacing container {}, which runs with other variables", old.name);
            let stopped = engine.stop(&old.id, self.context.settings().preview_stop_timeout).await;
            stopped.map_err(|source| Error::engine("stop", Some(id), source))?;
        } else {
            log::info!(target: "kosuke_docker::service", "{id}: removing container {} that does not run", old.name);
        }
        engine.remove(&old.id).await.map_err(|source| Error::engine("remove", Some(id), source))?;
        self.context.store().observe_absence(id, std::time::Instant::now());
        Ok(())
    }

    /// The project's folder as the engine's machine knows it.
    async fn folder(&self, id: &PreviewId, here: &Path) -> Result<PathBuf, Error> {
        let (settings, engine) = (self.context.settings(), &self.context.engine);
        let wrong = |path: &Path, problem: &str| Error::ProjectFolder {
            preview: id.clone(),
            path: path.to_owned(),
            problem: problem.to_owned(),
        };
        let path = if let Some(workspace) = &settings.host_workspace_dir {
            workspace.join(folder::in_workspace(&settings.projects_dir, id))
        } else {
            let path = engine.locality().engine_path(here).await;
            let path = path.map_err(|source| Error::engine("folder", Some(id), source))?;
            let inside = "is in this container only: mount PROJECTS_DIR from the host, or set HOST_WORKSPACE_DIR";
            path.ok_or_else(|| wrong(here, inside))?
        };
        if folder::holds_engine(here, engine.socket()) || folder::holds_engine(&path, None) {
            return Err(wrong(&path, "holds the engine's socket: who reaches it is root on the host"));
        }
        Ok(path)
    }

    async fn host_ports(&self, request: &StartRequest) -> Result<PortRange, Error> {
        match ask(request.hooks(), Some(&request.id), HookRequest::Port).await? {
            Some(HookAnswer::Port(port)) => Ok(PortRange::one(port)),
            _ => Ok(self.context.port_range()),
        }
    }

    /// It ran, and ended before its port could be read: there is no URL to give.
    async fn without_port(&self, id: &PreviewId, workload: &Workload, secrets: &Secrets) -> Error {
        if !workload.is_running() {
            return self.context.reconciler.ended(id, workload).await;
        }
        self.create.undo(id, &workload.id, secrets).await;
        let source = EngineError::Refused("it runs but publishes no port".into());
        Error::ContainerStart { preview: id.clone(), step: "start", source }
    }
}

/// Takes a running container into the cache and follows it. None: it publishes no port (any more).
pub(super) async fn started(context: &Context, id: &PreviewId, workload: &Workload) -> Option<Started> {
    let port = context.store().snapshots().port_of(workload)?;
    context.reconciler.observe(id, workload.clone()).await;
    let url = context.store().snapshots().url(port);
    Some(Started { url, container_id: workload.id.clone(), fresh: false })
}

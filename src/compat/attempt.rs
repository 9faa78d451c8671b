//! A start on a docker-py-compatible client.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;

use super::client::RunSpec;
use super::context::Context;
use crate::engine::{EngineError, PortRange, State, Workload};
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{Phase, Started};
use crate::service::{
    Hook, HookAnswer, HookRequest, MAX_RACES, POLL, StartRequest, Starter, UNSTARTED_TIMEOUT, WaitOptions, ask,
    container_environment, ensure_database, is_unwanted, wait_unwanted,
};
use crate::state::SharedStart;

/// What is known about the container.
enum Existing {
    /// The cache has it, and the client does not say that it is dead.
    Known(Started),
    /// It runs, on this port.
    Running(Workload, u16),
    Dead(Workload),
    Absent,
}

/// See the module.
pub(super) struct Attempt {
    context: Arc<Context>,
}

impl Attempt {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// The entry that is known is asked about by its id, else the container once by its name.
    async fn find(&self, request: &StartRequest, shared: &SharedStart, races: usize) -> Result<Existing, Error> {
        let (id, common) = (&request.id, &self.context.common);
        let failed = |source| Error::engine("start", Some(id), source);
        if let Some(record) = common.store.record(id) {
            let info = record.info;
            match self.context.client.get(&info.container_id).await.map_err(failed)? {
                Some(workload) if !workload.is_dead() => {
                    let started = Started { url: info.url, container_id: info.container_id, fresh: false };
                    return Ok(Existing::Known(started));
                }
                _ => common.store.remove_run(id, &record.run),
            }
        }
        let began = Instant::now();
        loop {
            let Some(workload) = self.context.client.get(&common.store.name(id)).await.map_err(failed)? else {
                return Ok(Existing::Absent);
            };
            let port = common.store.snapshots().port_of(&workload);
            let timeout = match (workload.state, port) {
                (State::Running, Some(port)) => return Ok(Existing::Running(workload, port)),
                // Whoever won the name may be between making and starting it.
                (State::Created, _) if races > 0 => UNSTARTED_TIMEOUT,
                (State::Removing, _) if races > 0 => common.settings.engine_timeout,
                _ => return Ok(Existing::Dead(workload)),
            };
            if began.elapsed() >= timeout {
                return Ok(Existing::Dead(workload));
            }
            tokio::select! {
                () = wait_unwanted(common, shared) => return Err(Error::abandoned(id)),
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// None: somebody else won the name.
    async fn make(
        &self,
        request: &StartRequest,
        shared: &SharedStart,
        dead: Option<Workload>,
    ) -> Result<Option<Started>, Error> {
        let (id, common) = (&request.id, &self.context.common);
        let operation = common.store.begin_operation(id, Phase::Creating);
        if let Some(dead) = dead {
            log::info!(target: "kosuke_docker::service", "{id}: removing container {} that does not run", dead.name);
            let removed = self.context.client.remove(&dead.id).await;
            removed.map_err(|source| Error::engine("remove", Some(id), source))?;
            common.store.observe_absence(id, Instant::now());
        }
        let prepare = async {
            let database = ensure_database(common, request).await?;
            Ok::<_, Error>((database, container_environment(common, request).await?))
        };
        let (database, environment) = tokio::select! {
            () = wait_unwanted(common, shared) => return Err(Error::abandoned(id)),
            prepared = prepare => prepared?,
        };
        let spec = self.spec(request, environment).await?;
        // What such a client creates it also starts.
        if database.has_role()
            && let Err(error) = common.databases.set_password(id).await
            && common.settings.postgres_required
        {
            return Err(Error::database(id, error));
        }
        let Some(container) = self.run(id, &spec).await? else { return Ok(None) };
        let followed = !request.hooks().is_some_and(|hooks| hooks.replaces(Hook::Monitor));
        let started = self.context.register(id, container, spec.host_port, followed);
        // Not before the container is known: between the two there would be no preview.
        drop(operation);
        Ok(Some(Started { fresh: true, ..started }))
    }

    async fn spec(&self, request: &StartRequest, environment: Vec<(String, String)>) -> Result<RunSpec, Error> {
        let (id, settings) = (&request.id, &self.context.common.settings);
        let folder = settings.projects_dir.join(id.folder());
        let host_port = match ask(request.hooks(), Some(id), HookRequest::Port).await? {
            Some(HookAnswer::Port(port)) => port,
            _ => settings.preview_port_range_start,
        };
        Ok(RunSpec {
            name: self.context.common.store.name(id),
            image: settings.preview_default_image.clone(),
            command: settings.preview_command.argv(),
            environment,
            // The folder may be on another machine: it is passed through.
            folder: std::path::absolute(&folder).unwrap_or(folder),
            network: settings.preview_network.clone(),
            port: settings.preview_port,
            host_port,
        })
    }

    /// None: the name is taken.
    async fn run(&self, id: &PreviewId, spec: &RunSpec) -> Result<Option<String>, Error> {
        let source = match self.context.client.run(spec).await {
            Ok(container) => return Ok(Some(container)),
            Err(EngineError::Conflict(_)) => return Ok(None),
            Err(source) => source,
        };
        // It may have been made and not started.
        if let Ok(Some(workload)) = self.context.client.get(&spec.name).await
            && workload.state == State::Created
            && let Err(error) = self.context.client.remove(&workload.id).await
        {
            let error = error.hiding(&spec.secrets());
            let container = &workload.id;
            log::error!(target: "kosuke_docker::service", "{id}: container {container} of a failed start is left: {error}");
        }
        Err(Error::start(id, "create", &spec.image, PortRange::one(spec.host_port), source))
    }
}

#[async_trait]
impl Starter for Attempt {
    async fn start(&self, request: &StartRequest, shared: &SharedStart) -> Result<Started, Error> {
        let (id, common) = (&request.id, &self.context.common);
        for races in 0..MAX_RACES {
            if is_unwanted(common, shared) {
                return Err(Error::abandoned(id));
            }
            let dead = match self.find(request, shared, races).await? {
                Existing::Known(started) => return Ok(started),
                Existing::Running(workload, port) => {
                    let followed = !request.hooks().is_some_and(|hooks| hooks.replaces(Hook::Monitor));
                    let started = self.context.register(id, workload.id, port, followed);
                    // As the older service has it: what was running before counts as compiled.
                    common.store.complete(id);
                    return Ok(started);
                }
                Existing::Dead(workload) => Some(workload),
                Existing::Absent => None,
            };
            if let Some(started) = self.make(request, shared, dead).await? {
                return Ok(started);
            }
            tokio::time::sleep(POLL).await;
        }
        let words = format!("container {} comes and goes", common.store.name(id));
        let source = EngineError::Conflict(words);
        Err(Error::ContainerStart { preview: id.clone(), step: "create", source })
    }

    /// The entry in the cache is all there is to wait for.
    /// What such a container was made with is not asked for.
    async fn drift(&self, _request: &StartRequest, _started: &Started) -> Result<bool, Error> {
        Ok(false)
    }

    async fn wait_ready(&self, request: &StartRequest, started: &Started, _: WaitOptions) -> Result<(), Error> {
        let (id, common) = (&request.id, &self.context.common);
        let record = common.store.record(id).filter(|record| record.is_of(&started.container_id));
        if let Some(record) = record
            && record.run.wait_compiled().await
        {
            return Ok(());
        }
        if common.is_closed() {
            return Err(Error::Closed { operation: "start" });
        }
        let found = self.context.client.get(&started.container_id).await;
        let found = found.map_err(|source| Error::engine("start", Some(id), source))?;
        Err(Error::ended(id, found.and_then(|workload| workload.exit_code), Vec::new()))
    }
}

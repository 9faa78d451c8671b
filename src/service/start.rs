//! Start: single-flight per preview, an owned task that its callers join.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::hooks::{HookAnswer, HookRequest, Hooks, ask};
use super::prepare::{Database, Prepared};
use super::ready::Patience;
use super::registry::{ContainerInfo, Flight, Ticket};
use super::watch::Watch;
use super::{Inner, PreviewService, lock};
use crate::database::DatabaseError;
use crate::engine::{Container, ContainerSpec, State};
use crate::environment::{self, Variables};
use crate::error::{EngineError, Error};
use crate::folder;
use crate::id::{
    LABEL_DATABASE, LABEL_DATABASE_DETAIL, LABEL_DATABASE_NAME, LABEL_ISOLATION, LABEL_OWNER, LABEL_PREVIEW,
    LABEL_PROJECT, LABEL_START, PreviewId,
};
use crate::preview::{DatabaseState, Phase};

/// How long a container that another process made may wait for its start before it counts as left behind.
/// Longer than a password may take to set: else the one that is late would overwrite the one that replaced it.
pub(super) const UNSTARTED_PATIENCE: Duration = Duration::from_secs(8);
const POLL: Duration = Duration::from_millis(50);
/// How long foreign processes' ports are stepped over.
const PORT_PATIENCE: Duration = Duration::from_secs(10);
/// How long two networks of one name are waited for to become one.
const NETWORK_PATIENCE: Duration = Duration::from_secs(1);
/// Lost races before we give up: each one means that somebody else made or removed the container meanwhile.
const MAX_RACES: usize = 20;

/// What to start.
#[derive(Clone)]
pub struct StartRequest {
    /// Which preview.
    pub key: PreviewId,
    /// The container's name.
    pub name: String,
    /// The caller's variables; they win over all others.
    pub variables: Variables,
    /// The steps that Python replaces.
    pub hooks: Option<Arc<dyn Hooks>>,
    /// Wait until it is ready, and fail if it cannot become it any more.
    pub until_ready: Option<Patience>,
}

impl StartRequest {
    fn has_left(&self) -> bool {
        self.hooks.as_ref().is_some_and(|hooks| hooks.left())
    }
}

/// A preview that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The address for people.
    pub url: String,
    /// The container's id.
    pub container_id: String,
    /// Whether this start made the container; else it was found running.
    pub fresh: bool,
}

/// What one look at the engine said.
enum Found {
    Running(Container),
    Nothing,
    /// One of ours that does not run.
    Dead(Container),
}

/// A place in a flight.
struct Joined {
    ticket: Ticket,
    /// Whether this caller opened it, so that its hooks are used.
    opened: bool,
}

/// How one attempt ended, if not with an error.
enum Attempt {
    Started(Started),
    /// Somebody else made or removed the container, or its network, meanwhile: look again.
    LostRace(Option<EngineError>),
}

impl PreviewService {
    /// Starts the preview, or joins the start that is under way, or adopts the container that runs. The place in the
    /// queue is taken at the call, not at the first poll.
    ///
    /// # Errors
    /// See [`Error`]; then nothing of the attempt is left.
    pub fn start(&self, request: StartRequest) -> impl Future<Output = Result<Started, Error>> + Send + 'static {
        let service = self.clone();
        let first = environment::validate(&request.variables).map(|()| self.join(&request));
        async move {
            let mut joined = first?;
            loop {
                let result = match joined.ticket.wait_for(Option::is_some).await {
                    Ok(result) => result.clone(),
                    Err(_) => None,
                };
                match result {
                    // The caller whose hooks were used left, or all had left before we came: begin anew.
                    Some(Err(Error::Abandoned { .. })) if !service.is_closed() && !request.has_left() => {
                        joined = service.join(&request);
                    }
                    Some(Err(Error::Abandoned { .. })) | None => return Err(Error::Closed { operation: "start" }),
                    Some(result) => {
                        let started = result?;
                        service.after_start(&request, &started, joined.opened).await?;
                        return Ok(started);
                    }
                }
            }
        }
    }

    fn join(&self, request: &StartRequest) -> Joined {
        self.inner.keep_warm();
        let (ticket, opened) = self.inner.registry.join_start(&request.key, &request.name);
        let joined = Joined { ticket, opened: opened.is_some() };
        if let Some((flight, turn)) = opened {
            let (inner, request) = (Arc::clone(&self.inner), request.clone());
            self.inner.tasks.spawn(async move {
                turn.come().await;
                let result = Box::pin(inner.start(&request, &flight)).await;
                flight.result.send_replace(Some(result));
                inner.finish(&request.key, turn);
            });
        }
        joined
    }

    /// Not within the preview's turn: both may take long, and a stop must not wait for them.
    pub(super) async fn after_start(
        &self,
        request: &StartRequest,
        started: &Started,
        opened: bool,
    ) -> Result<(), Error> {
        if opened && started.fresh {
            let hooks = request.hooks.as_deref();
            ask(hooks, &request.key, HookRequest::Monitor(started.container_id.clone())).await?;
        }
        match request.until_ready {
            Some(_) if self.inner.engine.traits().supplied => self.wait_supplied(&request.key, started).await,
            Some(patience) => self.wait_until_ready(&request.key, &request.name, patience).await.map(drop),
            None => Ok(()),
        }
    }

    /// With a supplied engine the entry in the cache is all there is to wait for.
    async fn wait_supplied(&self, key: &PreviewId, started: &Started) -> Result<(), Error> {
        let record = self.inner.registry.record(key).filter(|record| record.watch.is_of(&started.container_id));
        if let Some(record) = record
            && record.watch.settled().await
        {
            return Ok(());
        }
        if self.inner.closed.is_cancelled() {
            return Err(Error::Closed { operation: "start" });
        }
        let found = self.inner.engine.inspect(&started.container_id).await;
        let found = found.map_err(|source| Error::engine("start", Some(key), source))?;
        let last_lines = match &found {
            Some(container) => self.inner.read_end(container).await.last_lines,
            None => Vec::new(),
        };
        Err(Error::ended(key, found.and_then(|container| container.exit_code), last_lines))
    }
}

impl Inner {
    pub(super) async fn start(self: &Arc<Self>, request: &StartRequest, flight: &Flight) -> Result<Started, Error> {
        let mut last = None;
        for races in 0..MAX_RACES {
            if self.is_unwanted(flight) {
                return Err(Error::Abandoned { preview: request.key.clone() });
            }
            match self.attempt(request, flight, races).await? {
                Attempt::Started(started) => return Ok(started),
                Attempt::LostRace(words) => {
                    last = words.or(last);
                    tokio::time::sleep(POLL).await;
                }
            }
        }
        Err(Error::ContainerStart {
            preview: request.key.clone(),
            step: "create",
            source: last.unwrap_or_else(|| EngineError::Conflict(format!("container {} comes and goes", request.name))),
        })
    }

    async fn attempt(
        self: &Arc<Self>,
        request: &StartRequest,
        flight: &Flight,
        races: usize,
    ) -> Result<Attempt, Error> {
        let found = if self.engine.traits().supplied {
            match self.find_supplied(request, flight, races).await? {
                Ok(known) => return Ok(Attempt::Started(known)),
                Err(found) => found,
            }
        } else {
            self.find(request, flight).await?
        };
        if let Found::Running(container) = found {
            return match self.started(request, &container).await {
                Some(started) => Ok(Attempt::Started(started)),
                None => Err(Error::ContainerConflict {
                    preview: request.key.clone(),
                    name: request.name.clone(),
                    problem: format!("runs, but publishes no port for {}/tcp", self.settings.preview_port),
                }),
            };
        }
        self.make(request, flight, found).await
    }

    /// Looks for the container, waiting while another process is between making and starting it, or removing it.
    async fn find(&self, request: &StartRequest, flight: &Flight) -> Result<Found, Error> {
        let began = Instant::now();
        loop {
            let found = self.engine.inspect(&request.name).await;
            let found = found.map_err(|source| Error::engine("start", Some(&request.key), source))?;
            let Some(container) = found else {
                return Ok(Found::Nothing);
            };
            // What a supplied engine makes has no labels.
            if !self.engine.traits().supplied {
                self.check_ours(&request.key, &container)?;
            }
            let patience = match container.state {
                State::Running | State::Paused => return Ok(Found::Running(container)),
                State::Exited | State::Unknown => return Ok(Found::Dead(container)),
                State::Created => UNSTARTED_PATIENCE,
                State::Removing => self.settings.engine_timeout,
            };
            if began.elapsed() >= patience {
                return Ok(Found::Dead(container));
            }
            tokio::select! {
                () = self.unwanted(flight) => return Err(Error::Abandoned { preview: request.key.clone() }),
                () = tokio::time::sleep(POLL) => {}
            }
        }
    }

    /// A supplied engine is asked about the entry that is known (Ok), else once by name.
    async fn find_supplied(
        &self,
        request: &StartRequest,
        flight: &Flight,
        races: usize,
    ) -> Result<Result<Started, Found>, Error> {
        let key = &request.key;
        let failed = |source| Error::engine("start", Some(key), source);
        if let Some(record) = self.registry.record(key) {
            let info = record.info();
            match self.engine.inspect(&info.container_id).await.map_err(failed)? {
                Some(container) if !container.is_dead() => {
                    return Ok(Ok(Started { url: info.url, container_id: info.container_id, fresh: false }));
                }
                _ => self.registry.remove_watch(key, &record.watch),
            }
        }
        if races > 0 {
            // Whoever won the name may be between making and starting it.
            return self.find(request, flight).await.map(Err);
        }
        Ok(Err(match self.engine.inspect(&request.name).await.map_err(failed)? {
            Some(container)
                if container.state == State::Running && container.ports.contains_key(&self.settings.preview_port) =>
            {
                Found::Running(container)
            }
            Some(container) => Found::Dead(container),
            None => Found::Nothing,
        }))
    }

    /// A running container of our name is adopted whoever made it; one that does not run is removed only if it is ours.
    pub(super) fn check_ours(&self, key: &PreviewId, container: &Container) -> Result<(), Error> {
        let problem = match container.labels.get(LABEL_OWNER) {
            Some(owner) if *owner == self.settings.preview_owner => return Ok(()),
            Some(owner) => format!("belongs to the owner {owner}"),
            None if container.is_running() => return Ok(()),
            None => "does not run and was not made by this service: remove or rename it".to_owned(),
        };
        Err(Error::ContainerConflict { preview: key.clone(), name: container.name.clone(), problem })
    }

    async fn make(self: &Arc<Self>, request: &StartRequest, flight: &Flight, found: Found) -> Result<Attempt, Error> {
        let key = &request.key;
        let supplied = self.engine.traits().supplied;
        // With a supplied engine the folder may be on another machine.
        let folder = if supplied {
            let path = self.settings.projects_dir.join(key.folder());
            std::path::absolute(&path).unwrap_or(path)
        } else {
            self.host_folder(key).await?
        };
        let doing = self.registry.doing(key, Phase::Creating);
        if let Found::Dead(container) = found {
            log::info!(target: "kosuke_docker::service", "{key}: removing container {} that does not run", request.name);
            let removed = self.engine.remove(&container.id).await;
            removed.map_err(|source| Error::engine("remove", Some(key), source))?;
            self.registry.gone(key, std::time::Instant::now());
        }
        let prepared = tokio::select! {
            () = self.unwanted(flight) => return Err(Error::Abandoned { preview: key.clone() }),
            prepared = self.prepare(request, &doing) => prepared?,
        };
        let host_ports = self.host_ports(request).await?;
        let token = format!("{:016x}", fastrand::u64(..));
        let mut spec = ContainerSpec {
            name: request.name.clone(),
            image: self.settings.preview_default_image.clone(),
            command: self.settings.preview_command.argv(),
            labels: self.labels(key, &prepared.database, &token),
            environment: prepared.environment.clone(),
            folder,
            network: prepared.network.clone(),
            port: self.settings.preview_port,
            bind_address: self.settings.preview_bind_address,
            host_ports,
        };
        let made = match self.create(request, &mut spec, &prepared, flight, &token).await {
            Err(error) => return Err(without_values(error, &prepared.environment)),
            Ok(Err(words)) => return Ok(Attempt::LostRace(words)),
            Ok(Ok(made)) => made,
        };
        let started = match made {
            Made::Inspected(container) => match self.started(request, &container).await {
                Some(started) => started,
                None => return self.ended_at_once(key, &container, &prepared.environment).await,
            },
            Made::Supplied(id, port) => self.register_supplied(request, id, port),
        };
        // Not before the container is known: between the two there would be no preview.
        drop(doing);
        Ok(Attempt::Started(Started { fresh: true, ..started }))
    }

    /// The project's folder as the engine's machine knows it.
    async fn host_folder(&self, key: &PreviewId) -> Result<PathBuf, Error> {
        let folder = folder::resolve(&self.settings.projects_dir, key).await?;
        if let Some(workspace) = &self.settings.host_workspace_dir {
            return Ok(workspace.join(folder::in_workspace(&self.settings.projects_dir, key)));
        }
        let own = self.engine.own_container().await;
        let Some(own) = own.map_err(|source| Error::engine("folder", Some(key), source))? else { return Ok(folder) };
        folder::on_host(&folder, &own.mounts).ok_or_else(|| Error::ProjectFolder {
            preview: key.clone(),
            path: folder,
            problem: "is in this container only: mount PROJECTS_DIR from the host, or set HOST_WORKSPACE_DIR".into(),
        })
    }

    async fn host_ports(&self, request: &StartRequest) -> Result<(u16, u16), Error> {
        let range = (self.settings.preview_port_range_start, self.settings.preview_port_range_end);
        match ask(request.hooks.as_deref(), &request.key, HookRequest::Port).await? {
            Some(HookAnswer::Port(port)) => Ok((port, port)),
            _ => Ok(range),
        }
    }

    fn labels(&self, key: &PreviewId, database: &Database, token: &str) -> HashMap<String, String> {
        let mut labels = HashMap::from([
            (LABEL_PREVIEW.to_owned(), "true".to_owned()),
            (LABEL_PROJECT.to_owned(), key.project_id().to_string()),
            (LABEL_OWNER.to_owned(), self.settings.preview_owner.clone()),
            (LABEL_START.to_owned(), token.to_owned()),
            (LABEL_DATABASE.to_owned(), database.state.as_str().to_owned()),
        ]);
        if database.state != DatabaseState::Disabled {
            labels.insert(LABEL_DATABASE_NAME.to_owned(), key.database_name());
        }
        if let Some(isolation) = database.isolation {
            labels.insert(LABEL_ISOLATION.to_owned(), isolation.as_str().to_owned());
        }
        if let Some(detail) = &database.detail {
            labels.insert(LABEL_DATABASE_DETAIL.to_owned(), detail.clone());
        }
        labels
    }

    /// Creates and starts; the inner error: the name was taken, or the container or its network taken away, in the
    /// engine's words where they matter. After any error nothing is left.
    async fn create(
        &self,
        request: &StartRequest,
        spec: &mut ContainerSpec,
        prepared: &Prepared,
        flight: &Flight,
        token: &str,
    ) -> Result<Result<Made, Option<EngineError>>, Error> {
        let key = &request.key;
        let supplied = self.engine.traits().supplied;
        let native_database = prepared.database.state == DatabaseState::Ready
            && prepared.database.isolation != Some(crate::preview::Isolation::Admin);
        // What a supplied engine creates it also starts.
        if supplied && native_database {
            self.set_password(key).await?;
        }
        loop {
            let created = match self.engine.create(spec).await {
                Ok(created) => created,
                Err(EngineError::Conflict(_)) => return Ok(Err(None)),
                Err(source) => {
                    if matches!(source, EngineError::Timeout(_) | EngineError::Unreachable(_)) {
                        // It may carry it out later: then the container is removed as soon as that is heard of.
                        lock(&self.undone).insert(token.to_owned());
                    }
                    self.remove_unknown(request, token, &spec.environment).await;
                    return Err(Self::refused(key, "create", &spec.image, spec.host_ports, source));
                }
            };
            if let Some(port) = created.started_on {
                return Ok(Ok(Made::Supplied(created.id, port)));
            }
            let claimed_database =
                spec.labels.get(LABEL_DATABASE).map(String::as_str) == Some(DatabaseState::Ready.as_str());
            if native_database
                && claimed_database
                && let Some(error) = self.set_password_or_undo(key, &created.id, &spec.environment).await?
            {
                // The label would tell a lie that no other process could see through.
                spec.labels = self.labels(key, &Database::unavailable(&error), token);
                continue;
            }
            if self.is_unwanted(flight) {
                self.undo(key, &created.id, &spec.environment).await;
                return Err(Error::Abandoned { preview: key.clone() });
            }
            return match self.start_on_a_free_port(&created.id, spec.host_ports).await {
                // The container is gone, or its network, or that still has a twin: all of it is found or made anew.
                Err(words @ (EngineError::NotFound(_) | EngineError::NetworkAmbiguous(_))) => {
                    self.undo(key, &created.id, &spec.environment).await;
                    Ok(Err(Some(words)))
                }
                Err(source) => {
                    self.undo(key, &created.id, &spec.environment).await;
                    Err(Self::refused(key, "start", &spec.image, spec.host_ports, source))
                }
                Ok(()) => match self.engine.inspect(&created.id).await {
                    Ok(found) => Ok(found.map(|found| Made::Inspected(Box::new(found))).ok_or(None)),
                    Err(source) => {
                        self.undo(key, &created.id, &spec.environment).await;
                        Err(Error::engine("start", Some(key), source))
                    }
                },
            };
        }
    }

    /// None: it was set. A failure is logged, unless the settings require a database.
    async fn set_password(&self, key: &PreviewId) -> Result<Option<DatabaseError>, Error> {
        let Some(databases) = &self.databases else {
            return Ok(None);
        };
        let Err(source) = databases.set_password(&key.database_name(), &self.spend_password(key)).await else {
            return Ok(None);
        };
        let project = key.project_id();
        log::error!(target: "kosuke_docker::database", "Error creating database for project {project}: {source}");
        if self.settings.postgres_required {
            return Err(Error::database(key, source));
        }
        Ok(Some(source))
    }

    /// Only who won the name sets the password, so that an adopter never breaks a preview that runs.
    async fn set_password_or_undo(
        &self,
        key: &PreviewId,
        id: &str,
        environment: &[(String, String)],
    ) -> Result<Option<DatabaseError>, Error> {
        let set = self.set_password(key).await;
        if !matches!(set, Ok(None)) {
            self.undo(key, id, environment).await;
        }
        set
    }

    /// The engine fails on a port that a foreign process holds instead of moving on; its next try takes the next port.
    pub(super) async fn start_on_a_free_port(&self, id: &str, (first, last): (u16, u16)) -> Result<(), EngineError> {
        let began = Instant::now();
        let mut held = HashSet::new();
        loop {
            match self.engine.start(id).await {
                Err(EngineError::PortHeld(message)) => {
                    let again = held_port(&message).is_some_and(|port| held.insert(port));
                    let hopeless = held.len() == 1 && self.are_all_held((first, last)).await;
                    if first == last || !again || hopeless || began.elapsed() > PORT_PATIENCE {
                        return Err(EngineError::PortsExhausted(message));
                    }
                    log::debug!(target: "kosuke_docker::service", "container {id}: {message}");
                }
                // The engine looks the network up by name at a start, though it was given by id.
                Err(EngineError::NetworkAmbiguous(_)) if began.elapsed() < NETWORK_PATIENCE => {
                    tokio::time::sleep(POLL).await;
                }
                other => return other,
            }
        }
    }

    /// Where the engine's ports are ours, too, a look at them is faster than a start for each.
    async fn are_all_held(&self, (first, last): (u16, u16)) -> bool {
        if !self.engine.shares_ports().await {
            return false;
        }
        for port in first..=last {
            if tokio::net::TcpListener::bind((self.settings.preview_bind_address, port)).await.is_ok() {
                return false;
            }
        }
        true
    }

    pub(super) fn refused(
        key: &PreviewId,
        step: &'static str,
        image: &str,
        (first, last): (u16, u16),
        source: EngineError,
    ) -> Error {
        let preview = key.clone();
        match source {
            EngineError::Unreachable(_) | EngineError::Timeout(_) => Error::engine(step, Some(key), source),
            EngineError::ImageNotFound(_) => {
                Error::ImageNotFound { preview: Some(preview), image: image.to_owned(), source }
            }
            EngineError::PortsExhausted(_) | EngineError::PortHeld(_) => {
                Error::PortRangeExhausted { preview, first, last, source }
            }
            EngineError::Refused(words) if words.contains("bind source path does not exist") => {
                let path = words.rsplit(": ").next().unwrap_or_default().trim().into();
                Error::ProjectFolder { preview, path, problem: "does not exist on the engine's machine".into() }
            }
            _ => Error::ContainerStart { preview, step, source },
        }
    }

    async fn undo(&self, key: &PreviewId, id: &str, environment: &[(String, String)]) {
        if let Err(error) = self.engine.remove(id).await {
            let error = hidden(error, environment);
            log::error!(target: "kosuke_docker::service", "{key}: container {id} of a failed start is left: {error}");
        }
    }

    /// After a create without an answer: the container may have been made. It is ours if it has our token.
    async fn remove_unknown(&self, request: &StartRequest, token: &str, environment: &[(String, String)]) {
        let found = self.engine.inspect(&request.name).await;
        if let Ok(Some(container)) = found {
            let ours = container.labels.get(LABEL_START).is_some_and(|label| label == token);
            let left_by_supplied = self.engine.traits().supplied && container.state == State::Created;
            if ours || left_by_supplied {
                self.undo(&request.key, &container.id, environment).await;
            }
        }
    }

    /// Takes a running container into the cache and follows it. None: it publishes no port (any more).
    async fn started(self: &Arc<Self>, request: &StartRequest, container: &Container) -> Option<Started> {
        if self.engine.traits().supplied {
            let port = *container.ports.get(&self.settings.preview_port)?;
            let started = self.register_supplied(request, container.id.clone(), port);
            // As the ticket has it: whoever adopts through a supplied engine takes it as compiled.
            self.registry.complete(&request.key);
            return Some(started);
        }
        self.found_running(&request.key, container).await
    }

    /// The same for a native engine.
    pub(super) async fn found_running(self: &Arc<Self>, key: &PreviewId, container: &Container) -> Option<Started> {
        let port = *container.ports.get(&self.settings.preview_port)?;
        self.saw(key, container.clone()).await;
        Some(Started { url: self.url(port), container_id: container.id.clone(), fresh: false })
    }

    /// The watch of a running container: the one that is there, or a new one.
    pub(super) async fn adopt(self: &Arc<Self>, key: &PreviewId, container: &Container) -> Arc<Watch> {
        let port = container.ports.get(&self.settings.preview_port).copied();
        let info = self.info(key, container.id.clone(), container.name.clone(), port.unwrap_or(0));
        if let Some(watch) = self.registry.known(&info, container.started_at) {
            return watch;
        }
        let target = self.target_of(container).await;
        let (watch, new) = self.registry.register(info, container.started_at, || {
            Watch::new(
                container.id.clone(),
                container.started_at,
                target,
                self.settings.preview_port,
                self.on_change(key),
            )
        });
        if new {
            let last_oom = self.feed.facts(&container.id).last_oom;
            if last_oom.is_some_and(|oom| container.started_at.is_none_or(|started| oom >= started)) {
                watch.oom();
            }
            self.follow(key.clone(), Arc::clone(&watch));
        }
        watch
    }

    /// What a watch calls when it has learned something. It does not keep the service alive.
    fn on_change(self: &Arc<Self>, key: &PreviewId) -> impl Fn() + Send + Sync + 'static {
        let (inner, key) = (Arc::downgrade(self), key.clone());
        move || {
            if let Some(inner) = inner.upgrade() {
                inner.registry.touch(&key);
            }
        }
    }

    fn register_supplied(self: &Arc<Self>, request: &StartRequest, id: String, port: u16) -> Started {
        let info = self.info(&request.key, id.clone(), request.name.clone(), port);
        let started = Started { url: info.url.clone(), container_id: id.clone(), fresh: false };
        let target = self.target_of_url(&info.url);
        let (watch, new) = self.registry.register(info, None, || {
            Watch::new(id, None, target, self.settings.preview_port, self.on_change(&request.key))
        });
        let replaced = request.hooks.as_ref().is_some_and(|hooks| hooks.replaces(super::Hook::Monitor));
        if new && !replaced {
            self.follow(request.key.clone(), watch);
        }
        started
    }

    fn info(&self, key: &PreviewId, container_id: String, container_name: String, port: u16) -> ContainerInfo {
        ContainerInfo {
            project_id: key.project_id(),
            container_id,
            container_name,
            port,
            url: self.url(port),
            compilation_complete: false,
            is_responding: false,
        }
    }

    pub(super) fn url(&self, port: u16) -> String {
        self.registry.view().url(port)
    }

    /// It ran, and ended before its port could be read: there is no URL to give.
    async fn ended_at_once(
        self: &Arc<Self>,
        key: &PreviewId,
        container: &Container,
        environment: &[(String, String)],
    ) -> Result<Attempt, Error> {
        if container.is_running() {
            self.undo(key, &container.id, environment).await;
            let source = EngineError::Refused("it runs but publishes no port".into());
            return Err(Error::ContainerStart { preview: key.clone(), step: "start", source });
        }
        Err(self.ended(key, container).await)
    }

    /// It ended before anybody could use it.
    pub(super) async fn ended(self: &Arc<Self>, key: &PreviewId, container: &Container) -> Error {
        self.saw(key, container.clone()).await;
        match self.registry.preview(key, None).filter(|preview| preview.finished_at.is_some()) {
            Some(preview) => Error::failed(key, Some(preview)),
            None => Error::ended(key, container.exit_code, self.read_end(container).await.last_lines),
        }
    }

    /// Nobody waits for this flight any more, or the service was closed.
    fn is_unwanted(&self, flight: &Flight) -> bool {
        self.closed.is_cancelled() || (flight.result.receiver_count() == 0 && self.registry.abandon(flight))
    }

    async fn unwanted(&self, flight: &Flight) {
        loop {
            tokio::select! {
                () = self.closed.cancelled() => return,
                () = flight.result.closed() => {}
            }
            if self.is_unwanted(flight) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

enum Made {
    Inspected(Box<Container>),
    Supplied(String, u16),
}

/// The port in «listen tcp4 127.0.0.1:3001: bind: address already in use» or «Bind for 127.0.0.1:3001 failed».
fn held_port(message: &str) -> Option<u16> {
    let end = [": bind: address already in use", " failed: port is already allocated"]
        .iter()
        .find_map(|end| message.find(end))?;
    message[..end].rsplit(':').next()?.parse().ok()
}

/// The engine may repeat what it was told: values of the environment are taken out of its words.
fn without_values(error: Error, environment: &[(String, String)]) -> Error {
    match error {
        Error::ContainerStart { preview, step, source } => {
            Error::ContainerStart { preview, step, source: hidden(source, environment) }
        }
        Error::Engine { operation, preview, source } => {
            Error::Engine { operation, preview, source: hidden(source, environment) }
        }
        Error::DockerUnavailable { operation, preview, source } => {
            Error::DockerUnavailable { operation, preview, source: hidden(source, environment) }
        }
        Error::ImageNotFound { preview, image, source } => {
            Error::ImageNotFound { preview, image, source: hidden(source, environment) }
        }
        Error::PortRangeExhausted { preview, first, last, source } => {
            Error::PortRangeExhausted { preview, first, last, source: hidden(source, environment) }
        }
        other => other,
    }
}

fn hidden(source: EngineError, environment: &[(String, String)]) -> EngineError {
    // A short value is no secret, and stands in half of all words.
    let secrets = environment.iter().filter(|(_, value)| value.len() >= 6);
    source.map_words(|words| secrets.fold(words, |words, (_, value)| words.replace(value.as_str(), "***")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_held_port_is_read_from_the_engines_words() {
        let proxy = "driver failed programming external connectivity on endpoint x (ab): Error starting userland proxy: \
                     listen tcp4 127.0.0.1:3001: bind: address already in use";
        assert_eq!(held_port(proxy), Some(3001));
        assert_eq!(held_port("Bind for 127.0.0.1:3002 failed: port is already allocated"), Some(3002));
        assert_eq!(held_port("boom"), None);
    }

    #[test]
    fn values_of_the_environment_leave_the_engines_words() {
        let error = Error::ContainerStart {
            preview: PreviewId::project(1),
            step: "create",
            source: EngineError::Refused("bad variable KEY=sup3rsecret".into()),
        };
        let text = without_values(error, &[("KEY".into(), "sup3rsecret".into())]).to_string();
        assert!(text.contains("KEY=***") && !text.contains("sup3rsecret"), "{text}");
    }
}

//! Creates a container and starts it. The name decides between processes; only the one that won it sets the password of
//! the database's role, so that an adopter never breaks a preview that runs. After any error nothing is left.

use std::path::PathBuf;
use std::sync::Arc;

use super::contain::Contained;
use super::context::Context;
use super::ports::start_on_free_port;
use super::prepare::{DatabaseOutcome, Prepared};
use crate::engine::{ContainerSpec, EngineError, Mount, PortRange, Publish, Secrets, Workload};
use crate::error::Error;
use crate::id::{LABEL_START, PreviewId};

/// The folder in the container that the project's is mounted at.
const PROJECT_FOLDER: &str = "/app";

/// What came of it.
pub(super) enum Made {
    Container(Box<Workload>),
    /// The name was taken, or the container or its network taken away, in the engine's words where they matter.
    LostRace(Option<EngineError>),
}

/// See the module.
pub(super) struct Create {
    context: Arc<Context>,
}

impl Create {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    /// `unwanted`: whether the start was given up, asked before the container runs.
    pub(super) async fn call(
        &self,
        id: &PreviewId,
        prepared: &Prepared,
        held: &Contained,
        folder: PathBuf,
        ports: PortRange,
        unwanted: impl Fn() -> bool + Send + Sync,
    ) -> Result<Made, Error> {
        let token = format!("{:016x}", fastrand::u64(..));
        let owner = self.context.ownership.owner();
        let mut spec = self.spec(id, prepared, held, folder, ports);
        let database_name = self.context.common.databases.name(id);
        let labels = |database: &DatabaseOutcome| prepared.labels(database, id, owner, &database_name, &token);
        spec.labels = labels(&prepared.database);
        let secrets = spec.secrets();
        let mut password_is_due = prepared.database.has_role();
        loop {
            let container = match self.context.engine.create(&spec).await {
                Ok(container) => container,
                Err(EngineError::Conflict(_)) => return Ok(Made::LostRace(None)),
                Err(source) => {
                    if source.is_no_answer() {
                        // It may carry it out later: then the container is removed as soon as that is heard of.
                        self.context.store().abandon_create(&token);
                    }
                    self.remove_unanswered(id, &token, &secrets).await;
                    return Err(Error::start(id, "create", &spec.image, ports, source));
                }
            };
            if password_is_due && let Err(error) = self.context.common.databases.set_password(id).await {
                self.undo(id, &container, &secrets).await;
                if self.context.settings().postgres_required {
                    return Err(Error::database(id, error));
                }
                // The label would tell a lie that no other process could see through: it is made once more.
                spec.labels = labels(&DatabaseOutcome::unavailable(&error));
                password_is_due = false;
                continue;
            }
            if unwanted() {
                self.undo(id, &container, &secrets).await;
                return Err(Error::abandoned(id));
            }
            return self.start(id, &container, &spec, &secrets, ports).await;
        }
    }

    fn spec(
        &self,
        id: &PreviewId,
        prepared: &Prepared,
        held: &Contained,
        folder: PathBuf,
        ports: PortRange,
    ) -> ContainerSpec {
        let settings = self.context.settings();
        ContainerSpec {
            name: self.context.store().name(id),
            image: settings.preview_default_image.clone(),
            command: settings.preview_command.argv(),
            working_dir: Some(PROJECT_FOLDER.to_owned()),
            environment: prepared.environment.clone(),
            mounts: vec![Mount { source: folder, target: PROJECT_FOLDER.to_owned() }],
            network: Some(prepared.network.network.clone()),
            publish: vec![Publish {
                port: settings.preview_port,
                bind_address: settings.preview_bind_address,
                host_ports: ports,
            }],
            // Without it `sh` is PID 1, ignores SIGTERM, and every stop takes the whole grace period.
            init: true,
            resources: held.resources,
            security: held.security.clone(),
            ..ContainerSpec::default()
        }
    }

    async fn start(
        &self,
        id: &PreviewId,
        container: &str,
        spec: &ContainerSpec,
        secrets: &Secrets,
        ports: PortRange,
    ) -> Result<Made, Error> {
        let (engine, bound) = (self.context.engine.as_ref(), self.context.settings().preview_bind_address);
        match start_on_free_port(engine, container, secrets, bound, ports).await {
            Ok(()) => {}
            // The container is gone, or its network, or that still has a twin: all of it is found or made anew.
            // Or it needs another port than the one that was chosen for it.
            Err(words @ (EngineError::NotFound(_) | EngineError::NetworkAmbiguous(_) | EngineError::PortTaken(_))) => {
                self.undo(id, container, secrets).await;
                return Ok(Made::LostRace(Some(words)));
            }
            Err(source) => {
                self.undo(id, container, secrets).await;
                return Err(Error::start(id, "start", &spec.image, ports, source));
            }
        }
        match engine.inspect(container).await {
            Ok(Some(workload)) => Ok(Made::Container(Box::new(workload))),
            Ok(None) => Ok(Made::LostRace(None)),
            Err(source) => {
                self.undo(id, container, secrets).await;
                Err(Error::engine("start", Some(id), source.hiding(secrets)))
            }
        }
    }

    /// Removes what a failed start made. A failure is logged.
    pub(super) async fn undo(&self, id: &PreviewId, container: &str, secrets: &Secrets) {
        if let Err(error) = self.context.engine.remove(container).await {
            let error = error.hiding(secrets);
            log::error!(target: "kosuke_docker::service", "{id}: container {container} of a failed start is left: {error}");
        }
    }

    /// After a create without an answer: the container may have been made. It is ours if it has our token.
    async fn remove_unanswered(&self, id: &PreviewId, token: &str, secrets: &Secrets) {
        let found = self.context.engine.inspect(&self.context.store().name(id)).await;
        if let Ok(Some(workload)) = found
            && workload.labels.get(LABEL_START).is_some_and(|label| label == token)
        {
            self.undo(id, &workload.id, secrets).await;
        }
    }
}

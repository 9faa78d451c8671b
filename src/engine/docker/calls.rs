//! [`Engine`] on a Docker Engine (or a podman that speaks its API), through bollard.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptionsBuilder, EventsOptionsBuilder, ListContainersOptionsBuilder,
    LogsOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use tokio::sync::OnceCell;

use super::address::EngineAddress;
use super::client::Client;
use super::errors::{pull_failure, translate};
use super::exec;
use super::isolation::{Isolations, shared};
use super::locality::DockerLocality;
use super::mapping;
use super::network::Networks;
use super::podman::{Podman, ProfileFile};
use super::seccomp;
use crate::credentials::{RegistryLogin, registry_of};
use crate::engine::api::Engine;
use crate::engine::error::EngineError;
use crate::engine::exec::{ExecResult, ExecSpec};
use crate::engine::locality::Locality;
use crate::engine::network::{Attachment, NetworkSpec};
use crate::engine::spec::{ContainerSpec, Secrets};
use crate::engine::streams::{EngineEvent, LogChunks, LogStart, PullProgress};
use crate::engine::workload::{RunId, Workload};
use crate::id::{LABEL_OWNER, LABEL_PREVIEW};

/// A pull may take long, but not say nothing for so long.
const PULL_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// What changes a container's state. Health checks and execs would come by the hundred.
const EVENTS: [&str; 13] = [
    "create", "destroy", "die", "kill", "oom", "pause", "remove", "rename", "restart", "start", "stop", "unpause",
    "update",
];
const REMOVAL_POLL: Duration = Duration::from_millis(50);

/// A Docker Engine. Connects at the first call.
pub struct DockerEngine {
    client: Arc<Client>,
    networks: Networks,
    isolations: Isolations,
    podman: Podman,
    locality: DockerLocality,
    /// Asked once: an engine that is set up otherwise is another one.
    keeps_user_ids: OnceCell<bool>,
}

impl DockerEngine {
    /// The engine at `address`; `timeout` bounds each call that is not a stream or a pull.
    #[must_use]
    pub fn new(address: EngineAddress, timeout: Duration) -> Self {
        let client = Arc::new(Client::new(address, timeout));
        let locality = DockerLocality::new(Arc::clone(&client));
        Self {
            networks: Networks::default(),
            isolations: Isolations::default(),
            podman: Podman::default(),
            locality,
            keeps_user_ids: OnceCell::new(),
            client,
        }
    }
}

impl DockerEngine {
    /// `profile`: the seccomp profile as the engine takes it, or where it finds it.
    async fn make(&self, spec: &ContainerSpec, profile: &str) -> Result<String, EngineError> {
        let options = CreateContainerOptions { name: Some(spec.name.clone()), ..Default::default() };
        let body = mapping::body(spec, profile);
        let call = self.client.call(|docker| async move { docker.create_container(Some(options), body).await });
        let made = Box::pin(call).await?;
        for warning in made.warnings {
            log::debug!(target: "kosuke_docker::engine", "container {}: {warning}", spec.name);
        }
        Ok(made.id)
    }

    async fn make_on_podman(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        let profile = if spec.security.refuse_setuid { Some(ProfileFile::write(&self.locality).await?) } else { None };
        let path = profile.as_ref().map(|file| file.path().display().to_string()).unwrap_or_default();
        let (spec, _choice) = self.podman.choose_ports(&self.client, &self.locality, spec).await?;
        self.make(&spec, &path).await
    }
}

fn failed<T: Send + 'static>(error: EngineError) -> BoxStream<'static, Result<T, EngineError>> {
    stream::once(async { Err(error) }).boxed()
}

#[async_trait]
impl Engine for DockerEngine {
    async fn ping(&self) -> Result<(), EngineError> {
        self.client.ping().await
    }

    fn pull(&self, image: &str, login: Option<RegistryLogin>) -> BoxStream<'static, Result<PullProgress, EngineError>> {
        let docker = match self.client.connected() {
            Ok(docker) => docker,
            Err(error) => return failed(error),
        };
        // Without a tag the engine would pull every tag.
        let tagged = image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':'));
        let reference = if tagged { image.to_owned() } else { format!("{image}:latest") };
        let options = CreateImageOptionsBuilder::default().from_image(&reference).build();
        let credentials = login.map(|login| mapping::credentials(login, registry_of(image)));
        let steps = docker.with_timeout(PULL_IDLE_TIMEOUT).create_image(Some(options), None, credentials);
        let steps = stream::unfold(steps, |mut steps| async move {
            match tokio::time::timeout(PULL_IDLE_TIMEOUT, steps.next()).await {
                Ok(Some(Ok(step))) => Some((Ok(mapping::progress(step)), steps)),
                Ok(Some(Err(error))) => Some((Err(pull_failure(error, PULL_IDLE_TIMEOUT)), steps)),
                Ok(None) => None,
                Err(_) => Some((Err(EngineError::Timeout(PULL_IDLE_TIMEOUT)), steps)),
            }
        });
        steps.boxed()
    }

    async fn image_variables(&self, image: &str) -> Result<Option<Vec<String>>, EngineError> {
        let image = image.to_owned();
        match self.client.call(|docker| async move { docker.inspect_image(&image).await }).await {
            Ok(found) => Ok(Some(mapping::variable_names(found))),
            Err(EngineError::NotFound(_) | EngineError::ImageNotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn keeps_user_ids(&self) -> Result<bool, EngineError> {
        let ask = || async {
            let info = self.client.call(|docker| async move { docker.info().await }).await?;
            Ok(mapping::keeps_user_ids(&info.security_options.unwrap_or_default()))
        };
        self.keeps_user_ids.get_or_try_init(ask).await.copied()
    }

    fn socket(&self) -> Option<&Path> {
        match self.client.address() {
            EngineAddress::Unix(path) => Some(path),
            _ => None,
        }
    }

    async fn discard_network(&self, network: &str) -> Result<(), EngineError> {
        self.networks.discard(&self.client, network).await;
        Ok(())
    }

    async fn ensure_network(&self, spec: &NetworkSpec) -> Result<Attachment, EngineError> {
        let (client, networks, locality) = (&self.client, &self.networks, &self.locality);
        match &spec.isolation {
            Some(isolation) => self.isolations.attach(client, networks, locality, spec, isolation).await,
            None => shared(client, networks, locality, spec, None).await,
        }
    }

    async fn forget_rules(&self) {
        self.isolations.forget().await;
    }

    async fn inspect(&self, name_or_id: &str) -> Result<Option<Workload>, EngineError> {
        let asked_at = Instant::now();
        let found = self.client.inspect(name_or_id).await?;
        Ok(found.and_then(|found| mapping::from_inspect(found, asked_at)))
    }

    async fn environment(&self, id: &str) -> Result<Option<Vec<(String, String)>>, EngineError> {
        Ok(self.client.inspect(id).await?.map(mapping::environment))
    }

    async fn list(&self, owner: &str) -> Result<Vec<Workload>, EngineError> {
        let owner = format!("{LABEL_OWNER}={owner}");
        let filters = HashMap::from([("label", vec![LABEL_PREVIEW, &owner])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let asked_at = Instant::now();
        let found = self.client.call(|docker| async move { docker.list_containers(Some(options)).await }).await?;
        Ok(found.into_iter().filter_map(|summary| mapping::from_summary(summary, asked_at)).collect())
    }

    async fn clock(&self) -> Result<SystemTime, EngineError> {
        let info = self.client.call(|docker| async move { docker.info().await }).await?;
        Ok(info.system_time.as_deref().and_then(mapping::parse_time).unwrap_or_else(SystemTime::now))
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        let made = if self.podman.is_known() {
            self.make_on_podman(spec).await
        } else {
            match self.make(spec, seccomp::PROFILE).await {
                Err(EngineError::Refused(_)) if self.podman.is_it(&self.client).await? => {
                    self.make_on_podman(spec).await
                }
                made => made,
            }
        };
        made.map_err(|error| error.hiding(&spec.secrets()))
    }

    async fn start(&self, id: &str, secrets: &Secrets) -> Result<(), EngineError> {
        let id = id.to_owned();
        let call = self.client.call_in_turn(self.client.timeout(), |docker| async move {
            docker.start_container(&id, None::<StartContainerOptions>).await
        });
        let started = match call.await {
            Err(EngineError::PortHeld { words, .. }) if self.podman.is_it(&self.client).await? => {
                Err(EngineError::PortTaken(words))
            }
            started => started,
        };
        started.map_err(|error| error.hiding(secrets))
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        let id = id.to_owned();
        // The engine counts whole seconds.
        let seconds = i32::try_from(grace.as_secs() + u64::from(grace.subsec_nanos() > 0)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let stopped = self
            .client
            .call_in_turn(self.client.timeout().saturating_add(grace), |docker| async move {
                docker.stop_container(&id, Some(options)).await
            })
            .await;
        match stopped {
            Err(EngineError::NotFound(_)) => Ok(()),
            other => other,
        }
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let name = id.to_owned();
        let call = self.client.call_in_turn(self.client.timeout(), |docker| async move {
            docker.remove_container(&name, Some(options)).await
        });
        match call.await {
            Err(EngineError::NotFound(_)) => Ok(()),
            // Somebody else is removing it: done when it is gone.
            Err(EngineError::Conflict(_)) => {
                let gone = async {
                    while self.inspect(id).await?.is_some() {
                        tokio::time::sleep(REMOVAL_POLL).await;
                    }
                    Ok(())
                };
                let timeout = self.client.timeout();
                tokio::time::timeout(timeout, gone).await.unwrap_or(Err(EngineError::Timeout(timeout)))
            }
            other => other,
        }
    }

    fn logs(&self, run: &RunId, start: LogStart, follow: bool) -> LogChunks {
        let docker = match self.client.connected() {
            Ok(docker) => docker,
            Err(error) => return failed(error),
        };
        let mut options = LogsOptionsBuilder::default().stdout(true).stderr(true).timestamps(true).follow(follow);
        if let Some(lines) = start.tail {
            options = options.tail(&lines.to_string());
        }
        if let Some(moment) = start.since {
            let seconds = moment.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
            // bollard sends whole seconds: what came earlier in this one is emptied below. That may be a lot, and who reads
            // must not take the time that it needs for silence.
            options = options.since(i32::try_from(seconds).unwrap_or(0));
        }
        let stream = docker.logs(&run.task, Some(options.build())).map_err(translate);
        let chunks = stream.map_ok(move |output| {
            let mut chunk = mapping::chunk(output);
            if start.since.is_some_and(|moment| chunk.at.is_some_and(|at| at < moment)) {
                chunk.bytes.clear();
            }
            chunk
        });
        chunks.boxed()
    }

    async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<ExecResult, EngineError> {
        exec::run(&self.client, id, spec).await
    }

    fn events(
        &self,
        since: Option<SystemTime>,
        until: Option<SystemTime>,
    ) -> BoxStream<'static, Result<EngineEvent, EngineError>> {
        let docker = match self.client.connected() {
            Ok(docker) => docker,
            Err(error) => return failed(error),
        };
        let stamp = |at: SystemTime| {
            let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            format!("{}.{:09}", at.as_secs(), at.subsec_nanos())
        };
        let filters = HashMap::from([("type", vec!["container"]), ("event", EVENTS.to_vec())]);
        let mut options =
            EventsOptionsBuilder::default().since(&stamp(since.unwrap_or(SystemTime::UNIX_EPOCH))).filters(&filters);
        if let Some(until) = until {
            options = options.until(&stamp(until));
        }
        let stream = docker.events(Some(options.build())).map_err(translate);
        stream.try_filter_map(|message| async move { Ok(mapping::event(message)) }).boxed()
    }

    fn locality(&self) -> &dyn Locality {
        &self.locality
    }
}

//! [`Engine`] on a Docker Engine (or a podman that speaks its API), through bollard.

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bollard::auth::DockerCredentials;
use bollard::container::LogOutput;
use bollard::errors::Error as BollardError;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, CreateImageInfo,
    EndpointSettings, EventMessage, HostConfig, Mount, MountType, Network, NetworkCreateRequest, PortBinding,
};
use bollard::query_parameters::{
    CreateContainerOptions, CreateImageOptionsBuilder, EventsOptionsBuilder, InspectContainerOptions,
    ListContainersOptionsBuilder, ListNetworksOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder,
    StartContainerOptions, StopContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use secrecy::ExposeSecret;
use tokio::sync::{Mutex, OnceCell, Semaphore};

use super::{
    Container, ContainerSpec, Created, Engine, EngineAddress, EngineEvent, EventKind, LogChunk, LogStart, OwnContainer,
    PullProgress, State, own,
};
use crate::credentials::{RegistryLogin, registry_of};
use crate::error::EngineError;
use crate::id::{LABEL_OWNER, LABEL_PREVIEW};

/// bollard opens a connection per request and knows no limit: this one keeps us from using up file descriptors.
const MAX_CALLS: usize = 64;
/// A pull may take long, but not say nothing for so long.
const PULL_IDLE: Duration = Duration::from_secs(300);
/// Label of the networks that we made.
const LABEL_NETWORK: &str = "kosuke.network";
/// What changes a container's state. Health checks and execs would come by the hundred.
const EVENTS: [&str; 13] = [
    "create", "destroy", "die", "kill", "oom", "pause", "remove", "rename", "restart", "start", "stop", "unpause",
    "update",
];
const REMOVAL_POLL: Duration = Duration::from_millis(50);
const NANOS: u32 = 1_000_000_000;

/// A Docker Engine. Connects at the first call.
pub struct DockerEngine {
    address: EngineAddress,
    timeout: Duration,
    client: OnceCell<Docker>,
    calls: Semaphore,
    networks: Mutex<()>,
    own: OnceCell<Option<OwnContainer>>,
}

impl DockerEngine {
    /// The engine at `address`; `timeout` bounds each call that is not a stream or a pull.
    #[must_use]
    pub fn new(address: EngineAddress, timeout: Duration) -> Self {
        Self {
            address,
            timeout,
            client: OnceCell::new(),
            calls: Semaphore::new(MAX_CALLS),
            networks: Mutex::new(()),
            own: OnceCell::new(),
        }
    }

    fn connect(&self) -> Result<Docker, EngineError> {
        let seconds = self.timeout.as_secs().max(1);
        let connected = match &self.address {
            EngineAddress::Unix(path) => {
                Docker::connect_with_unix(&path.to_string_lossy(), seconds, API_DEFAULT_VERSION)
            }
            EngineAddress::Tcp(authority) => Docker::connect_with_http(authority, seconds, API_DEFAULT_VERSION),
            EngineAddress::Tls(authority, folder) => {
                let file = |name| folder.join(name);
                let (key, cert, ca) = (file("key.pem"), file("cert.pem"), file("ca.pem"));
                Docker::connect_with_ssl(authority, &key, &cert, &ca, seconds, API_DEFAULT_VERSION)
            }
            EngineAddress::Unusable(_) => return Err(self.address.unusable()),
        };
        connected.map_err(|error| EngineError::Unreachable(format!("{}: {error}", self.address)))
    }

    /// The client, speaking the version that the engine speaks (bollard#736: 0.22 will send it and refuse a wrong one).
    async fn client(&self) -> Result<&Docker, EngineError> {
        self.client
            .get_or_try_init(|| async {
                let client = self.connect()?;
                bounded(self.timeout, client.negotiate_version()).await
            })
            .await
            .map_err(|error| match error {
                EngineError::Unreachable(text) if !text.starts_with(&self.address.to_string()) => {
                    EngineError::Unreachable(format!("{}: {text}", self.address))
                }
                other => other,
            })
    }

    async fn call<T, F>(&self, send: impl FnOnce(Docker) -> F) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, BollardError>>,
    {
        self.call_within(self.timeout, send).await
    }

    async fn call_within<T, F>(&self, timeout: Duration, send: impl FnOnce(Docker) -> F) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, BollardError>>,
    {
        // One deadline for all of it: behind a frozen engine, callers would else wait for each other's time-outs.
        let call = async {
            let client = self.client().await?.clone().with_timeout(timeout);
            let _slot = self.calls.acquire().await.map_err(|_| EngineError::Unreachable("closed".into()))?;
            bounded(timeout, send(client)).await
        };
        tokio::time::timeout(timeout, call).await.unwrap_or(Err(EngineError::Timeout(timeout)))
    }

    async fn find_own_container(&self) -> Result<Option<OwnContainer>, EngineError> {
        let Some(id) =
            tokio::fs::read_to_string("/proc/self/mountinfo").await.ok().as_deref().and_then(own::container_id)
        else {
            return Ok(None);
        };
        let inspected = self
            .call(|client| async move { client.inspect_container(&id, None::<InspectContainerOptions>).await })
            .await;
        match inspected {
            Ok(found) => Ok(Some(own_container(found))),
            // We are in a container of another engine.
            Err(EngineError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn not_connected<T: Send + 'static>(&self) -> BoxStream<'static, Result<T, EngineError>> {
        let error = EngineError::Unreachable(format!("{}: not connected yet", self.address));
        stream::once(async { Err(error) }).boxed()
    }

    /// Tells whether it is gone; one in use stays.
    async fn remove_second(&self, name: &str, id: String) -> bool {
        match self.call(|client| async move { client.remove_network(&id).await }).await {
            Ok(()) | Err(EngineError::NotFound(_)) => true,
            Err(error) => {
                log::debug!(target: "kosuke_docker::engine", "a second network {name} was not removed: {error}");
                false
            }
        }
    }

    async fn networks_named(&self, name: &str) -> Result<Vec<Network>, EngineError> {
        let filters = HashMap::from([("name", vec![name])]);
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let mut found = self.call(|client| async move { client.list_networks(Some(options)).await }).await?;
        // The engine's filter matches a part of the name.
        found.retain(|network| network.name.as_deref() == Some(name));
        // As times, not as texts: the engine trims zeros, so that «.12Z» would stand behind «.123Z».
        let age = |network: &Network| (network.created.as_deref().and_then(parse_time), network.id.clone());
        found.sort_by_key(age);
        Ok(found)
    }
}

async fn bounded<T>(timeout: Duration, call: impl Future<Output = Result<T, BollardError>>) -> Result<T, EngineError> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Err(BollardError::RequestTimeoutError)) | Err(_) => Err(EngineError::Timeout(timeout)),
        Ok(result) => result.map_err(translate),
    }
}

fn translate(error: BollardError) -> EngineError {
    match error {
        BollardError::DockerResponseServerError { status_code, message } => {
            let held = ["address already in use", "port is already allocated"];
            if message.contains("all ports are allocated") {
                EngineError::PortsExhausted(message)
            } else if held.iter().any(|text| message.contains(text)) {
                EngineError::PortHeld(message)
            } else if message.contains("is ambiguous") {
                EngineError::NetworkAmbiguous(message)
            } else {
                match status_code {
                    404 if message.contains("No such image") => EngineError::ImageNotFound(message),
                    404 => EngineError::NotFound(message),
                    409 => EngineError::Conflict(message),
                    _ => EngineError::Refused(message),
                }
            }
        }
        BollardError::DockerStreamError { error } => EngineError::Refused(error),
        BollardError::HyperLegacyError { .. }
        | BollardError::HyperResponseError { .. }
        | BollardError::IOError { .. }
        | BollardError::SocketNotFoundError(_) => EngineError::Unreachable(chain(&error)),
        other => EngineError::Refused(chain(&other)),
    }
}

/// An error with its causes: hyper alone says only "client error (Connect)".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

#[async_trait]
impl Engine for DockerEngine {
    async fn ping(&self) -> Result<(), EngineError> {
        // Behind many long calls it would come too late, and the engine be taken for frozen: it waits for no slot.
        let ping = async { bounded(self.timeout, self.client().await?.ping()).await };
        tokio::time::timeout(self.timeout, ping).await.unwrap_or(Err(EngineError::Timeout(self.timeout))).map(drop)
    }

    async fn has_image(&self, image: &str) -> Result<bool, EngineError> {
        let image = image.to_owned();
        match self.call(|client| async move { client.inspect_image(&image).await }).await {
            Ok(_) => Ok(true),
            Err(EngineError::NotFound(_) | EngineError::ImageNotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn pull(&self, image: &str, login: Option<RegistryLogin>) -> BoxStream<'static, Result<PullProgress, EngineError>> {
        let Some(client) = self.client.get().cloned() else { return self.not_connected() };
        // Without a tag the engine would pull every tag.
        let tagged = image.contains('@') || image.rsplit('/').next().is_some_and(|last| last.contains(':'));
        let reference = if tagged { image.to_owned() } else { format!("{image}:latest") };
        let options = CreateImageOptionsBuilder::default().from_image(&reference).build();
        let credentials = login.map(|login| credentials(login, registry_of(image)));
        let steps = client.with_timeout(PULL_IDLE).create_image(Some(options), None, credentials);
        let steps = stream::unfold(steps, |mut steps| async move {
            match tokio::time::timeout(PULL_IDLE, steps.next()).await {
                Ok(Some(Ok(step))) => Some((Ok(progress(step)), steps)),
                Ok(Some(Err(error))) => Some((Err(pull_failure(error)), steps)),
                Ok(None) => None,
                Err(_) => Some((Err(EngineError::Timeout(PULL_IDLE)), steps)),
            }
        });
        steps.boxed()
    }

    async fn own_container(&self) -> Result<Option<OwnContainer>, EngineError> {
        self.own.get_or_try_init(|| self.find_own_container()).await.cloned()
    }

    async fn shares_ports(&self) -> bool {
        let here = self.address.remote_host().is_none_or(is_this_machine);
        here && self.own_container().await.is_ok_and(|own| own.is_none_or(|own| own.host_network))
    }

    async fn ensure_network(&self, name: &str) -> Result<String, EngineError> {
        let _one_at_a_time = self.networks.lock().await;
        let first = |networks: &[Network]| networks.first().and_then(|network| network.id.clone());
        let mut found = self.networks_named(name).await?;
        // Two that became visible in another order than they were made, or one that a process left behind: starts would
        // fail for ever. Those in use refuse to go, so it is the youngest unused one that does.
        for index in (0..found.len()).rev() {
            if found.len() > 1 && is_ours(&found[index]) {
                let id = found[index].id.clone().unwrap_or_default();
                if self.remove_second(name, id).await {
                    found.remove(index);
                }
            }
        }
        if let Some(id) = first(&found) {
            return Ok(id);
        }
        if matches!(name, "bridge" | "host" | "none") {
            return Err(EngineError::NotFound(format!("the engine has no network {name}")));
        }
        let mut labels = HashMap::from([(LABEL_NETWORK.to_owned(), "true".to_owned())]);
        if let Some(project) = name.strip_suffix("_default") {
            labels.insert("com.docker.compose.project".to_owned(), project.to_owned());
            labels.insert("com.docker.compose.network".to_owned(), "default".to_owned());
        }
        let request = NetworkCreateRequest { name: name.to_owned(), labels: Some(labels), ..Default::default() };
        let made = self.call(|client| async move { client.create_network(request).await }).await?.id;
        log::info!(target: "kosuke_docker::engine", "made network {name}");
        // The engine lets several processes make one name each: the oldest stays, ours goes.
        let oldest = first(&self.networks_named(name).await?).unwrap_or_else(|| made.clone());
        if oldest != made {
            self.remove_second(name, made).await;
        }
        Ok(oldest)
    }

    async fn inspect(&self, name_or_id: &str) -> Result<Option<Container>, EngineError> {
        let (name, looked) = (name_or_id.to_owned(), Instant::now());
        let answer = self
            .call(|client| async move { client.inspect_container(&name, None::<InspectContainerOptions>).await })
            .await;
        match answer {
            Ok(found) => Ok(from_inspect(found, looked)),
            Err(EngineError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, owner: &str) -> Result<Vec<Container>, EngineError> {
        let owner = format!("{LABEL_OWNER}={owner}");
        let filters = HashMap::from([("label", vec![LABEL_PREVIEW, &owner])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let looked = Instant::now();
        let found = self.call(|client| async move { client.list_containers(Some(options)).await }).await?;
        Ok(found.into_iter().filter_map(|summary| from_summary(summary, looked)).collect())
    }

    async fn clock(&self) -> Result<SystemTime, EngineError> {
        let info = self.call(|client| async move { client.info().await }).await?;
        Ok(info.system_time.as_deref().and_then(parse_time).unwrap_or_else(SystemTime::now))
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<Created, EngineError> {
        let options = CreateContainerOptions { name: Some(spec.name.clone()), ..Default::default() };
        let body = body(spec);
        let made =
            Box::pin(self.call(|client| async move { client.create_container(Some(options), body).await })).await?;
        for warning in made.warnings {
            log::debug!(target: "kosuke_docker::engine", "container {}: {warning}", spec.name);
        }
        Ok(Created { id: made.id, started_on: None })
    }

    async fn start(&self, id: &str) -> Result<(), EngineError> {
        let id = id.to_owned();
        self.call(|client| async move { client.start_container(&id, None::<StartContainerOptions>).await }).await
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        let id = id.to_owned();
        // The engine counts whole seconds.
        let seconds = i32::try_from(grace.as_secs() + u64::from(grace.subsec_nanos() > 0)).unwrap_or(i32::MAX);
        let options = StopContainerOptionsBuilder::default().t(seconds).build();
        let stopped = self
            .call_within(self.timeout.saturating_add(grace), |client| async move {
                client.stop_container(&id, Some(options)).await
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
        match self.call(|client| async move { client.remove_container(&name, Some(options)).await }).await {
            Err(EngineError::NotFound(_)) => Ok(()),
            // Somebody else is removing it: done when it is gone.
            Err(EngineError::Conflict(_)) => {
                let gone = async {
                    while self.inspect(id).await?.is_some() {
                        tokio::time::sleep(REMOVAL_POLL).await;
                    }
                    Ok(())
                };
                tokio::time::timeout(self.timeout, gone).await.unwrap_or(Err(EngineError::Timeout(self.timeout)))
            }
            other => other,
        }
    }

    fn logs(&self, id: &str, start: LogStart, follow: bool) -> BoxStream<'static, Result<LogChunk, EngineError>> {
        let Some(client) = self.client.get().cloned() else { return self.not_connected() };
        let mut options = LogsOptionsBuilder::default().stdout(true).stderr(true).timestamps(true).follow(follow);
        if let Some(lines) = start.tail {
            options = options.tail(&lines.to_string());
        }
        if let Some(moment) = start.since {
            let seconds = moment.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
            // bollard sends whole seconds: what came earlier in this one is dropped below.
            options = options.since(i32::try_from(seconds).unwrap_or(0));
        }
        let id = id.to_owned();
        let stream = client.logs(&id, Some(options.build())).map_err(translate);
        let chunks = stream.map_ok(chunk).try_filter(move |chunk| {
            let wanted = start.since.is_none_or(|moment| chunk.at.is_none_or(|at| at >= moment));
            async move { wanted }
        });
        chunks.boxed()
    }

    fn events(
        &self,
        since: Option<SystemTime>,
        until: Option<SystemTime>,
    ) -> BoxStream<'static, Result<EngineEvent, EngineError>> {
        let Some(client) = self.client.get().cloned() else { return self.not_connected() };
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
        let stream = client.events(Some(options.build())).map_err(translate);
        stream.try_filter_map(|message| async move { Ok(event(message)) }).boxed()
    }

    fn published_host(&self, bound: IpAddr) -> Option<String> {
        match self.address.remote_host().filter(|host| !is_this_machine(host)) {
            // Published on the other machine's loopback.
            Some(_) if bound.is_loopback() => None,
            Some(host) => Some(host.to_owned()),
            None if bound.is_unspecified() => Some("127.0.0.1".to_owned()),
            None if bound.is_ipv6() => Some(format!("[{bound}]")),
            None => Some(bound.to_string()),
        }
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn body(spec: &ContainerSpec) -> ContainerCreateBody {
    let inside = format!("{}/tcp", spec.port);
    let (first, last) = spec.host_ports;
    let host_port = if first == last { first.to_string() } else { format!("{first}-{last}") };
    let binding = PortBinding { host_ip: Some(spec.bind_address.to_string()), host_port: Some(host_port) };
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: Some(spec.command.clone()),
        env: Some(spec.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(spec.labels.clone()),
        working_dir: Some("/app".into()),
        // Through the API a binding alone publishes nothing.
        exposed_ports: Some(vec![inside.clone()]),
        host_config: Some(HostConfig {
            // A bind of this form is refused when its source is missing; the older one makes an empty folder as root.
            mounts: Some(vec![Mount {
                typ: Some(MountType::BIND),
                source: Some(spec.folder.display().to_string()),
                target: Some("/app".into()),
                ..Default::default()
            }]),
            network_mode: Some(spec.network.clone()),
            port_bindings: Some(HashMap::from([(inside, Some(vec![binding]))])),
            // Without it `sh` is PID 1, ignores SIGTERM, and every stop takes the whole grace period.
            init: Some(true),
            ..Default::default()
        }),
        ..Default::default()
    }
}

fn is_ours(network: &Network) -> bool {
    network.labels.as_ref().is_some_and(|labels| labels.contains_key(LABEL_NETWORK))
}

fn credentials(login: RegistryLogin, registry: &str) -> DockerCredentials {
    let serveraddress = Some(registry.to_owned());
    match login {
        RegistryLogin::Password { username, password } => DockerCredentials {
            username: Some(username),
            password: Some(password.expose_secret().to_owned()),
            serveraddress,
            ..Default::default()
        },
        RegistryLogin::Token(token) => DockerCredentials {
            identitytoken: Some(token.expose_secret().to_owned()),
            serveraddress,
            ..Default::default()
        },
    }
}

fn progress(step: CreateImageInfo) -> PullProgress {
    let bytes = step.progress_detail.unwrap_or_default();
    PullProgress {
        layer: step.id,
        status: step.status.unwrap_or_default(),
        current: bytes.current.and_then(|count| u64::try_from(count).ok()),
        total: bytes.total.and_then(|count| u64::try_from(count).ok()),
    }
}

fn pull_failure(error: BollardError) -> EngineError {
    match error {
        BollardError::RequestTimeoutError => EngineError::Timeout(PULL_IDLE),
        error => match translate(error) {
            unreachable @ EngineError::Unreachable(_) => unreachable,
            other => EngineError::ImageNotFound(other.to_string()),
        },
    }
}

fn address(text: Option<&String>) -> Option<IpAddr> {
    text?.parse().ok()
}

/// The networks by id, each with what `pick` takes from it.
fn networks(
    found: Option<HashMap<String, EndpointSettings>>,
    pick: impl Fn(&EndpointSettings) -> Option<IpAddr>,
) -> HashMap<String, Option<IpAddr>> {
    let networks = found.unwrap_or_default().into_values();
    networks.filter_map(|network| Some((network.network_id.clone()?, pick(&network)))).collect()
}

fn own_container(found: ContainerInspectResponse) -> OwnContainer {
    let mounts = found.mounts.unwrap_or_default().into_iter();
    let mode = found.host_config.and_then(|config| config.network_mode);
    let found_networks = found.network_settings.and_then(|settings| settings.networks);
    OwnContainer {
        mounts: mounts.filter_map(|mount| Some((mount.destination?.into(), mount.source?.into()))).collect(),
        host_network: mode.as_deref() == Some("host"),
        networks: networks(found_networks, |network| address(network.gateway.as_ref())),
    }
}

fn from_inspect(found: ContainerInspectResponse, looked: Instant) -> Option<Container> {
    let state = found.state.unwrap_or_default();
    let config = found.config.unwrap_or_default();
    let settings = found.network_settings.unwrap_or_default();
    let ports = settings.ports.unwrap_or_default();
    let ports = ports.into_iter().filter_map(|(inside, bindings)| {
        let inside = inside.strip_suffix("/tcp")?.parse().ok()?;
        let outside = bindings?.into_iter().find_map(|binding| binding.host_port?.parse().ok())?;
        Some((inside, outside))
    });
    let status = state.status.unwrap_or(ContainerStateStatusEnum::EMPTY);
    let ended = matches!(status, ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD);
    Some(Container {
        id: found.id?,
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        state: from_status(status),
        tty: config.tty.unwrap_or(false),
        labels: config.labels.unwrap_or_default(),
        ports: ports.collect(),
        networks: networks(settings.networks, |network| address(network.ip_address.as_ref())),
        created_at: found.created.as_deref().and_then(parse_time),
        started_at: state.started_at.as_deref().and_then(parse_time),
        finished_at: state.finished_at.as_deref().filter(|_| ended).and_then(parse_time),
        exit_code: state.exit_code.filter(|_| ended),
        oom_killed: state.oom_killed.unwrap_or(false),
        looked,
    })
}

/// A listing has no exit code and no start time: whoever needs them inspects.
fn from_summary(found: ContainerSummary, looked: Instant) -> Option<Container> {
    let state = found.state.map(|state| state.to_string()).unwrap_or_default();
    let ports =
        found.ports.unwrap_or_default().into_iter().filter_map(|port| Some((port.private_port, port.public_port?)));
    Some(Container {
        id: found.id?,
        name: found.names.unwrap_or_default().first().map(|name| name.trim_start_matches('/').to_owned())?,
        state: from_status(state.parse().unwrap_or(ContainerStateStatusEnum::EMPTY)),
        labels: found.labels.unwrap_or_default(),
        ports: ports.collect(),
        networks: HashMap::new(),
        created_at: found
            .created
            .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))),
        started_at: None,
        finished_at: None,
        exit_code: None,
        oom_killed: false,
        tty: false,
        looked,
    })
}

fn event(message: EventMessage) -> Option<EngineEvent> {
    let actor = message.actor?;
    let mut labels = actor.attributes.unwrap_or_default();
    let nanos = u64::try_from(message.time_nano.or(message.time.map(|seconds| seconds * i64::from(NANOS)))?).ok()?;
    Some(EngineEvent {
        container_id: actor.id?,
        name: labels.remove("name").unwrap_or_default(),
        labels,
        kind: match message.action.as_deref()? {
            "oom" => EventKind::Oom,
            "kill" => EventKind::Killed,
            // podman says remove.
            "destroy" | "remove" => EventKind::Destroyed,
            _ => EventKind::Changed,
        },
        at: SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos),
    })
}

fn from_status(status: ContainerStateStatusEnum) -> State {
    match status {
        ContainerStateStatusEnum::CREATED => State::Created,
        ContainerStateStatusEnum::RUNNING
        | ContainerStateStatusEnum::RESTARTING
        | ContainerStateStatusEnum::STOPPING => State::Running,
        ContainerStateStatusEnum::PAUSED => State::Paused,
        ContainerStateStatusEnum::REMOVING => State::Removing,
        ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD => State::Exited,
        ContainerStateStatusEnum::EMPTY => State::Unknown,
    }
}

/// RFC 3339 with nanoseconds. The engine writes year 1 for "never".
fn parse_time(text: &str) -> Option<SystemTime> {
    let time = text.parse::<jiff::Timestamp>().ok()?;
    let seconds = u64::try_from(time.as_second()).ok()?;
    let nanos = u32::try_from(time.subsec_nanosecond()).ok()?.min(NANOS - 1);
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// With `timestamps` the engine puts the time and a blank before each entry.
fn chunk(output: LogOutput) -> LogChunk {
    let stderr = matches!(output, LogOutput::StdErr { .. });
    let bytes = output.into_bytes();
    let stamp = bytes.iter().take(40).position(|&byte| byte == b' ').and_then(|blank| {
        let text = std::str::from_utf8(&bytes[..blank]).ok()?;
        Some((parse_time(text)?, blank + 1))
    });
    match stamp {
        Some((at, rest)) => LogChunk { stderr, at: Some(at), bytes: bytes[rest..].to_vec() },
        None => LogChunk { stderr, at: None, bytes: bytes.to_vec() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status_code: u16, message: &str) -> EngineError {
        translate(BollardError::DockerResponseServerError { status_code, message: message.into() })
    }

    #[test]
    fn the_engines_words_decide() {
        assert!(matches!(refused(404, "No such image: x"), EngineError::ImageNotFound(_)));
        assert!(matches!(refused(404, "No such container: x"), EngineError::NotFound(_)));
        assert!(matches!(refused(409, "Conflict. The container name is in use"), EngineError::Conflict(_)));
        assert!(matches!(
            refused(500, "listen tcp4 127.0.0.1:1: bind: address already in use"),
            EngineError::PortHeld(_)
        ));
        assert!(matches!(refused(500, "Bind failed: all ports are allocated"), EngineError::PortsExhausted(_)));
        assert!(matches!(refused(500, "boom"), EngineError::Refused(_)));
    }

    #[test]
    fn a_log_entry_loses_its_timestamp() {
        let entry = chunk(LogOutput::StdErr { message: "2026-11-23T16:48:10.817338122Z a b\n".into() });
        assert_eq!((entry.stderr, entry.bytes.as_slice()), (true, b"a b\n".as_slice()));
        assert!(entry.at.is_some());
        let plain = chunk(LogOutput::StdOut { message: "no stamp\n".into() });
        assert_eq!((plain.at, plain.bytes.as_slice()), (None, b"no stamp\n".as_slice()));
    }

    #[test]
    fn never_started_is_no_time() {
        assert_eq!(parse_time("0001-01-01T00:00:00Z"), None);
        assert!(parse_time("2026-11-23T16:48:10.8Z").is_some());
    }
}

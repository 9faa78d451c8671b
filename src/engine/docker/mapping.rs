//! What is asked for, in the engine's terms, and what it answers, in ours.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime};

use bollard::auth::DockerCredentials;
use bollard::container::LogOutput;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, ContainerSummary, CreateImageInfo,
    EndpointSettings, EventMessage, HostConfig, HostConfigLogConfig, ImageInspect, Mount as EngineMount, MountType,
    PortBinding, ResourcesUlimits,
};
use secrecy::ExposeSecret;

use crate::credentials::RegistryLogin;
use crate::engine::spec::{ContainerSpec, Mount, Publish, Security};
use crate::engine::streams::{Change, EngineEvent, LogChunk, PullProgress};
use crate::engine::workload::{RunId, State, Workload};
use crate::preview::Endpoint;

const NANOS: u32 = 1_000_000_000;
/// Nanoseconds of CPU time in a thousandth of one CPU's second.
const NANOS_PER_MILLI_CPU: i64 = 1_000_000;

/// Over how many files the kept output is spread: at the least all but one of them are full.
const LOG_FILES: u64 = 3;
/// As a folder that programs are run in: package managers do.
const SCRATCH: &str = "rw,exec,nosuid,nodev,mode=1777";

/// The body of a create.
pub(super) fn body(spec: &ContainerSpec, profile: &str) -> ContainerCreateBody {
    let inside = |publish: &Publish| format!("{}/tcp", publish.port);
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        cmd: Some(spec.command.clone()),
        env: Some(spec.environment.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        labels: Some(spec.labels.clone()),
        working_dir: spec.working_dir.clone(),
        user: spec.security.user.clone(),
        // Through the API a binding alone publishes nothing.
        exposed_ports: Some(spec.publish.iter().map(inside).collect()),
        host_config: Some(host_config(spec, profile)),
        ..Default::default()
    }
}

fn host_config(spec: &ContainerSpec, profile: &str) -> HostConfig {
    let (resources, security) = (&spec.resources, &spec.security);
    let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
    let bindings = spec.publish.iter().map(|publish| (format!("{}/tcp", publish.port), Some(vec![binding(publish)])));
    HostConfig {
        mounts: Some(spec.mounts.iter().map(mount).collect()),
        network_mode: spec.network.clone(),
        port_bindings: Some(bindings.collect()),
        init: spec.init.then_some(true),
        memory: resources.memory_bytes.map(signed),
        // Together: no swap.
        memory_swap: resources.memory_bytes.map(signed),
        cpu_shares: resources.cpu_shares.map(i64::from),
        nano_cpus: resources.cpu_millis.map(|millis| i64::from(millis) * NANOS_PER_MILLI_CPU),
        pids_limit: resources.pids.map(i64::from),
        ulimits: resources.no_core_dumps.then(|| vec![no_core_dumps()]),
        log_config: resources.log_bytes.map(log_config),
        security_opt: some(&security_options(security, profile)),
        cap_drop: some(&security.drop_capabilities),
        cap_add: some(&security.add_capabilities),
        readonly_rootfs: security.read_only_root.then_some(true),
        tmpfs: (!security.scratch.is_empty()).then(|| {
            let folders = security.scratch.iter();
            folders.map(|folder| (folder.clone(), SCRATCH.to_owned())).collect()
        }),
        ..Default::default()
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn no_core_dumps() -> ResourcesUlimits {
    ResourcesUlimits { name: Some("core".to_owned()), soft: Some(0), hard: Some(0) }
}

fn log_config(bytes: u64) -> HostConfigLogConfig {
    let options = [("max-size", bytes / LOG_FILES), ("max-file", LOG_FILES)];
    HostConfigLogConfig {
        typ: Some("json-file".to_owned()),
        config: Some(options.map(|(name, value)| (name.to_owned(), value.to_string())).into()),
    }
}

fn security_options(security: &Security, profile: &str) -> Vec<String> {
    let mut options = Vec::new();
    if security.no_new_privileges {
        options.push("no-new-privileges".to_owned());
    }
    if security.refuse_setuid {
        options.push(format!("seccomp={profile}"));
    }
    options
}

fn binding(publish: &Publish) -> PortBinding {
    let ports = publish.host_ports;
    let host_port = if ports.is_one() { ports.first.to_string() } else { format!("{}-{}", ports.first, ports.last) };
    PortBinding { host_ip: Some(publish.bind_address.to_string()), host_port: Some(host_port) }
}

/// A mount of this form is refused when its source is missing; the older one makes an empty folder as root.
fn mount(mount: &Mount) -> EngineMount {
    EngineMount {
        typ: Some(MountType::BIND),
        source: Some(mount.source.display().to_string()),
        target: Some(mount.target.clone()),
        ..Default::default()
    }
}

/// The names of the variables that an image sets.
pub(super) fn variable_names(image: ImageInspect) -> Vec<String> {
    let variables = image.config.and_then(|config| config.env).unwrap_or_default().into_iter();
    variables.filter_map(|variable| Some(variable.split_once('=')?.0.to_owned())).collect()
}

/// <https://docs.docker.com/engine/security/userns-remap/>, <https://docs.docker.com/engine/security/rootless/>
pub(super) fn keeps_user_ids(security_options: &[String]) -> bool {
    !security_options
        .iter()
        .flat_map(|option| option.split(','))
        .any(|part| matches!(part, "name=userns" | "name=rootless"))
}

/// What to log in to a registry with.
pub(super) fn credentials(login: RegistryLogin, registry: &str) -> DockerCredentials {
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

/// A step of a pull.
pub(super) fn progress(step: CreateImageInfo) -> PullProgress {
    let bytes = step.progress_detail.unwrap_or_default();
    PullProgress {
        layer: step.id,
        status: step.status.unwrap_or_default(),
        current: bytes.current.and_then(|count| u64::try_from(count).ok()),
        total: bytes.total.and_then(|count| u64::try_from(count).ok()),
    }
}

pub(super) fn address(text: Option<&String>) -> Option<IpAddr> {
    text?.parse().ok()
}

/// The networks by id, each with what `pick` takes from it.
pub(super) fn networks(
    found: Option<HashMap<String, EndpointSettings>>,
    pick: impl Fn(&EndpointSettings) -> Option<IpAddr>,
) -> HashMap<String, Option<IpAddr>> {
    let networks = found.unwrap_or_default().into_values();
    networks.filter_map(|network| Some((network.network_id.clone()?, pick(&network)))).collect()
}

/// The variables in the answer to an inspect.
pub(super) fn environment(found: ContainerInspectResponse) -> Vec<(String, String)> {
    let lines = found.config.and_then(|config| config.env).unwrap_or_default();
    lines.iter().filter_map(|line| line.split_once('=')).map(|(name, value)| (name.into(), value.into())).collect()
}

/// The answer to an inspect that was asked for at `asked_at`.
pub(super) fn from_inspect(found: ContainerInspectResponse, asked_at: Instant) -> Option<Workload> {
    let state = found.state.unwrap_or_default();
    let config = found.config.unwrap_or_default();
    let settings = found.network_settings.unwrap_or_default();
    let ports = settings.ports.unwrap_or_default();
    let ports = ports.into_iter().filter_map(|(inside, bindings)| {
        let inside = inside.strip_suffix("/tcp")?.parse().ok()?;
        let endpoint = bindings?.into_iter().find_map(|binding| endpoint(binding.host_ip, &binding.host_port?))?;
        Some((inside, endpoint))
    });
    let status = state.status.unwrap_or(ContainerStateStatusEnum::EMPTY);
    let ended = matches!(status, ContainerStateStatusEnum::EXITED | ContainerStateStatusEnum::DEAD);
    let id = found.id?;
    Some(Workload {
        run: RunId { task: id.clone(), started_at: state.started_at.as_deref().and_then(parse_time) },
        id,
        name: found.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        state: from_status(status),
        labels: config.labels.unwrap_or_default(),
        endpoints: ports.collect(),
        networks: networks(settings.networks, |network| address(network.ip_address.as_ref())),
        created_at: found.created.as_deref().and_then(parse_time),
        finished_at: state.finished_at.as_deref().filter(|_| ended).and_then(parse_time),
        exit_code: state.exit_code.filter(|_| ended),
        oom_killed: state.oom_killed.unwrap_or(false),
        asked_at,
    })
}

/// A listing has no exit code and no start time: whoever needs them inspects.
pub(super) fn from_summary(found: ContainerSummary, asked_at: Instant) -> Option<Workload> {
    let state = found.state.map(|state| state.to_string()).unwrap_or_default();
    let ports = found.ports.unwrap_or_default().into_iter();
    let endpoints =
        ports.filter_map(|port| Some((port.private_port, endpoint(port.ip, &port.public_port?.to_string())?)));
    let id = found.id?;
    Some(Workload {
        run: RunId { task: id.clone(), started_at: None },
        id,
        name: found.names.unwrap_or_default().first().map(|name| name.trim_start_matches('/').to_owned())?,
        state: from_status(state.parse().unwrap_or(ContainerStateStatusEnum::EMPTY)),
        labels: found.labels.unwrap_or_default(),
        endpoints: endpoints.collect(),
        networks: HashMap::new(),
        created_at: found
            .created
            .and_then(|seconds| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))),
        finished_at: None,
        exit_code: None,
        oom_killed: false,
        asked_at,
    })
}

/// An event, None for one that is about nothing we know.
pub(super) fn event(message: EventMessage) -> Option<EngineEvent> {
    let actor = message.actor?;
    let mut labels = actor.attributes.unwrap_or_default();
    let nanos = u64::try_from(message.time_nano.or(message.time.map(|seconds| seconds * i64::from(NANOS)))?).ok()?;
    Some(EngineEvent {
        workload_id: actor.id?,
        name: labels.remove("name").unwrap_or_default(),
        labels,
        change: match message.action.as_deref()? {
            "oom" => Change::Oom,
            "kill" => Change::Signalled,
            // podman says remove.
            "destroy" | "remove" => Change::Removed,
            _ => Change::Other,
        },
        at: SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos),
    })
}

/// Where a port is published; an engine that names no address listens on all of them.
fn endpoint(host: Option<String>, port: &str) -> Option<Endpoint> {
    let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    Some(Endpoint { host, port: port.parse().ok()? })
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
pub(super) fn parse_time(text: &str) -> Option<SystemTime> {
    let time = text.parse::<jiff::Timestamp>().ok()?;
    let seconds = u64::try_from(time.as_second()).ok()?;
    let nanos = u32::try_from(time.subsec_nanosecond()).ok()?.min(NANOS - 1);
    SystemTime::UNIX_EPOCH.checked_add(Duration::new(seconds, nanos))
}

/// With `timestamps` the engine puts the time and a blank before each entry.
pub(super) fn chunk(output: LogOutput) -> LogChunk {
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
    use crate::engine::spec::{PortRange, Resources, Security};

    #[test]
    fn a_log_entry_loses_its_timestamp() {
        let entry = chunk(LogOutput::StdErr { message: "2026-11-23T16:48:10.817338122Z a b\n".into() });
        assert_eq!((entry.stderr, entry.bytes.as_slice()), (true, b"a b\n".as_slice()));
        assert!(entry.at.is_some());
        let plain = chunk(LogOutput::StdOut { message: "no stamp\n".into() });
        assert_eq!((plain.at, plain.bytes.as_slice()), (None, b"no stamp\n".as_slice()));
    }

    #[test]
    fn an_engine_that_maps_users_says_so() {
        let keeps = |options: &[&str]| keeps_user_ids(&options.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert!(keeps(&["name=seccomp,profile=default", "name=cgroupns"]) && keeps(&[]));
        assert!(!keeps(&["name=seccomp,profile=default", "name=rootless"]) && !keeps(&["name=userns"]));
    }

    #[test]
    fn never_started_is_no_time() {
        assert_eq!(parse_time("0001-01-01T00:00:00Z"), None);
        assert!(parse_time("2026-11-23T16:48:10.8Z").is_some());
    }

    #[test]
    fn the_engine_is_asked_for_what_the_spec_says_and_nothing_else() {
        let bare = body(&ContainerSpec { image: "i".into(), ..ContainerSpec::default() }, "");
        let host = bare.host_config.unwrap_or_default();
        assert_eq!((bare.working_dir, bare.user, host.init, host.memory), (None, None, None, None));
        assert_eq!((host.cap_drop, host.security_opt, host.readonly_rootfs), (None, None, None));
        let spec = ContainerSpec {
            mounts: vec![Mount { source: "/p/7".into(), target: "/app".into() }],
            publish: vec![Publish {
                port: 3000,
                bind_address: IpAddr::from([127, 0, 0, 1]),
                host_ports: PortRange { first: 3000, last: 4000 },
            }],
            init: true,
            resources: Resources {
                memory_bytes: Some(1 << 30),
                cpu_shares: Some(512),
                cpu_millis: Some(1500),
                pids: Some(64),
                log_bytes: Some(30 << 20),
                no_core_dumps: true,
            },
            security: Security {
                no_new_privileges: true,
                drop_capabilities: vec!["ALL".into()],
                refuse_setuid: true,
                scratch: vec!["/tmp".into()],
                ..Security::default()
            },
            ..ContainerSpec::default()
        };
        let host = body(&spec, "{}").host_config.unwrap_or_default();
        assert_eq!((host.memory, host.nano_cpus, host.pids_limit), (Some(1 << 30), Some(1_500_000_000), Some(64)));
        assert_eq!((host.init, host.cap_drop), (Some(true), Some(vec!["ALL".to_owned()])));
        assert_eq!((host.memory_swap, host.cpu_shares), (Some(1 << 30), Some(512)));
        let log = host.log_config.unwrap_or_default();
        assert_eq!(log.config.and_then(|options| options.get("max-size").cloned()), Some((10 << 20).to_string()));
        let options = host.security_opt.unwrap_or_default();
        assert!(options[0] == "no-new-privileges" && options[1].starts_with("seccomp={"), "{options:?}");
        assert!(host.tmpfs.is_some_and(|folders| folders.contains_key("/tmp")));
        let core = host.ulimits.unwrap_or_default();
        assert_eq!(core.first().and_then(|limit| limit.hard), Some(0));
        let ports = host.port_bindings.and_then(|mut ports| ports.remove("3000/tcp").flatten()).unwrap_or_default();
        assert_eq!(ports.first().and_then(|port| port.host_port.as_deref()), Some("3000-4000"));
    }

    #[test]
    fn an_ipv6_address_stands_in_brackets() {
        let host = |host: &str| endpoint(Some(host.to_owned()), "1").map(|endpoint| endpoint.host);
        assert_eq!(host("::1").as_deref(), Some("[::1]"));
        assert_eq!(host("").as_deref(), Some("0.0.0.0"));
    }
}

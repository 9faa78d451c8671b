//! What the engine in memory holds: pure, without any waiting.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use super::container::Container;
use crate::engine::error::EngineError;
use crate::engine::exec::{ExecResult, ExecSpec};
use crate::engine::spec::{ContainerSpec, Publish};
use crate::engine::streams::{Change, EngineEvent, LogChunk, PullProgress};
use crate::engine::workload::{State, Workload};
use crate::id::{LABEL_OWNER, LABEL_PREVIEW};
use crate::preview::Endpoint;

/// 2026-01-01T00:00:00Z, in seconds since 1970.
const BEGINNING: u64 = 1_767_225_600;
/// Everything that happens takes so long, so that no two time stamps are the same.
const TICK: Duration = Duration::from_millis(1);

/// How a pull goes.
#[derive(Clone)]
pub(super) struct Pull {
    pub(super) steps: Vec<PullProgress>,
    pub(super) result: Result<(), EngineError>,
}

/// See the module.
pub(super) struct World {
    now: SystemTime,
    last_id: u64,
    pub(super) containers: Vec<Container>,
    pub(super) events: Vec<EngineEvent>,
    pub(super) images: HashSet<String>,
    /// Ids by name.
    pub(super) networks: HashMap<String, String>,
    /// Folders that are missing on the engine's machine.
    pub(super) missing: HashSet<PathBuf>,
    /// Ports that other programs hold.
    pub(super) held_ports: HashSet<u16>,
    pub(super) pulls: HashMap<String, Pull>,
    /// What the next programs come to, the oldest first.
    pub(super) execs: VecDeque<ExecResult>,
    /// Why the streams of events before this one ended.
    pub(super) broken: Vec<EngineError>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(BEGINNING),
            last_id: 0,
            containers: Vec::new(),
            events: Vec::new(),
            images: HashSet::new(),
            networks: HashMap::new(),
            missing: HashSet::new(),
            held_ports: HashSet::new(),
            pulls: HashMap::new(),
            execs: VecDeque::new(),
            broken: Vec::new(),
        }
    }
}

impl World {
    pub(super) fn now(&self) -> SystemTime {
        self.now
    }

    /// Moves the clock on, by this and by a tick.
    pub(super) fn advance(&mut self, duration: Duration) -> SystemTime {
        self.now += duration + TICK;
        self.now
    }

    fn tick(&mut self) -> SystemTime {
        self.advance(Duration::ZERO)
    }

    fn new_id(&mut self) -> String {
        self.last_id += 1;
        format!("{:064x}", self.last_id)
    }

    pub(super) fn find(&mut self, name_or_id: &str) -> Result<&mut Container, EngineError> {
        let words = || EngineError::NotFound(format!("No such container: {name_or_id}"));
        self.containers.iter_mut().find(|container| container.is(name_or_id)).ok_or_else(words)
    }

    pub(super) fn inspect(&self, name_or_id: &str, asked_at: Instant) -> Option<Workload> {
        let found = self.containers.iter().find(|container| container.is(name_or_id));
        found.map(|container| container.workload(asked_at))
    }

    pub(super) fn environment(&self, id: &str) -> Option<Vec<(String, String)>> {
        self.containers.iter().find(|container| container.is(id)).map(|container| container.spec.environment.clone())
    }

    /// A program that nobody told about prints nothing and ends well.
    pub(super) fn exec(&mut self, id: &str, spec: &ExecSpec) -> Result<ExecResult, EngineError> {
        if !self.find(id)?.runs() {
            return Err(EngineError::Conflict(format!("Container {id} is not running")));
        }
        let mut result = ExecResult { exit_code: Some(0), ..ExecResult::default() };
        if let Some(told) = self.execs.pop_front() {
            result.push(&told.output, spec.max_output);
            result.exit_code = told.exit_code;
        }
        Ok(result)
    }

    pub(super) fn list(&self, owner: &str, asked_at: Instant) -> Vec<Workload> {
        let is_theirs = |container: &&Container| {
            let labels = &container.spec.labels;
            labels.contains_key(LABEL_PREVIEW) && labels.get(LABEL_OWNER).is_some_and(|label| label == owner)
        };
        self.containers.iter().filter(is_theirs).map(|container| container.workload(asked_at)).collect()
    }

    /// Its id, and whether it was made just now.
    pub(super) fn ensure_network(&mut self, name: &str) -> (String, bool) {
        if let Some(id) = self.networks.get(name) {
            return (id.clone(), false);
        }
        let id = self.new_id();
        self.networks.insert(name.to_owned(), id.clone());
        (id, true)
    }

    pub(super) fn discard_network(&mut self, id: &str) {
        let used = self.containers.iter().any(|container| container.spec.network.as_deref() == Some(id));
        self.networks.retain(|_, network| used || network != id);
    }

    /// What a pull tells before it ends.
    pub(super) fn pull_steps(&self, image: &str) -> Vec<PullProgress> {
        let done = || PullProgress { layer: None, status: "Download complete".into(), current: None, total: None };
        self.pulls.get(image).map_or_else(|| vec![done()], |pull| pull.steps.clone())
    }

    /// A pull ends: the image is there, or not.
    pub(super) fn end_pull(&mut self, image: &str) -> Result<(), EngineError> {
        self.pulls.get(image).map_or(Ok(()), |pull| pull.result.clone())?;
        self.images.insert(image.to_owned());
        Ok(())
    }

    pub(super) fn create(&mut self, spec: &ContainerSpec) -> Result<String, EngineError> {
        if !self.images.contains(&spec.image) {
            return Err(EngineError::ImageNotFound(format!("No such image: {}", spec.image)));
        }
        if let Some(mount) = spec.mounts.iter().find(|mount| self.missing.contains(&mount.source)) {
            let words = format!("bind source path does not exist: {}", mount.source.display());
            return Err(EngineError::MountSourceMissing { path: mount.source.clone(), words });
        }
        if self.containers.iter().any(|container| container.spec.name == spec.name) {
            return Err(EngineError::Conflict(format!("The container name {:?} is already in use", spec.name)));
        }
        Ok(self.add(spec.clone()))
    }

    /// Makes a container without asking whether that can be.
    pub(super) fn add(&mut self, spec: ContainerSpec) -> String {
        let (id, at) = (self.new_id(), self.tick());
        self.containers.push(Container::new(id.clone(), spec, at));
        self.tell(&id, Change::Other);
        id
    }

    pub(super) fn start(&mut self, id: &str) -> Result<(), EngineError> {
        let container = self.find(id)?;
        if container.runs() {
            return Ok(());
        }
        let (spec, refused) = (container.spec.clone(), container.refused_ports.clone());
        if let Some(network) = &spec.network
            && !self.networks.values().any(|known| known == network)
        {
            return Err(EngineError::NotFound(format!("network {network} not found")));
        }
        let mut endpoints = HashMap::new();
        for publish in &spec.publish {
            let port = self.free_port(publish, &refused, &endpoints)?;
            let host = bracketed(publish.bind_address);
            if self.held_ports.contains(&port) {
                self.find(id)?.refused_ports.insert(port);
                let words = format!("listen tcp4 {host}:{port}: bind: address already in use");
                return Err(EngineError::PortHeld { port: Some(port), words });
            }
            endpoints.insert(publish.port, Endpoint { host, port });
        }
        let at = self.tick();
        self.find(id)?.run(endpoints, at);
        self.tell(id, Change::Other);
        Ok(())
    }

    /// The first port that no container has, not one of `chosen`, and not one of `refused` where there is a choice.
    fn free_port(
        &self,
        publish: &Publish,
        refused: &HashSet<u16>,
        chosen: &HashMap<u16, Endpoint>,
    ) -> Result<u16, EngineError> {
        let range = publish.host_ports;
        let published = self.containers.iter().flat_map(|container| container.endpoints.values());
        let taken: HashSet<u16> = published.chain(chosen.values()).map(|endpoint| endpoint.port).collect();
        if range.is_one() {
            let port = range.first;
            let host = bracketed(publish.bind_address);
            let words = format!("Bind for {host}:{port} failed: port is already allocated");
            let held = EngineError::PortHeld { port: Some(port), words };
            return if taken.contains(&port) { Err(held) } else { Ok(port) };
        }
        let free = (range.first..=range.last).find(|port| !taken.contains(port) && !refused.contains(port));
        free.ok_or_else(|| EngineError::PortsExhausted("Bind failed: all ports are allocated".into()))
    }

    /// Ends what runs in a container, by a signal where `signalled`.
    pub(super) fn end(&mut self, id: &str, exit_code: i64, signalled: bool) {
        if !self.find(id).is_ok_and(|container| container.runs()) {
            return;
        }
        if signalled {
            self.tell(id, Change::Signalled);
        }
        let at = self.tick();
        if let Ok(container) = self.find(id) {
            container.end(exit_code, at);
        }
        self.tell(id, Change::Other);
    }

    pub(super) fn remove(&mut self, id: &str) {
        let Ok(container) = self.find(id) else { return };
        let id = container.id.clone();
        self.tell(&id, Change::Removed);
        self.containers.retain(|container| container.id != id);
    }

    pub(super) fn print(&mut self, id: &str, stderr: bool, text: &str) {
        let at = Some(self.tick());
        if let Ok(container) = self.find(id) {
            let chunk = LogChunk { stderr, at, bytes: text.as_bytes().to_vec() };
            container.output.push((container.started_at, chunk));
        }
    }

    /// Adds an event about a container that is there.
    pub(super) fn tell(&mut self, name_or_id: &str, change: Change) {
        let at = self.tick();
        if let Ok(container) = self.find(name_or_id) {
            let event = EngineEvent {
                workload_id: container.id.clone(),
                name: container.spec.name.clone(),
                labels: container.spec.labels.clone(),
                change,
                at,
            };
            self.events.push(event);
        }
    }

    /// A process of a container is killed for memory.
    pub(super) fn oom(&mut self, name_or_id: &str) {
        if let Ok(container) = self.find(name_or_id)
            && container.runs()
        {
            container.had_oom = true;
            self.tell(name_or_id, Change::Oom);
        }
    }

    /// Pauses a container that runs, or lets one that is paused go on.
    pub(super) fn set_paused(&mut self, name_or_id: &str, paused: bool) {
        let (from, to) = if paused { (State::Running, State::Paused) } else { (State::Paused, State::Running) };
        if let Ok(container) = self.find(name_or_id)
            && container.state == from
        {
            container.state = to;
            self.tell(name_or_id, Change::Other);
        }
    }
}

fn bracketed(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

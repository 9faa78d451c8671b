//! One container in memory.

use std::collections::{HashMap, HashSet};
use std::time::{Instant, SystemTime};

use crate::engine::spec::ContainerSpec;
use crate::engine::streams::{LogChunk, LogStart};
use crate::engine::workload::{RunId, State, Workload};
use crate::preview::Endpoint;

/// See the module.
pub(super) struct Container {
    pub(super) id: String,
    pub(super) spec: ContainerSpec,
    pub(super) state: State,
    pub(super) endpoints: HashMap<u16, Endpoint>,
    pub(super) created_at: SystemTime,
    pub(super) started_at: Option<SystemTime>,
    pub(super) finished_at: Option<SystemTime>,
    pub(super) exit_code: Option<i64>,
    pub(super) oom_killed: bool,
    /// A process was killed for memory. As with Docker, `oom_killed` tells so once the container ended.
    pub(super) had_oom: bool,
    /// Ports at which a start of it has failed: the next one takes others.
    pub(super) refused_ports: HashSet<u16>,
    /// What was printed, with when the run that printed it was started.
    pub(super) output: Vec<(Option<SystemTime>, LogChunk)>,
}

impl Container {
    pub(super) fn new(id: String, spec: ContainerSpec, created_at: SystemTime) -> Self {
        Self {
            id,
            spec,
            state: State::Created,
            endpoints: HashMap::new(),
            created_at,
            started_at: None,
            finished_at: None,
            exit_code: None,
            oom_killed: false,
            had_oom: false,
            refused_ports: HashSet::new(),
            output: Vec::new(),
        }
    }

    pub(super) fn is(&self, name_or_id: &str) -> bool {
        self.id == name_or_id || self.spec.name == name_or_id
    }

    pub(super) fn runs(&self) -> bool {
        matches!(self.state, State::Running | State::Paused)
    }

    pub(super) fn run(&mut self, endpoints: HashMap<u16, Endpoint>, at: SystemTime) {
        self.state = State::Running;
        self.endpoints = endpoints;
        self.started_at = Some(at);
        (self.finished_at, self.exit_code) = (None, None);
    }

    pub(super) fn end(&mut self, exit_code: i64, at: SystemTime) {
        self.state = State::Exited;
        self.endpoints.clear();
        self.oom_killed |= self.had_oom;
        (self.finished_at, self.exit_code) = (Some(at), Some(exit_code));
    }

    /// Whether `run` began at `started_at`. A run that does not tell when it began may be any.
    pub(super) fn is_run(run: &RunId, started_at: Option<SystemTime>) -> bool {
        run.started_at.is_none() || run.started_at == started_at
    }

    /// What was printed from `start` on.
    pub(super) fn printed(&self, start: LogStart) -> Vec<LogChunk> {
        let all = self.output.iter().map(|(_, chunk)| chunk);
        let wanted = all.filter(|chunk| start.since.is_none_or(|since| chunk.at >= Some(since)));
        let mut chunks: Vec<_> = wanted.cloned().collect();
        if let Some(tail) = start.tail {
            let tail = usize::try_from(tail).unwrap_or(usize::MAX);
            chunks.drain(..chunks.len().saturating_sub(tail));
        }
        chunks
    }

    pub(super) fn workload(&self, asked_at: Instant) -> Workload {
        Workload {
            id: self.id.clone(),
            name: self.spec.name.clone(),
            run: RunId { task: self.id.clone(), started_at: self.started_at },
            state: self.state,
            labels: self.spec.labels.clone(),
            endpoints: self.endpoints.clone(),
            networks: self.spec.network.iter().map(|network| (network.clone(), None)).collect(),
            created_at: Some(self.created_at),
            finished_at: self.finished_at,
            exit_code: self.exit_code,
            oom_killed: self.oom_killed,
            asked_at,
        }
    }
}

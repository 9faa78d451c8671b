//! What is remembered of one preview.

use std::sync::Arc;
use std::time::SystemTime;

use tokio_util::sync::CancellationToken;

use super::changes::Published;
use super::queue::Queue;
use super::run::Run;
use super::shared_start::SharedStart;
use crate::engine::{RunId, Workload};
use crate::preview::{CompileError, ContainerInfo, Phase};
use crate::probe::Answer;

/// A running container with what following it has taught.
#[derive(Clone)]
pub(crate) struct Record {
    pub(crate) info: ContainerInfo,
    pub(crate) run: Arc<Run>,
}

impl Record {
    /// The entry with what its run knows.
    pub(crate) fn info(&self) -> ContainerInfo {
        let state = self.run.state();
        ContainerInfo {
            compilation_complete: self.info.compilation_complete || state.readiness.is_complete(),
            is_responding: state.last_answer.map_or(self.info.is_responding, Answer::is_good),
            ..self.info.clone()
        }
    }

    /// Whether it is about this container.
    pub(crate) fn is_of(&self, container_id: &str) -> bool {
        self.info.container_id == container_id
    }
}

/// What the engine last said about a preview's container.
#[derive(Clone)]
pub(crate) struct Observation {
    pub(crate) workload: Workload,
    pub(crate) at: SystemTime,
    /// What its output tells, once it ended.
    pub(crate) ending: Option<Arc<Ending>>,
}

/// What the output of a container that ended tells.
#[derive(Default)]
pub(crate) struct Ending {
    pub(crate) last_lines: Vec<String>,
    pub(crate) errors: Vec<CompileError>,
    pub(crate) hint: Option<String>,
    /// The last line that says what went wrong.
    pub(crate) said: Option<String>,
    /// The output was read to its end.
    pub(crate) complete: bool,
}

/// The database that a container was given is gone.
pub(crate) struct LostDatabase {
    /// Which container; None: the preview was not remembered, so it is one from before.
    pub(super) container: Option<String>,
    pub(super) at: SystemTime,
}

impl LostDatabase {
    /// Whether this container had the database.
    pub(super) fn concerns(&self, workload: &Workload) -> bool {
        match &self.container {
            Some(container) => *container == workload.id,
            None => workload.created_at.is_some_and(|created| created <= self.at),
        }
    }
}

/// What a start asked for, and the container that it found running does not have.
#[derive(Default)]
pub(crate) struct Drift {
    pub(super) container: String,
    pub(super) names: Vec<String>,
}

impl Drift {
    /// The names of the variables, for this container.
    pub(super) fn names(&self, container: &str) -> &[String] {
        if self.container == container { &self.names } else { &[] }
    }
}

/// Asking the engine about the container again, because an event told of a change.
#[derive(Default)]
pub(crate) struct Refresh {
    /// It is under way, until the token is cancelled.
    pub(crate) running: Option<CancellationToken>,
    /// Something happened since it began, or while an operation ran.
    pub(crate) again: bool,
}

/// See the module.
#[derive(Default)]
pub(crate) struct CacheEntry {
    pub(crate) queue: Queue,
    /// The start that the next caller may join.
    pub(crate) joinable: Option<Arc<SharedStart>>,
    /// What an operation does, shown as the phase.
    pub(crate) operation: Option<Phase>,
    pub(crate) record: Option<Record>,
    pub(crate) observation: Option<Observation>,
    /// The port of the last record, which outlives it while an operation runs.
    pub(crate) last_port: Option<u16>,
    pub(crate) refresh: Refresh,
    pub(crate) lost_database: Option<LostDatabase>,
    pub(crate) drift: Drift,
    pub(crate) published: Published,
}

impl CacheEntry {
    /// The run that follows this very container and port, where there is one.
    pub(crate) fn known_run(&self, info: &ContainerInfo, run: &RunId) -> Option<Arc<Run>> {
        let record = self.record.as_ref()?;
        (record.run.follows(run) && record.info.port == info.port).then(|| Arc::clone(&record.run))
    }

    /// The container that the engine last told of and its run, if that is followed.
    pub(super) fn current_run(&self) -> Option<(&Workload, Arc<Run>)> {
        let (observation, record) = (self.observation.as_ref()?, self.record.as_ref()?);
        let workload = &observation.workload;
        (workload.is_running() && record.run.follows(&workload.run)).then(|| (workload, Arc::clone(&record.run)))
    }

    /// Whether an operation on it runs or is queued.
    pub(crate) fn is_busy(&self) -> bool {
        self.operation.is_some() || self.queue.is_busy()
    }

    /// Whether it is cached or being worked on.
    pub(crate) fn is_known(&self) -> bool {
        self.observation.is_some() || self.record.is_some() || self.is_busy()
    }

    /// Whether nothing is in it.
    pub(crate) fn is_empty(&self) -> bool {
        !self.is_known() && self.refresh.running.is_none() && self.lost_database.is_none()
    }

    /// Puts the record in, ending the run of the one before.
    pub(crate) fn set_record(&mut self, record: Record) {
        if let Some(old) = self.record.replace(record) {
            old.run.end();
        }
    }

    /// Takes the record out and ends its run, if it is one that `condition` holds for.
    pub(crate) fn end_record(&mut self, condition: impl Fn(&Run) -> bool) {
        if let Some(record) = self.record.take_if(|record| condition(&record.run)) {
            record.run.end();
        }
    }
}

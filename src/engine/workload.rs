//! What an engine knows about what it runs.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Instant, SystemTime};

use crate::preview::Endpoint;

/// What SIGTERM, the first signal of a stop, ends a process with: 128 and the signal's number.
pub const SIGTERM_CODE: i64 = 143;
/// What SIGKILL ends a process with: the end of a stop, `docker kill` and the kernel's OOM killer.
pub const SIGKILL_CODE: i64 = 137;

/// A workload's state, in the engine's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Made, not started.
    Created,
    /// Runs, or is being restarted by the engine.
    Running,
    /// Frozen by `docker pause`.
    Paused,
    /// Being removed.
    Removing,
    /// Ended.
    Exited,
    /// A word that is not known here.
    Unknown,
}

/// One run of a workload: what is started again runs anew.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RunId {
    /// What the engine calls the run. On one Docker host it is the container's id; elsewhere it may be a task's.
    pub task: String,
    /// When it was started, as the engine's clock says; None: it was not, or the engine does not tell.
    pub started_at: Option<SystemTime>,
}

/// What the engine knows about one workload.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its current run, else its last.
    pub run: RunId,
    /// Its state.
    pub state: State,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// Where its ports are published, by the port inside.
    pub endpoints: HashMap<u16, Endpoint>,
    /// The networks it is attached to, by id, with its address in each.
    pub networks: HashMap<String, Option<IpAddr>>,
    /// When it was made, as the engine's clock says.
    pub created_at: Option<SystemTime>,
    /// When its last run ended.
    pub finished_at: Option<SystemTime>,
    /// The exit code, once it ended.
    pub exit_code: Option<i64>,
    /// The engine's flag: a process of it was killed for memory, once. It stays set.
    pub oom_killed: bool,
    /// When the call that gave this began: of two answers, the later one is right.
    pub asked_at: Instant,
}

impl Workload {
    /// Whether it runs. A paused one counts.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(self.state, State::Running | State::Paused)
    }

    /// Whether it is known not to run. Not the reverse of [`Self::is_running`]: see [`State::Unknown`].
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.state, State::Created | State::Removing | State::Exited)
    }

    /// When its current or last run was started.
    #[must_use]
    pub fn started_at(&self) -> Option<SystemTime> {
        self.run.started_at
    }
}

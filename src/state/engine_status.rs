//! Whether the engine answers, and what its events alone tell about a container.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use crate::engine::{Change, EngineEvent};
use crate::lock::lock;

/// How current what is remembered can be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Link {
    /// Nobody listens to the engine's events, or the connection is being made.
    Idle,
    /// What was asked for after this moment is true until an event says otherwise.
    Up {
        /// When the event stream began.
        since: Instant,
    },
    /// The engine does not answer.
    Down {
        /// Why, in words.
        reason: String,
    },
}

/// What events alone tell about a container: the engine's own OOM flag stays set, and misses the OOM of a child.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct EventHistory {
    pub(crate) ooms: u32,
    pub(crate) last_oom: Option<SystemTime>,
    pub(crate) last_signal: Option<SystemTime>,
}

/// The status of one engine, shared by all services on it.
pub(crate) struct EngineStatus {
    link: watch::Sender<Link>,
    last_answer: Mutex<SystemTime>,
    history: Mutex<HashMap<String, EventHistory>>,
    last_event: Mutex<Option<SystemTime>>,
}

impl Default for EngineStatus {
    fn default() -> Self {
        Self {
            link: watch::Sender::new(Link::Idle),
            last_answer: Mutex::new(SystemTime::now()),
            history: Mutex::default(),
            last_event: Mutex::default(),
        }
    }
}

impl EngineStatus {
    pub(crate) fn link(&self) -> Link {
        self.link.borrow().clone()
    }

    /// The link, to wait for a change of it.
    pub(crate) fn watch_link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
    }

    /// Sets the link; tells what it was.
    pub(crate) fn set_link(&self, link: Link) -> Link {
        self.link.send_replace(link)
    }

    /// When the engine last answered or told an event.
    pub(crate) fn last_answer(&self) -> SystemTime {
        *lock(&self.last_answer)
    }

    /// It answered just now.
    pub(crate) fn answered(&self) {
        *lock(&self.last_answer) = SystemTime::now();
    }

    pub(crate) fn history(&self, workload_id: &str) -> EventHistory {
        lock(&self.history).get(workload_id).copied().unwrap_or_default()
    }

    /// Just after the last event that is known: where the next stream has to begin.
    pub(crate) fn next_event_at(&self) -> Option<SystemTime> {
        lock(&self.last_event).map(|last| last + Duration::from_nanos(1))
    }

    /// Takes in an event.
    pub(crate) fn record(&self, event: &EngineEvent) {
        self.answered();
        {
            let mut last = lock(&self.last_event);
            *last = Some(event.at).max(*last);
        }
        let mut history = lock(&self.history);
        match event.change {
            Change::Removed => drop(history.remove(&event.workload_id)),
            Change::Oom => {
                let of_it = history.entry(event.workload_id.clone()).or_default();
                of_it.ooms += 1;
                of_it.last_oom = Some(event.at);
            }
            Change::Signalled => {
                history.entry(event.workload_id.clone()).or_default().last_signal = Some(event.at);
            }
            Change::Other => {}
        }
    }
}

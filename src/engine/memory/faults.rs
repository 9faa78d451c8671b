//! Which calls fail, wait or lose their answer, and how many there were.

use std::collections::{BTreeMap, HashMap, VecDeque};

use tokio::sync::oneshot;

use crate::engine::error::EngineError;

/// A call of the trait `Engine`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Call {
    /// `ping`
    Ping,
    /// `pull`
    Pull,
    /// `image_variables`
    ImageVariables,
    /// `ensure_network`
    EnsureNetwork,
    /// `discard_network`
    DiscardNetwork,
    /// `inspect`
    Inspect,
    /// `environment`
    Environment,
    /// `list`
    List,
    /// `create`
    Create,
    /// `start`
    Start,
    /// `stop`
    Stop,
    /// `remove`
    Remove,
    /// `logs`
    Logs,
    /// `exec`
    Exec,
    /// `events`
    Events,
    /// `clock`
    Clock,
}

/// What is to happen to one call.
pub(super) enum Fault {
    /// It fails, and is not carried out.
    Fail(EngineError),
    /// It is carried out, and its answer is lost.
    FailAfter(EngineError),
    /// It tells that it came, and waits before it is carried out.
    Hold { came: oneshot::Sender<()>, released: oneshot::Receiver<()> },
}

/// A call that is held. Dropping this lets it go on.
pub struct Held {
    came: Option<oneshot::Receiver<()>>,
    release: oneshot::Sender<()>,
}

impl Held {
    /// Waits until the call has come.
    pub async fn arrived(&mut self) {
        if let Some(came) = self.came.take() {
            // Err: the engine is gone, and the call will not come.
            drop(came.await);
        }
    }

    /// Lets the call go on.
    pub fn release(self) {
        // Err: whoever made the call has left.
        _ = self.release.send(());
    }
}

/// See the module.
#[derive(Default)]
pub(super) struct Faults {
    next: HashMap<Call, VecDeque<Fault>>,
    counts: BTreeMap<Call, usize>,
    /// No call is answered.
    pub(super) unreachable: bool,
}

impl Faults {
    /// Counts a call; gives what is to happen to it.
    pub(super) fn begin(&mut self, call: Call) -> Option<Fault> {
        *self.counts.entry(call).or_default() += 1;
        self.next.get_mut(&call).and_then(VecDeque::pop_front)
    }

    /// What is to happen to the next call of this kind for which nothing was said yet.
    pub(super) fn push(&mut self, call: Call, fault: Fault) {
        self.next.entry(call).or_default().push_back(fault);
    }

    pub(super) fn hold(&mut self, call: Call) -> Held {
        let ((came, arrives), (release, released)) = (oneshot::channel(), oneshot::channel());
        self.push(call, Fault::Hold { came, released });
        Held { came: Some(arrives), release }
    }

    pub(super) fn counts(&self) -> BTreeMap<Call, usize> {
        self.counts.clone()
    }

    pub(super) fn reset_counts(&mut self) {
        self.counts.clear();
    }
}

//! The calls that a [`MemoryDatabases`](super::MemoryDatabases) got, and those that it is to fail or to hold.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::{oneshot, watch};

use crate::database::error::DatabaseError;
use crate::lock::lock;

/// A method of [`Databases`](crate::database::Databases) that asks the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `ensure`
    Ensure,
    /// `set_password`
    SetPassword,
    /// `remove`
    Remove,
    /// `remove_again`
    RemoveAgain,
    /// `owned`
    Owned,
    /// `missing`
    Missing,
    /// `info`
    Info,
    /// `reset`
    Reset,
    /// `copy`
    Copy,
}

/// Makes one call wait until it is released or dropped: see [`MemoryDatabases::hold`](super::MemoryDatabases::hold).
#[derive(Debug)]
pub struct Held {
    reached: watch::Receiver<bool>,
    release: oneshot::Sender<()>,
}

impl Held {
    /// Waits until the call has been made.
    pub async fn reached(&mut self) {
        // An error means that the server is gone, and with it every call that could come.
        let _ = self.reached.wait_for(|&reached| reached).await;
    }

    /// Lets the call go on.
    pub fn release(self) {
        // An error means that the call was cancelled.
        let _ = self.release.send(());
    }
}

/// The other end of a [`Held`].
#[derive(Debug)]
struct Gate {
    reached: watch::Sender<bool>,
    released: oneshot::Receiver<()>,
}

#[derive(Debug, Default)]
pub(super) struct Calls {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    history: Vec<(Call, String)>,
    faults: VecDeque<(Call, DatabaseError)>,
    gates: VecDeque<(Call, Gate)>,
}

impl Calls {
    pub(super) fn history(&self) -> Vec<(Call, String)> {
        lock(&self.state).history.clone()
    }

    pub(super) fn forget_history(&self) {
        lock(&self.state).history.clear();
    }

    pub(super) fn fail_next(&self, call: Call, error: DatabaseError) {
        lock(&self.state).faults.push_back((call, error));
    }

    pub(super) fn hold(&self, call: Call) -> Held {
        let (reached, is_reached) = watch::channel(false);
        let (release, released) = oneshot::channel();
        lock(&self.state).gates.push_back((call, Gate { reached, released }));
        Held { reached: is_reached, release }
    }

    /// Records a call about `name`, waits while it is held, and gives the error that it is to fail with.
    pub(super) async fn begin(&self, call: Call, name: &str) -> Result<(), DatabaseError> {
        let gate = {
            let mut state = lock(&self.state);
            state.history.push((call, name.to_owned()));
            take(&mut state.gates, call)
        };
        if let Some(Gate { reached, released }) = gate {
            reached.send_replace(true);
            // An error means that `Held` was dropped, which lets the call go on, too.
            let _ = released.await;
        }
        take(&mut lock(&self.state).faults, call).map_or(Ok(()), Err)
    }
}

/// The first entry of this call.
fn take<T>(queue: &mut VecDeque<(Call, T)>, call: Call) -> Option<T> {
    let at = queue.iter().position(|(of, _)| *of == call)?;
    queue.remove(at).map(|(_, entry)| entry)
}

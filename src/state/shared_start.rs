//! One start, and all the callers that wait for it.

use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::error::Error;
use crate::lock::lock;
use crate::preview::Started;

/// How a start ended.
pub(crate) type StartResult = Result<Started, Error>;

/// A start under way.
pub(crate) struct SharedStart {
    result: watch::Sender<Option<StartResult>>,
    /// Nobody waited any more, so that it is being undone: nobody can join.
    abandoned: Mutex<bool>,
}

/// Runs the start. Its waiters get an answer even if the task that runs it panics.
pub(crate) struct Leader(Arc<SharedStart>);

/// A caller that waits for the start.
pub(crate) struct Waiter(watch::Receiver<Option<StartResult>>);

impl SharedStart {
    /// A start with its first waiter.
    pub(crate) fn open() -> (Waiter, Leader) {
        let (result, waiter) = watch::channel(None);
        (Waiter(waiter), Leader(Arc::new(Self { result, abandoned: Mutex::new(false) })))
    }

    /// Another waiter; None: it has ended, or is being undone.
    pub(crate) fn join(&self) -> Option<Waiter> {
        let abandoned = lock(&self.abandoned);
        let open = !*abandoned && self.result.borrow().is_none();
        open.then(|| Waiter(self.result.subscribe()))
    }

    /// Closes it if nobody waits; tells whether it is closed.
    pub(crate) fn abandon(&self) -> bool {
        let mut abandoned = lock(&self.abandoned);
        *abandoned |= self.result.receiver_count() == 0;
        *abandoned
    }

    /// Waits until nobody waits any more. Somebody may join afterwards, until [`Self::abandon`].
    pub(crate) async fn deserted(&self) {
        self.result.closed().await;
    }
}

impl Leader {
    /// What later callers can join.
    pub(crate) fn shared(&self) -> &Arc<SharedStart> {
        &self.0
    }

    /// Gives the result to all waiters.
    pub(crate) fn finish(self, result: StartResult) {
        self.0.result.send_replace(Some(result));
    }
}

impl Drop for Leader {
    fn drop(&mut self) {
        self.0.result.send_if_modified(|result| {
            let unanswered = result.is_none();
            if unanswered {
                *result = Some(Err(Error::Closed { operation: "start" }));
            }
            unanswered
        });
    }
}

impl Waiter {
    /// Waits for the result.
    pub(crate) async fn result(&mut self) -> StartResult {
        match self.0.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Err(Error::Closed { operation: "start" })),
            Err(_) => Err(Error::Closed { operation: "start" }),
        }
    }
}

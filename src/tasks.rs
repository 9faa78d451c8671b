//! The tasks of one service: they have an owner that ends them.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Cheap to clone, all clones are one.
#[derive(Clone, Default)]
pub(crate) struct Tasks {
    tracker: TaskTracker,
    closed: CancellationToken,
}

impl Tasks {
    /// A task that the service waits for when it is closed. It has to end by itself.
    pub(crate) fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.tracker.spawn(work)
    }

    /// A task that is dropped when the service is closed.
    pub(crate) fn spawn_until_closed(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closed = self.closed.clone();
        self.tracker.spawn(async move {
            closed.run_until_cancelled(work).await;
        });
    }

    /// Is cancelled when the service is closed.
    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Tells every task to end.
    pub(crate) fn cancel(&self) {
        self.closed.cancel();
    }

    /// Tells every task to end and waits for them, for `timeout` at the most. Gives how many are still ending.
    pub(crate) async fn close(&self, timeout: Duration) -> usize {
        self.closed.cancel();
        self.tracker.close();
        drop(tokio::time::timeout(timeout, self.tracker.wait()).await);
        self.tracker.len()
    }
}

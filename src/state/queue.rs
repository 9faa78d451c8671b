//! The operations on one preview: each begins when those before it have ended.

use tokio_util::sync::CancellationToken;

/// The end of the queue.
#[derive(Default)]
pub(crate) struct Queue {
    last: Option<CancellationToken>,
}

/// A place in the queue. Dropping it ends the operation.
pub(crate) struct QueuePermit {
    before: Option<CancellationToken>,
    ended: CancellationToken,
}

impl Queue {
    /// A place behind all that is queued now.
    pub(crate) fn enter(&mut self) -> QueuePermit {
        let ended = CancellationToken::new();
        QueuePermit { before: self.last.replace(ended.clone()), ended }
    }

    /// Whether an operation runs or waits.
    pub(crate) fn is_busy(&self) -> bool {
        self.last.as_ref().is_some_and(|last| !last.is_cancelled())
    }

    /// Is cancelled when all that is queued now has ended.
    pub(crate) fn last(&self) -> Option<CancellationToken> {
        self.last.clone()
    }
}

impl QueuePermit {
    /// Waits until those before it have ended.
    pub(crate) async fn turn(&self) {
        if let Some(before) = &self.before {
            before.cancelled().await;
        }
    }

    #[cfg(test)]
    pub(crate) fn has_come(&self) -> bool {
        self.before.as_ref().is_none_or(CancellationToken::is_cancelled)
    }
}

impl Drop for QueuePermit {
    fn drop(&mut self) {
        let Some(before) = self.before.take().filter(|before| !before.is_cancelled()) else {
            self.ended.cancel();
            return;
        };
        // Given up while it waited: those behind it still wait for those before it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let ended = self.ended.clone();
            runtime.spawn(async move {
                before.cancelled().await;
                ended.cancel();
            });
        } else {
            self.ended.cancel();
        }
    }
}

//! One operation on a preview after the other, each a task of the service and not of its caller.

use std::sync::Arc;

use crate::error::Error;
use crate::id::PreviewId;
use crate::state::{QueuePermit, Store};
use crate::tasks::Tasks;

type OnMissed = Box<dyn Fn(&PreviewId) + Send + Sync>;

/// See the module.
#[derive(Clone)]
pub(crate) struct Operations {
    store: Arc<Store>,
    tasks: Tasks,
    on_missed: Arc<OnMissed>,
}

impl Operations {
    /// `on_missed` is called after an operation during which something happened to the preview's container.
    pub(crate) fn new(store: Arc<Store>, tasks: Tasks, on_missed: OnMissed) -> Self {
        Self { store, tasks, on_missed: Arc::new(on_missed) }
    }

    /// What is remembered of the previews.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// A place behind what is queued already.
    pub(crate) fn enter(&self, id: &PreviewId) -> QueuePermit {
        self.store.enter_queue(id)
    }

    /// Ends a place in a preview's queue.
    pub(crate) fn finish(&self, id: &PreviewId, permit: QueuePermit) {
        if self.store.leave_queue(id, permit) {
            (self.on_missed)(id);
        }
    }

    /// Runs `work` in a task behind what is queued already; the place is taken at the call. `name`: of the operation, for
    /// the error of a caller that outlives the task.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        id: &PreviewId,
        name: &'static str,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> impl Future<Output = Result<T, Error>> + Send + 'static {
        let permit = self.store.enter_queue(id);
        let (operations, id) = (self.clone(), id.clone());
        let working = self.tasks.spawn(async move {
            permit.turn().await;
            let done = work.await;
            operations.finish(&id, permit);
            done
        });
        async move { working.await.unwrap_or(Err(Error::Closed { operation: name })) }
    }

    /// Runs `work` within the calling task, behind what is queued already.
    pub(crate) async fn run_here<T>(&self, id: &PreviewId, work: impl Future<Output = T>) -> T {
        let permit = self.store.enter_queue(id);
        permit.turn().await;
        let done = work.await;
        self.finish(id, permit);
        done
    }
}

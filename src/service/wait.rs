//! Wait: until a preview is ready, or cannot become it any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::api::WaitOptions;
use super::context::Context;
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{Phase, Preview};

/// Before an engine that did not answer is asked again: the one call may have failed, and nothing tells then.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How long the preview was in each phase, in the order in which it came into them.
#[derive(Default)]
pub(crate) struct Stages {
    ended: Vec<(Phase, Duration)>,
    current: Option<(Phase, Instant)>,
}

impl Stages {
    pub(crate) fn enter(&mut self, phase: Option<Phase>) {
        if self.current.map(|(current, _)| current) == phase {
            return;
        }
        let now = Instant::now();
        if let Some((phase, since)) = self.current.take() {
            let spent = now - since;
            match self.ended.iter_mut().find(|(known, _)| *known == phase) {
                Some((_, known)) => *known += spent,
                None => self.ended.push((phase, spent)),
            }
        }
        self.current = phase.map(|phase| (phase, now));
    }

    pub(crate) fn all(mut self) -> Vec<(Phase, Duration)> {
        self.enter(None);
        self.ended
    }
}

/// See the module.
pub(super) struct Wait {
    context: Arc<Context>,
}

impl Wait {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    pub(super) async fn call(&self, id: &PreviewId, options: WaitOptions) -> Result<Preview, Error> {
        self.context.reconciler.listen();
        let mut stages = Stages::default();
        let waiting = self.until_ready(id, options.fail_on_compile_error, &mut stages);
        let Some(timeout) = options.timeout else { return waiting.await };
        match tokio::time::timeout(timeout, waiting).await {
            Ok(result) => result,
            Err(_) => Err(self.not_ready(id, timeout, stages).await),
        }
    }

    async fn until_ready(
        &self,
        id: &PreviewId,
        fail_on_compile_error: bool,
        stages: &mut Stages,
    ) -> Result<Preview, Error> {
        let (store, reconciler) = (self.context.store(), &self.context.reconciler);
        // Subscribed before the engine is asked: no change is missed.
        let mut changes = store.subscribe();
        // What was queued before this wait decides what it is for: a page that is ready until then may be about to go.
        let queued = store.wait_idle(id);
        tokio::pin!(queued);
        let mut settled = false;
        let failed = |source| Error::engine("wait", Some(id), source);
        let mut unreachable = reconciler.ensure_fresh_or_remembered(id).await.map_err(failed)?;
        loop {
            let preview = store.preview(id, unreachable.as_ref());
            stages.enter(preview.as_ref().map(|preview| preview.phase));
            let busy = store.is_busy(id);
            match preview {
                Some(preview) if preview.phase == Phase::Ready && settled => {
                    // What is remembered may be old: the app may hang by now.
                    self.look_again(id).await?;
                    match store.preview(id, unreachable.as_ref()) {
                        Some(preview) if preview.phase == Phase::Ready => return Ok(preview),
                        _ => continue,
                    }
                }
                // Something is queued or being done: what it makes of it comes.
                _ if busy => {}
                Some(preview) => {
                    let ended = matches!(preview.phase, Phase::Exited | Phase::OomKilled) && !preview.running;
                    let broken = fail_on_compile_error && preview.phase == Phase::CompileError;
                    if ended || broken {
                        return Err(Error::failed(id, Some(preview)));
                    }
                }
                None => return Err(Error::failed(id, None)),
            }
            tokio::select! {
                // Lagged: what is remembered is looked up anyway.
                _ = changes.recv() => {}
                () = &mut queued, if !settled => settled = true,
                () = store.wait_idle(id), if busy => {}
                () = tokio::time::sleep(RETRY_PAUSE), if unreachable.is_some() => {}
                () = self.context.common.tasks.closed().cancelled() => return Err(Error::Closed { operation: "wait" }),
            }
            if unreachable.is_some() {
                unreachable = reconciler.ensure_fresh_or_remembered(id).await.map_err(failed)?;
            }
        }
    }

    /// Asks for the page, unless it has just answered.
    async fn look_again(&self, id: &PreviewId) -> Result<(), Error> {
        let Some(run) = self.context.store().current_run(id) else { return Ok(()) };
        tokio::select! {
            () = self.context.common.page.probe(&run) => Ok(()),
            () = self.context.common.tasks.closed().cancelled() => Err(Error::Closed { operation: "wait" }),
        }
    }

    async fn not_ready(&self, id: &PreviewId, timeout: Duration, stages: Stages) -> Error {
        let store = self.context.store();
        let last_lines = match store.workload(id) {
            Some(workload) => self.context.reconciler.read_ending(id, &workload).await.last_lines,
            None => Vec::new(),
        };
        let last = store.preview(id, None).map(Box::new);
        Error::NotReady { preview: id.clone(), timeout, stages: stages.all(), last_lines, last }
    }
}

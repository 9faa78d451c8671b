//! Ready: waits until a preview is, and ends at once when it cannot become it any more.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Inner, PreviewService};
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{Phase, Preview};

/// Before an engine that did not answer is asked again: the one call may have failed, and nothing tells then.
const RECALL: Duration = Duration::from_millis(200);

/// How long to wait, and for what not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Patience {
    /// The longest wait; None: as long as it may become ready.
    pub timeout: Option<Duration>,
    /// Whether a compile error ends the wait: else somebody may be mending it.
    pub fail_on_compile_error: bool,
}

impl PreviewService {
    /// Waits until the preview is ready.
    ///
    /// # Errors
    /// [`Error::PreviewFailed`] when there is no preview, its container ended, or, where that counts, it does not compile.
    /// [`Error::NotReady`] after the time-out.
    pub async fn wait_until_ready(&self, key: &PreviewId, name: &str, patience: Patience) -> Result<Preview, Error> {
        self.inner.keep_warm();
        let mut stages = Stages::new();
        let waiting = self.inner.until_ready(key, name, patience.fail_on_compile_error, &mut stages);
        let Some(timeout) = patience.timeout else { return waiting.await };
        match tokio::time::timeout(timeout, waiting).await {
            Ok(result) => result,
            Err(_) => Err(self.inner.not_ready(key, timeout, stages).await),
        }
    }
}

/// How long the preview was in each phase, in the order in which it came into them.
struct Stages {
    told: Vec<(Phase, Duration)>,
    current: Option<(Phase, Instant)>,
}

impl Stages {
    fn new() -> Self {
        Self { told: Vec::new(), current: None }
    }

    fn come_into(&mut self, phase: Option<Phase>) {
        if self.current.map(|(current, _)| current) == phase {
            return;
        }
        let now = Instant::now();
        if let Some((phase, since)) = self.current.take() {
            let spent = now - since;
            match self.told.iter_mut().find(|(known, _)| *known == phase) {
                Some((_, known)) => *known += spent,
                None => self.told.push((phase, spent)),
            }
        }
        self.current = phase.map(|phase| (phase, now));
    }

    fn all(mut self) -> Vec<(Phase, Duration)> {
        self.come_into(None);
        self.told
    }
}

impl Inner {
    async fn until_ready(
        self: &Arc<Self>,
        key: &PreviewId,
        name: &str,
        fail_on_compile_error: bool,
        stages: &mut Stages,
    ) -> Result<Preview, Error> {
        // Subscribed before the first look: no change is missed.
        let mut changes = self.registry.subscribe();
        let failed = |source| Error::engine("wait", Some(key), source);
        let mut unreachable = self.recall_what_can_be(key, name).await.map_err(failed)?;
        loop {
            let preview = self.registry.preview(key, unreachable.as_ref());
            stages.come_into(preview.as_ref().map(|preview| preview.phase));
            let busy = self.registry.is_busy(key);
            match preview {
                Some(preview) if preview.phase == Phase::Ready => return Ok(preview),
                // Something is queued or being done: what it makes of it comes.
                _ if busy => {}
                Some(preview) => {
                    let ended = matches!(preview.phase, Phase::Exited | Phase::OomKilled) && !preview.running;
                    let broken = fail_on_compile_error && preview.phase == Phase::CompileError;
                    if ended || broken {
                        return Err(Error::failed(key, Some(preview)));
                    }
                }
                None => return Err(Error::failed(key, None)),
            }
            tokio::select! {
                // Lagged: what is remembered is looked at anyway.
                _ = changes.recv() => {}
                () = self.registry.idle(key), if busy => {}
                () = tokio::time::sleep(RECALL), if unreachable.is_some() => {}
                () = self.closed.cancelled() => return Err(Error::Closed { operation: "wait" }),
            }
            if unreachable.is_some() {
                unreachable = self.recall_what_can_be(key, name).await.map_err(failed)?;
            }
        }
    }

    async fn not_ready(&self, key: &PreviewId, timeout: Duration, stages: Stages) -> Error {
        let last = self.registry.preview(key, None);
        let last_lines = match self.registry.container(key) {
            Some(container) => self.read_end(&container).await.last_lines,
            None => Vec::new(),
        };
        Error::NotReady { preview: key.clone(), timeout, stages: stages.all(), last_lines, last: last.map(Box::new) }
    }
}

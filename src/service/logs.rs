//! Logs: a preview's output, line by line, over restarts of its container.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;

use super::context::{Context, POLL};
use super::log_queue::{LineJoiner, LogReader, LogWriter, open};
use crate::engine::{EngineError, LogStart, Silence, Workload};
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::Phase;
use crate::sync::START_TOLERANCE;

/// After the log stream broke.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
/// After the end of a container's output: somebody else may be restarting it.
const RESTART_TIMEOUT: Duration = Duration::from_millis(350);
/// How long the next of the last lines of a container that ended may take: a busy engine first reads all that it keeps.
const LAST_LINES_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the next of the lines that are there may take.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);

/// See the module.
pub(super) struct Logs {
    context: Arc<Context>,
}

impl Logs {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    pub(super) fn call(&self, id: &PreviewId, follow: bool, tail: Option<u32>) -> LogReader {
        self.context.reconciler.listen();
        let (reader, writer) = open();
        let (context, id) = (Arc::clone(&self.context), id.clone());
        self.context.common.tasks.spawn(async move {
            let reading = Reading { context: &context, id: &id, writer: &writer, joiner: LineJoiner::default() };
            let end = tokio::select! {
                end = reading.run(follow, tail) => end,
                () = writer.left().cancelled() => Ok(()),
                () = context.common.tasks.closed().cancelled() => Err(Error::Closed { operation: "logs" }),
            };
            writer.finish(end);
        });
        reader
    }
}

/// One reader's stream.
struct Reading<'a> {
    context: &'a Context,
    id: &'a PreviewId,
    writer: &'a LogWriter,
    joiner: LineJoiner,
}

impl Reading<'_> {
    async fn run(mut self, follow: bool, tail: Option<u32>) -> Result<(), Error> {
        let (context, id) = (self.context, self.id);
        let failed = |source| Error::engine("logs", Some(id), source);
        let found = context.engine.inspect(&context.store().name(id)).await.map_err(failed)?;
        let found = found.filter(|workload| context.ownership.check(id, workload).is_ok());
        let Some(mut workload) = found else {
            return Err(Error::NoPreview { operation: "logs", preview: id.clone() });
        };
        let mut start = LogStart { since: None, tail };
        loop {
            let broke = self.read_run(&workload, start, follow, (!follow).then_some(IDLE_TIMEOUT)).await;
            if !follow {
                self.joiner.finish(self.writer);
                return broke.map_or(Ok(()), |source| Err(failed(source)));
            }
            // An engine that keeps no output says so, before any came.
            if let (Some(source @ EngineError::Refused(_)), None) = (&broke, self.joiner.last()) {
                return Err(failed(source.clone()));
            }
            // Just after the last entry that was read; before any was read, from where it began.
            if let Some(last) = self.joiner.last() {
                start = LogStart::at(last + Duration::from_nanos(1));
            }
            let Some(next) = self.next_run(&workload).await.map_err(failed)? else {
                self.read_last_lines(&workload, start).await;
                self.joiner.finish(self.writer);
                return Ok(());
            };
            if next.run == workload.run {
                // The stream broke, and may break again.
                tokio::time::sleep(REOPEN_PAUSE).await;
            } else {
                self.joiner.finish(self.writer);
                // With `tail` it would begin with what this run has printed by then.
                if let (None, Some(started)) = (self.joiner.last(), next.started_at()) {
                    start = LogStart::at(started - START_TOLERANCE);
                }
            }
            workload = next;
        }
    }

    /// Reads what came after a stream had ended. Engine 20.10 may end one before the last line, where that has no end of its
    /// own, and a busy engine takes in what a container printed after it tells of its end.
    async fn read_last_lines(&mut self, workload: &Workload, mut start: LogStart) {
        loop {
            let before = self.joiner.last();
            let _whatever_it_ended_with = self.read_run(workload, start, false, Some(LAST_LINES_TIMEOUT)).await;
            match self.joiner.last() {
                Some(last) if self.joiner.last() > before => start = LogStart::at(last + Duration::from_nanos(1)),
                _ => return,
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Reads until the stream ends, or says nothing for `idle` (None: as long as a stream of an engine may); what it broke with, if it did.
    async fn read_run(
        &mut self,
        workload: &Workload,
        start: LogStart,
        follow: bool,
        idle: Option<Duration>,
    ) -> Option<EngineError> {
        let mut chunks = self.context.engine.logs(&workload.run, start, follow);
        let mut silence = Silence::default();
        loop {
            match tokio::time::timeout(idle.unwrap_or_else(|| silence.longest()), chunks.next()).await {
                Ok(Some(Ok(chunk))) if chunk.bytes.is_empty() => {}
                Ok(Some(Ok(chunk))) => {
                    silence.heard(&chunk);
                    self.joiner.chunk(&chunk, self.writer);
                    self.writer.relax().await;
                }
                Ok(Some(Err(EngineError::NotFound(_))) | None) | Err(_) => return None,
                Ok(Some(Err(error))) => return Some(error),
            }
        }
    }

    /// The container if it runs (again): a stream also ends when the engine restarts, or when the container does.
    async fn next_run(&self, ended: &Workload) -> Result<Option<Workload>, EngineError> {
        let began = Instant::now();
        loop {
            match self.context.engine.inspect(&ended.id).await {
                Ok(Some(workload)) if workload.is_running() => return Ok(Some(workload)),
                Ok(None) => return Ok(None),
                Ok(Some(_)) => {
                    let restarting = self.context.store().operation(self.id) == Some(Phase::Starting);
                    if !restarting && began.elapsed() > RESTART_TIMEOUT {
                        return Ok(None);
                    }
                }
                // The engine is away: the stream goes on when it is back, and ends when it does not come.
                Err(EngineError::Unreachable(_)) if began.elapsed() < self.context.settings().engine_timeout => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

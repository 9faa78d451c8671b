//! Logs: a preview's output, line by line. It is always read as fast as it comes, and a reader that is too slow loses
//! lines with a mark: one that held the stream up would hold up the engine (moby#35835), and one that kept everything
//! would grow without bound.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::monitor::{EARLY, END_PATIENCE, REFOLLOW};
use super::{Inner, PreviewService, lock};
use crate::engine::{Container, LogChunk, LogStart};
use crate::error::{EngineError, Error};
use crate::id::PreviewId;
use crate::preview::Phase;
use crate::readiness::{LineSplitter, without_passwords};

/// What one reader may be behind.
const MAX_BYTES: usize = 256 * 1024;
/// What a line costs beside its text.
const LINE_BYTES: usize = 64;
/// Lines that are handed over at once.
const BATCH: usize = 512;
/// A reader that took something so recently is waited for, a little, before it loses lines.
const AWAKE: Duration = Duration::from_secs(1);
const CROWDED_PATIENCE: Duration = Duration::from_millis(200);
/// After the end of a container's output: somebody else may be restarting it.
const RESTART_PATIENCE: Duration = Duration::from_millis(350);
const RESTART_POLL: Duration = Duration::from_millis(50);
/// A stream that was silent for so long is opened anew, from where it was.
const IDLE: Duration = Duration::from_secs(120);

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// From nowhere: it tells how many lines were lost here, because the reader was too slow.
    Gap,
}

impl LogStream {
    /// The name as users see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Gap => "gap",
        }
    }

    /// Every name.
    pub const ALL: [Self; 3] = [Self::Stdout, Self::Stderr, Self::Gap];
}

/// One line of output, without its end and without escape sequences. The Python model `LogLine` has the same fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where it came from.
    pub stream: LogStream,
    /// Its text.
    pub text: String,
    /// When the engine received its beginning.
    pub timestamp: SystemTime,
}

/// A reader's end. Dropping it closes the engine's stream.
pub struct LogReader {
    queue: Arc<Queue>,
    reading: CancellationToken,
}

impl Drop for LogReader {
    fn drop(&mut self) {
        self.close();
    }
}

impl LogReader {
    /// Whether it has come to its end and all was read.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let lines = lock(&self.queue.lines);
        lines.waiting.is_empty() && lines.lost == 0 && matches!(lines.end, Some(Ok(())))
    }

    /// Closes the engine's stream; what waits can still be read.
    pub fn close(&self) {
        self.reading.cancel();
    }

    /// The next lines; None at the end.
    ///
    /// # Errors
    /// What the engine failed with.
    pub async fn next(&self) -> Option<Result<Vec<LogLine>, Error>> {
        loop {
            let arrived = self.queue.arrived.notified();
            {
                let mut lines = lock(&self.queue.lines);
                let batch = lines.take();
                if !batch.is_empty() {
                    self.queue.drained.notify_one();
                    return Some(Ok(batch));
                }
                if let Some(end) = lines.end.take() {
                    lines.end = Some(Ok(()));
                    // For whoever else waits.
                    self.queue.arrived.notify_one();
                    return end.err().map(Err);
                }
            }
            arrived.await;
        }
    }
}

#[derive(Default)]
struct Queue {
    lines: Mutex<Lines>,
    arrived: Notify,
    drained: Notify,
}

impl Queue {
    /// Gives a reader that is awake the time to take what waits.
    async fn relax(&self) {
        let crowded = {
            let lines = lock(&self.lines);
            lines.bytes > MAX_BYTES / 2 && lines.taken.elapsed() < AWAKE
        };
        if crowded {
            drop(tokio::time::timeout(CROWDED_PATIENCE, self.drained.notified()).await);
        }
    }
}

struct Lines {
    waiting: VecDeque<LogLine>,
    bytes: usize,
    /// When the reader last took something.
    taken: Instant,
    /// Lines that were lost before the first that waits.
    lost: u64,
    end: Option<Result<(), Error>>,
}

impl Default for Lines {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, taken: Instant::now(), lost: 0, end: None }
    }
}

impl Lines {
    fn push(&mut self, line: LogLine) {
        self.bytes += line.text.len() + LINE_BYTES;
        self.waiting.push_back(line);
        while self.bytes > MAX_BYTES
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.bytes -= oldest.text.len() + LINE_BYTES;
            self.lost += 1;
        }
    }

    fn take(&mut self) -> Vec<LogLine> {
        self.taken = Instant::now();
        let count = self.waiting.len().min(BATCH);
        let mut batch = Vec::with_capacity(count + 1);
        if self.lost > 0 {
            let timestamp = self.waiting.front().map_or_else(SystemTime::now, |line| line.timestamp);
            let text = format!("{} lines were lost here: the reader was too slow", std::mem::take(&mut self.lost));
            batch.push(LogLine { stream: LogStream::Gap, text, timestamp });
        }
        batch.extend(self.waiting.drain(..count));
        self.bytes -= batch.iter().filter(|line| line.stream != LogStream::Gap).map(cost).sum::<usize>();
        batch
    }
}

fn cost(line: &LogLine) -> usize {
    line.text.len() + LINE_BYTES
}

impl PreviewService {
    /// A preview's output: the last `tail` lines (None: all that the engine has), and with `follow` what comes, also over
    /// restarts of the container, until it ends or is removed.
    #[must_use]
    pub fn logs(&self, key: &PreviewId, name: &str, follow: bool, tail: Option<u32>) -> LogReader {
        self.inner.keep_warm();
        let queue = Arc::new(Queue::default());
        let reading = CancellationToken::new();
        let (inner, key, name) = (Arc::clone(&self.inner), key.clone(), name.to_owned());
        let (sink, stop) = (Arc::clone(&queue), reading.clone());
        self.inner.tasks.spawn(async move {
            let end = tokio::select! {
                end = inner.read_logs(&key, &name, follow, tail, &sink) => end,
                () = stop.cancelled() => Ok(()),
                () = inner.closed.cancelled() => Err(Error::Closed { operation: "logs" }),
            };
            lock(&sink.lines).end = Some(end);
            sink.arrived.notify_one();
        });
        LogReader { queue, reading }
    }
}

/// Joins chunks into lines. A line has the time of its first chunk.
#[derive(Default)]
struct Joiner {
    splitters: [LineSplitter; 2],
    begun: [Option<SystemTime>; 2],
    last: Option<SystemTime>,
}

impl Joiner {
    fn chunk(&mut self, chunk: &LogChunk, queue: &Queue) {
        let stream = usize::from(chunk.stderr);
        let at = chunk.at.unwrap_or_else(SystemTime::now);
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        let begun = self.begun[stream].take().unwrap_or(at);
        let lines = self.splitters[stream].push(&chunk.bytes);
        if !chunk.bytes.ends_with(b"\n") {
            self.begun[stream] = Some(if lines.is_empty() { begun } else { at });
        }
        let mut timestamp = begun;
        push(queue, lines.into_iter().map(|text| (text, std::mem::replace(&mut timestamp, at))), stream);
    }

    /// The streams are over, or broke: what stands without an end is a line, too.
    fn finish(&mut self, queue: &Queue) {
        for stream in 0..2 {
            let at = self.begun[stream].take().or(self.last).unwrap_or_else(SystemTime::now);
            push(queue, self.splitters[stream].finish().into_iter().map(|text| (text, at)), stream);
        }
    }
}

fn push(queue: &Queue, lines: impl Iterator<Item = (String, SystemTime)>, stream: usize) {
    let stream = if stream == 1 { LogStream::Stderr } else { LogStream::Stdout };
    let mut waiting = lock(&queue.lines);
    let before = waiting.waiting.len();
    for (text, timestamp) in lines {
        waiting.push(LogLine { stream, text: without_passwords(&text), timestamp });
    }
    if waiting.waiting.len() != before || waiting.lost > 0 {
        queue.arrived.notify_one();
    }
}

impl Inner {
    async fn read_logs(
        self: &Arc<Self>,
        key: &PreviewId,
        name: &str,
        follow: bool,
        tail: Option<u32>,
        queue: &Queue,
    ) -> Result<(), Error> {
        let failed = |source| Error::engine("logs", Some(key), source);
        let found = self.engine.inspect(name).await.map_err(failed)?;
        let found = found.filter(|container| self.check_ours(key, container).is_ok());
        let Some(mut container) = found else {
            return Err(Error::NoPreview { operation: "logs", preview: key.clone() });
        };
        let mut joiner = Joiner::default();
        let mut start = LogStart { since: None, tail };
        loop {
            let broke = self.read_run(&container, start, follow, &mut joiner, queue).await;
            if !follow {
                joiner.finish(queue);
                return broke.map_or(Ok(()), |source| Err(failed(source)));
            }
            // An engine that keeps no output says so, before any came.
            if let (Some(source @ EngineError::Refused(_)), None) = (&broke, joiner.last) {
                return Err(failed(source.clone()));
            }
            // Just after the last entry that was read; before any was read, from where it began.
            if let Some(last) = joiner.last {
                start = LogStart::at(last + Duration::from_nanos(1));
            }
            let Some(next) = self.next_run(key, &container).await.map_err(failed)? else {
                // Engine 20.10 may end a stream before the last line, where that has no end of its own.
                let last_words = self.read_run(&container, start, false, &mut joiner, queue);
                drop(tokio::time::timeout(END_PATIENCE, last_words).await);
                joiner.finish(queue);
                return Ok(());
            };
            if next.started_at == container.started_at {
                // The stream broke, and may break again.
                tokio::time::sleep(REFOLLOW).await;
            } else {
                joiner.finish(queue);
                // With `tail` it would begin with what this run has printed by then.
                if let (None, Some(started)) = (joiner.last, next.started_at) {
                    start = LogStart::at(started - EARLY);
                }
            }
            container = next;
        }
    }

    /// Reads until the stream ends; what it broke with, if it did.
    async fn read_run(
        &self,
        container: &Container,
        start: LogStart,
        follow: bool,
        joiner: &mut Joiner,
        queue: &Queue,
    ) -> Option<EngineError> {
        let mut chunks = self.engine.logs(&container.id, start, follow);
        loop {
            match tokio::time::timeout(IDLE, chunks.next()).await {
                Ok(Some(Ok(chunk))) => {
                    joiner.chunk(&chunk, queue);
                    queue.relax().await;
                }
                Ok(Some(Err(EngineError::NotFound(_))) | None) | Err(_) => return None,
                Ok(Some(Err(error))) => return Some(error),
            }
        }
    }

    /// The container if it runs (again): a stream also ends when the engine restarts, or when the container does.
    async fn next_run(&self, key: &PreviewId, ended: &Container) -> Result<Option<Container>, EngineError> {
        let began = Instant::now();
        loop {
            match self.engine.inspect(&ended.id).await {
                Ok(Some(container)) if container.is_running() => return Ok(Some(container)),
                Ok(None) => return Ok(None),
                Ok(Some(_)) => {
                    let restarting = self.registry.doing_now(key) == Some(Phase::Starting);
                    if !restarting && began.elapsed() > RESTART_PATIENCE {
                        return Ok(None);
                    }
                }
                // The engine is away: the stream goes on when it is back, and ends when it does not come.
                Err(EngineError::Unreachable(_)) if began.elapsed() < self.settings.engine_timeout => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(RESTART_POLL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(text: &str, second: u64, stderr: bool) -> LogChunk {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        LogChunk { stderr, at: Some(at), bytes: text.as_bytes().to_vec() }
    }

    fn seconds(line: &LogLine) -> u64 {
        line.timestamp.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    #[test]
    fn chunks_become_lines_with_the_time_of_their_beginning() {
        let (queue, mut joiner) = (Queue::default(), Joiner::default());
        joiner.chunk(&chunk("one\ntw", 1, false), &queue);
        joiner.chunk(&chunk("err\n", 2, true), &queue);
        joiner.chunk(&chunk("o\nthree", 3, false), &queue);
        joiner.finish(&queue);
        let lines = lock(&queue.lines).take();
        let told: Vec<_> = lines.iter().map(|line| (line.stream.as_str(), line.text.as_str(), seconds(line))).collect();
        assert_eq!(told, [("stdout", "one", 1), ("stderr", "err", 2), ("stdout", "two", 1), ("stdout", "three", 3)]);
    }

    #[test]
    fn a_slow_reader_gets_a_mark_where_lines_were_lost() {
        let (queue, mut joiner) = (Queue::default(), Joiner::default());
        for number in 0..10_000 {
            joiner.chunk(&chunk(&format!("line {number}\n"), number, false), &queue);
        }
        let mut lines = Vec::new();
        loop {
            let batch = lock(&queue.lines).take();
            if batch.is_empty() {
                break;
            }
            lines.extend(batch);
        }
        assert_eq!(lines[0].stream, LogStream::Gap);
        let lost = 10_000 - (lines.len() - 1);
        assert_eq!(lines[0].text, format!("{lost} lines were lost here: the reader was too slow"));
        assert_eq!(lines[1].text, format!("line {lost}"));
        assert_eq!(lines.last().map(|line| line.text.as_str()), Some("line 9999"));
        assert_eq!(lock(&queue.lines).bytes, 0);
    }
}

//! Lines of output between the task that reads the engine's stream and a reader. The stream is always read as fast as it
//! comes, and a reader that is too slow loses lines with a mark: one that held the stream up would hold up the engine
//! (moby#35835), and one that kept everything would grow without bound.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::LogChunk;
use crate::error::Error;
use crate::lock::lock;
use crate::preview::{LogLine, LogSource};
use crate::readiness::{LineSplitter, without_passwords};

/// Bytes that one reader may be behind.
const MAX_BYTES: usize = 256 * 1024;
/// What a line costs beside its text.
const LINE_BYTES: usize = 64;
/// Lines that are handed over at once.
const BATCH: usize = 512;
/// A reader that took something so recently is waited for, a little, before it loses lines.
const AWAKE: Duration = Duration::from_secs(1);
const CROWDED_TIMEOUT: Duration = Duration::from_millis(200);

/// A queue of lines: the reader's end, and the writer's.
pub(crate) fn open() -> (LogReader, LogWriter) {
    let (queue, reading) = (Arc::new(Queue::default()), CancellationToken::new());
    (LogReader { queue: Arc::clone(&queue), reading: reading.clone() }, LogWriter { queue, reading })
}

/// The writer's end.
pub(crate) struct LogWriter {
    queue: Arc<Queue>,
    reading: CancellationToken,
}

impl LogWriter {
    /// Is cancelled when the reader has left.
    pub(crate) fn left(&self) -> &CancellationToken {
        &self.reading
    }

    /// Ends the lines; with an error, the reader gets it after the last of them.
    pub(crate) fn finish(&self, end: Result<(), Error>) {
        lock(&self.queue.lines).end = Some(end);
        self.queue.arrived.notify_one();
    }

    /// Gives a reader that is awake the time to take what waits.
    pub(crate) async fn relax(&self) {
        let crowded = {
            let lines = lock(&self.queue.lines);
            lines.bytes > MAX_BYTES / 2 && lines.taken.elapsed() < AWAKE
        };
        if crowded {
            drop(tokio::time::timeout(CROWDED_TIMEOUT, self.queue.drained.notified()).await);
        }
    }

    fn push(&self, lines: impl Iterator<Item = (String, SystemTime)>, stream: usize) {
        let stream = if stream == 1 { LogSource::Stderr } else { LogSource::Stdout };
        let mut waiting = lock(&self.queue.lines);
        let before = waiting.waiting.len();
        for (text, timestamp) in lines {
            waiting.push(LogLine { stream, text: without_passwords(&text), timestamp });
        }
        if waiting.waiting.len() != before || waiting.lost > 0 {
            self.queue.arrived.notify_one();
        }
    }
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
            batch.push(LogLine { stream: LogSource::Gap, text, timestamp });
        }
        batch.extend(self.waiting.drain(..count));
        self.bytes -= batch.iter().filter(|line| line.stream != LogSource::Gap).map(cost).sum::<usize>();
        batch
    }
}

fn cost(line: &LogLine) -> usize {
    line.text.len() + LINE_BYTES
}

/// Joins chunks into lines. A line has the time of its first chunk.
#[derive(Default)]
pub(crate) struct LineJoiner {
    splitters: [LineSplitter; 2],
    begun: [Option<SystemTime>; 2],
    last: Option<SystemTime>,
}

impl LineJoiner {
    pub(crate) fn chunk(&mut self, chunk: &LogChunk, writer: &LogWriter) {
        let stream = usize::from(chunk.stderr);
        let at = chunk.at.unwrap_or_else(SystemTime::now);
        self.last = Some(self.last.map_or(at, |last| last.max(at)));
        let begun = self.begun[stream].take().unwrap_or(at);
        let lines = self.splitters[stream].push(&chunk.bytes);
        if !chunk.bytes.ends_with(b"\n") {
            self.begun[stream] = Some(if lines.is_empty() { begun } else { at });
        }
        let mut timestamp = begun;
        writer.push(lines.into_iter().map(|text| (text, std::mem::replace(&mut timestamp, at))), stream);
    }

    /// When the last chunk came, None before the first.
    pub(crate) fn last(&self) -> Option<SystemTime> {
        self.last
    }

    /// The streams are over, or broke: what stands without an end is a line, too.
    pub(crate) fn finish(&mut self, writer: &LogWriter) {
        for stream in 0..2 {
            let at = self.begun[stream].take().or(self.last).unwrap_or_else(SystemTime::now);
            writer.push(self.splitters[stream].finish().into_iter().map(|text| (text, at)), stream);
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
        let ((reader, writer), mut joiner) = (open(), LineJoiner::default());
        joiner.chunk(&chunk("one\ntw", 1, false), &writer);
        joiner.chunk(&chunk("err\n", 2, true), &writer);
        joiner.chunk(&chunk("o\nthree", 3, false), &writer);
        joiner.finish(&writer);
        let lines = lock(&reader.queue.lines).take();
        let told: Vec<_> = lines.iter().map(|line| (line.stream.as_str(), line.text.as_str(), seconds(line))).collect();
        assert_eq!(told, [("stdout", "one", 1), ("stderr", "err", 2), ("stdout", "two", 1), ("stdout", "three", 3)]);
    }

    #[test]
    fn a_slow_reader_gets_a_mark_where_lines_were_lost() {
        let ((reader, writer), mut joiner) = (open(), LineJoiner::default());
        for number in 0..10_000 {
            joiner.chunk(&chunk(&format!("line {number}\n"), number, false), &writer);
        }
        let mut lines = Vec::new();
        loop {
            let batch = lock(&reader.queue.lines).take();
            if batch.is_empty() {
                break;
            }
            lines.extend(batch);
        }
        assert_eq!(lines[0].stream, LogSource::Gap);
        let lost = 10_000 - (lines.len() - 1);
        assert_eq!(lines[0].text, format!("{lost} lines were lost here: the reader was too slow"));
        assert_eq!(lines[1].text, format!("line {lost}"));
        assert_eq!(lines.last().map(|line| line.text.as_str()), Some("line 9999"));
        assert_eq!(lock(&reader.queue.lines).bytes, 0);
    }
}

//! What an engine tells piece by piece: output, events, the progress of a pull.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use futures_util::stream::BoxStream;

use super::error::EngineError;

/// A workload's output.
pub type LogChunks = BoxStream<'static, Result<LogChunk, EngineError>>;

/// A piece of a workload's output, split anywhere.
#[derive(Debug, Clone)]
pub struct LogChunk {
    /// Whether it came from stderr.
    pub stderr: bool,
    /// When the engine received it.
    pub at: Option<SystemTime>,
    /// The bytes; none: a sign of life.
    pub bytes: Vec<u8>,
}

/// From where to read a workload's output; by default all of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogStart {
    /// From this moment on.
    pub since: Option<SystemTime>,
    /// Of that, the last lines only.
    pub tail: Option<u32>,
}

impl LogStart {
    /// From this moment on.
    #[must_use]
    pub fn at(since: SystemTime) -> Self {
        Self { since: Some(since), tail: None }
    }
}

/// A stream that was silent for so long is opened anew: some engines send no end of it (moby#37630).
const LONGEST_SILENCE: Duration = Duration::from_secs(120);
/// So long where the output may have been rotated.
const SILENCE_AFTER_ROTATION: Duration = Duration::from_secs(2);
/// A stream with fewer bytes has not seen two rotations.
const ROTATED_BYTES: usize = 256 << 10;

/// How long a stream of output may be silent before it is opened anew. Engine 20.10 sends nothing more to a reader whose
/// place in the output was rotated away.
#[derive(Debug, Default)]
pub struct Silence {
    read: usize,
}

impl Silence {
    /// A chunk came.
    pub fn heard(&mut self, chunk: &LogChunk) {
        self.read = self.read.saturating_add(chunk.bytes.len());
    }

    /// The longest silence that is waited for.
    #[must_use]
    pub fn longest(&self) -> Duration {
        if self.read < ROTATED_BYTES { LONGEST_SILENCE } else { SILENCE_AFTER_ROTATION }
    }
}

/// Something that happened to a workload. A hint: only an inspect decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    /// The workload's id.
    pub workload_id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: HashMap<String, String>,
    /// What happened.
    pub change: Change,
    /// When, as the engine's clock says.
    pub at: SystemTime,
}

/// What an [`EngineEvent`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A process of it was killed for memory.
    Oom,
    /// Somebody sent it a signal.
    Signalled,
    /// It was removed.
    Removed,
    /// Its state changed otherwise.
    Other,
}

/// A step of a pull. The Python model `PullProgress` has the same fields.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PullProgress {
    /// The layer, where it is about one.
    pub layer: Option<String>,
    /// What is being done, in the engine's words.
    pub status: String,
    /// Bytes done.
    pub current: Option<u64>,
    /// Bytes in all.
    pub total: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_that_saw_much_output_may_be_silent_for_a_short_time_only() {
        let mut silence = Silence::default();
        let chunk = LogChunk { stderr: false, at: None, bytes: vec![0; ROTATED_BYTES - 1] };
        silence.heard(&chunk);
        assert_eq!(silence.longest(), LONGEST_SILENCE);
        silence.heard(&chunk);
        assert_eq!(silence.longest(), SILENCE_AFTER_ROTATION);
    }
}

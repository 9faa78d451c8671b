//! What an engine tells piece by piece: output, events, the progress of a pull.

use std::collections::HashMap;
use std::time::SystemTime;

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
    /// The bytes.
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

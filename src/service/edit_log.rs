//! What a dev server has printed since an edit: whether it took the edit in, and what it made of it.

use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use tokio::time::Instant;

use crate::engine::{Engine, LogChunks, LogStart, RunId};
use crate::preview::CompileError;
use crate::readiness::{Classifier, ClearedBy, Patterns, Signal};

/// When output about an error has been quiet for so long, it is taken to be whole.
const REPORT_PAUSE: Duration = Duration::from_millis(100);
/// Updates and errors that are kept.
const MAX_KEPT: usize = 20;
/// Lines that are read of what was printed since the edit.
const MAX_LINES: u32 = 2_000;

/// See the module.
pub(super) struct EditLog {
    chunks: LogChunks,
    classifier: Classifier,
    ended: bool,
    /// A build, an update or an error was printed.
    pub(super) is_taken_in: bool,
    /// Something was built.
    pub(super) is_built: bool,
    /// The paths of the modules that Vite sent an update of.
    pub(super) updated: Vec<String>,
    /// The errors.
    pub(super) errors: Vec<CompileError>,
}

impl EditLog {
    /// From this moment on, by the engine's clock.
    pub(super) fn since(engine: &dyn Engine, run: &RunId, since: SystemTime, patterns: Patterns) -> Self {
        Self {
            chunks: engine.logs(run, LogStart { tail: Some(MAX_LINES), ..LogStart::at(since) }, true),
            classifier: Classifier::new(patterns),
            ended: false,
            is_taken_in: false,
            is_built: false,
            updated: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Reads until the edit was taken in, the output ends, or `until`.
    pub(super) async fn wait_taken_in(&mut self, until: Instant) {
        while !self.is_taken_in && !self.ended {
            if !self.read(until).await {
                return;
            }
        }
    }

    /// Reads all that comes until then.
    pub(super) async fn read_until(&mut self, until: Instant) {
        while !self.ended && self.read(until).await {}
        self.flush();
    }

    /// Reads a piece of output; tells whether one came in time.
    async fn read(&mut self, until: Instant) -> bool {
        let until = if self.classifier.is_open() { until.min(Instant::now() + REPORT_PAUSE) } else { until };
        let chunk = match tokio::time::timeout_at(until, self.chunks.next()).await {
            Ok(Some(Ok(chunk))) => chunk,
            // Its container ended, or the stream broke: nothing more is known of the edit.
            Ok(None | Some(Err(_))) => {
                self.ended = true;
                return false;
            }
            Err(_) => {
                let was_open = self.classifier.is_open();
                self.flush();
                return was_open;
            }
        };
        let signals = self.classifier.read(chunk.stderr, &chunk.bytes);
        self.take(signals);
        true
    }

    fn flush(&mut self) {
        let signals = self.classifier.rest();
        self.take(signals);
    }

    fn take(&mut self, signals: Vec<Signal>) {
        for signal in signals {
            match signal {
                Signal::Compiled | Signal::Rebuilt => self.is_built = true,
                Signal::Compiling | Signal::Checked(_) | Signal::Failed(_) => {}
                Signal::Updated(path) => {
                    if let Some(path) = path.filter(|path| path.starts_with('/') && self.updated.len() < MAX_KEPT)
                        && !self.updated.contains(&path)
                    {
                        self.updated.push(path);
                    }
                }
                // Any app prints exceptions that it caught.
                Signal::Error(_, ClearedBy::Unconfirmed) => continue,
                Signal::Error(error, _) => {
                    if self.errors.len() < MAX_KEPT {
                        self.errors.push(error);
                    }
                }
                // An answer may be to a request from before, and the rest says nothing of an edit.
                _ => continue,
            }
            self.is_taken_in = true;
        }
    }
}

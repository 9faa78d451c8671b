//! Follows a container's output, for as long as it runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use tokio::time::Instant;

use super::edits::Edits;
use super::page::PageProbe;
use super::project::Project;
use crate::engine::{Engine, EngineError, LogChunk, LogStart, Silence, Workload};
use crate::id::PreviewId;
use crate::readiness::{Classifier, LineSplitter, Patterns, Readiness, Signal, telling_line, without_passwords};
use crate::settings::Settings;
use crate::state::{Ending, Run, Store};

/// The engine notes the start after the process ran, so that its first lines seem to be from before.
pub(crate) const START_TOLERANCE: Duration = Duration::from_millis(200);
/// After the log stream broke.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
/// When output about an error has been quiet for so long, it is taken to be whole.
const REPORT_PAUSE: Duration = Duration::from_millis(100);
/// So long a report may take to be printed.
const REPORT_LONGEST: Duration = Duration::from_secs(1);
/// Of what a container printed before this process came to it, so much is read.
const HISTORY_LINES: u32 = 2_000;
/// How long reading that may take.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the output of a container that ended may take to be read before its end is told with what there is.
const ENDING_TIMEOUT: Duration = Duration::from_millis(500);
/// What is kept of the output of a container that ended.
const LAST_LINES: usize = 50;

/// See the module.
pub(crate) struct Monitor {
    engine: Arc<dyn Engine>,
    store: Arc<Store>,
    page: PageProbe,
    patterns: Patterns,
    projects_dir: PathBuf,
    port: u16,
    /// Whether what dev servers pass on of browsers is told.
    browser_errors: bool,
    /// Whether the log tells of answers of the health path: dev servers log those of `/`.
    answers_count: bool,
}

/// Reads chunks of both streams of one run into signals.
struct OutputReader {
    classifier: Classifier,
    last_chunk_at: Option<SystemTime>,
}

impl OutputReader {
    fn chunk(&mut self, chunk: &LogChunk) -> Vec<Signal> {
        self.last_chunk_at = chunk.at.or(self.last_chunk_at);
        self.classifier.read(chunk.stderr, &chunk.bytes)
    }

    /// The output is quiet, or over: what was begun is whole.
    fn flush(&mut self) -> Vec<Signal> {
        self.classifier.rest()
    }

    /// Where to go on: just after the last chunk that was read.
    fn next(&self, started_at: SystemTime) -> LogStart {
        LogStart::at(self.last_chunk_at.map_or(started_at, |last| last + Duration::from_nanos(1)))
    }
}

impl Monitor {
    pub(crate) fn new(engine: Arc<dyn Engine>, store: Arc<Store>, page: PageProbe, settings: &Settings) -> Self {
        Self {
            engine,
            store,
            page,
            // Settings that were validated have patterns that compile.
            patterns: settings.patterns().unwrap_or_default(),
            projects_dir: settings.projects_dir.clone(),
            port: settings.preview_port,
            browser_errors: settings.preview_browser_errors,
            answers_count: settings.preview_health_path == "/",
        }
    }

    /// Follows a run until its container ends.
    pub(crate) async fn follow(&self, id: &PreviewId, run: &Run) {
        let folder = self.projects_dir.join(id.folder());
        let (edits, project) = (Edits::of(folder.clone()), Project::of(folder));
        tokio::select! {
            () = self.follow_output(id, run, &project) => {}
            () = self.page.keep_asking(run, edits, || self.store.is_watched(id)) => {}
        }
    }

    async fn follow_output(&self, id: &PreviewId, run: &Run, project: &Project) {
        let started_at = run.id().started_at.map_or(SystemTime::UNIX_EPOCH, |started| started - START_TOLERANCE);
        let mut reader = OutputReader { classifier: Classifier::new(self.patterns.clone()), last_chunk_at: None };
        let history = LogStart { tail: Some(HISTORY_LINES), ..LogStart::at(started_at) };
        let read = self.read(id, run, project, &mut reader, history, false);
        // What is not there by then comes with the rest.
        drop(tokio::time::timeout(HISTORY_TIMEOUT, read).await);
        run.modify(|state| state.history_read = true);
        loop {
            let next = reader.next(started_at);
            self.read(id, run, project, &mut reader, next, true).await;
            // A stream ends with its container, and also when the engine restarts.
            if !self.is_running(id, run).await {
                return;
            }
            tokio::time::sleep(REOPEN_PAUSE).await;
        }
    }

    async fn read(
        &self,
        id: &PreviewId,
        run: &Run,
        project: &Project,
        reader: &mut OutputReader,
        start: LogStart,
        follow: bool,
    ) {
        let mut chunks = self.engine.logs(run.id(), start, follow);
        let mut silence = Silence::default();
        let mut open_since = None;
        loop {
            let is_open = reader.classifier.is_open();
            let since = *open_since.get_or_insert_with(Instant::now);
            if !is_open {
                open_since = None;
            } else if since.elapsed() >= REPORT_LONGEST {
                // What else is printed without a pause must not hold it up.
                open_since = None;
                self.record(run, project, reader.flush()).await;
                continue;
            }
            let timeout = if is_open { REPORT_PAUSE } else { silence.longest() };
            match tokio::time::timeout(timeout, chunks.next()).await {
                Ok(Some(Ok(chunk))) if chunk.bytes.is_empty() => {}
                Ok(Some(Ok(chunk))) => {
                    silence.heard(&chunk);
                    self.record(run, project, reader.chunk(&chunk)).await;
                }
                Err(_) if is_open => self.record(run, project, reader.flush()).await,
                Ok(Some(Err(error))) if !matches!(error, EngineError::NotFound(_)) => {
                    log::debug!(target: "kosuke_docker::monitor", "{id}: the log stream broke: {error}");
                    break;
                }
                Ok(None | Some(Err(_))) | Err(_) => break,
            }
        }
        self.record(run, project, reader.flush()).await;
    }

    async fn record(&self, run: &Run, project: &Project, mut signals: Vec<Signal>) {
        if !self.browser_errors {
            signals.retain(|signal| !matches!(signal, Signal::Browser(_)));
        }
        // Most apps log each request, and that tells something only while an error stands in a browser.
        let browser = signals.iter().any(|signal| matches!(signal, Signal::Browser(_))) || run.has_browser_errors();
        signals.retain(|signal| browser || !matches!(signal, Signal::Loaded(_)));
        if signals.is_empty() {
            return;
        }
        // What is not installed is told apart from what is the project's own.
        if signals.iter().any(|signal| matches!(signal, Signal::Error(..))) {
            let names = project.names().await;
            run.modify(|state| state.readiness.know_project(names));
        }
        if signals.contains(&Signal::Refreshed) {
            let edited = project.edited(run.state().browser.all()).await;
            run.modify(|state| state.browser.edited(&edited));
        }
        run.record_signals(project.correct(signals).await, self.answers_count);
    }

    /// While the engine does not answer, the container is taken to run.
    async fn is_running(&self, id: &PreviewId, run: &Run) -> bool {
        let name = self.store.workload(id).map_or_else(|| run.id().task.clone(), |workload| workload.id);
        match self.engine.inspect(&name).await {
            Ok(Some(workload)) => workload.is_running() && workload.run == *run.id(),
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Reads the last output of a container that ended: plain, without the passwords of URLs.
    pub(crate) async fn read_ending(&self, id: &PreviewId, workload: &Workload) -> Ending {
        let project = Project::of(self.projects_dir.join(id.folder()));
        let mut streams: [LineSplitter; 2] = Default::default();
        let (mut lines, mut signals) = (Vec::new(), Vec::new());
        let mut classifier = Classifier::new(self.patterns.clone());
        let since = workload.started_at().map(|started| started - START_TOLERANCE);
        let mut chunks = self.engine.logs(&workload.run, LogStart { since, tail: Some(HISTORY_LINES) }, false);
        let deadline = Instant::now() + ENDING_TIMEOUT;
        let complete = loop {
            match tokio::time::timeout_at(deadline, chunks.next()).await {
                Ok(Some(Ok(chunk))) => {
                    let read = streams[usize::from(chunk.stderr)].push(&chunk.bytes);
                    lines.extend(read.into_iter().map(|line| (chunk.stderr, line)));
                    signals.extend(classifier.read(chunk.stderr, &chunk.bytes));
                }
                Ok(None) => break true,
                Ok(Some(Err(_))) | Err(_) => break false,
            }
        };
        for (stream, splitter) in streams.iter_mut().enumerate() {
            lines.extend(splitter.finish().map(|line| (stream == 1, line)));
        }
        signals.extend(classifier.rest());
        lines.drain(..lines.len().saturating_sub(LAST_LINES));
        let mut readiness = Readiness::default();
        readiness.expect_port(self.port);
        readiness.know_project(project.names().await);
        for signal in project.correct(signals).await {
            readiness.signal(signal);
        }
        readiness.ended();
        let of = |stderr: bool| {
            let lines = lines.iter().filter(move |line| line.0 == stderr);
            lines.map(|line| line.1.as_str()).collect::<Vec<_>>()
        };
        Ending {
            said: telling_line(&of(true), &of(false)),
            last_lines: lines.iter().map(|(_, line)| without_passwords(line)).collect(),
            errors: readiness.errors().to_vec(),
            hint: readiness.hint(),
            complete,
        }
    }
}

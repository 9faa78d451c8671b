//! Follows one container: reads its output into what its watch knows, for as long as it runs.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use super::Inner;
use super::edits::Edits;
use super::registry::End;
use super::watch::Watch;
use crate::engine::{Container, LogChunk, LogStart};
use crate::error::{EngineError, Error};
use crate::preview::PreviewKey;
use crate::probe::ProbeTarget;
use crate::readiness::{Classifier, LineSplitter, Readiness, Signal};

/// After the log stream broke.
pub(super) const REFOLLOW: Duration = Duration::from_secs(1);
/// A stream that was silent for so long is opened anew: some engines send no end of it (moby#37630).
const LOG_IDLE: Duration = Duration::from_secs(120);
/// The engine notes the start after the process ran, so that its first lines seem to be from before.
pub(super) const EARLY: Duration = Duration::from_millis(200);
/// When output about an error has been quiet for so long, it is taken to be whole.
const SETTLE: Duration = Duration::from_millis(100);
/// Of what a container printed before this process came to it, so much is read.
const REPLAY_LINES: u32 = 2_000;
/// How long reading that may take.
const HISTORY_PATIENCE: Duration = Duration::from_secs(2);
/// How long the output of a container that ended may take to be read before its end is told with what there is.
pub(super) const END_PATIENCE: Duration = Duration::from_millis(500);
/// What is kept of the output of a container that ended.
const LAST_LINES: usize = 50;
/// The ticket's phrases: enough alone in the output of a container of a supplied engine.
const PHRASES: [&[u8]; 2] = [b"compiled successfully", b"ready started server"];

/// A container's output.
pub type Chunks = BoxStream<'static, Result<LogChunk, EngineError>>;

/// Reads chunks of both streams into signals, and signals into what the watch knows.
struct Reader {
    classifier: Classifier,
    last: Option<SystemTime>,
    /// Whether the log tells of answers of the health path: dev servers log those of `/`.
    answers_count: bool,
}

impl Reader {
    fn chunk(&mut self, watch: &Watch, chunk: &LogChunk) {
        self.last = chunk.at.or(self.last);
        let mut signals = Vec::new();
        self.classifier.push(chunk.stderr, &chunk.bytes, &mut |signal| signals.push(signal));
        self.tell(watch, signals);
    }

    /// The output is quiet, or over: what was begun is whole.
    fn settle(&mut self, watch: &Watch) {
        let mut signals = Vec::new();
        self.classifier.flush(&mut |signal| signals.push(signal));
        self.tell(watch, signals);
    }

    fn tell(&self, watch: &Watch, signals: Vec<Signal>) {
        if !signals.is_empty() {
            watch.take_in(signals, self.answers_count);
        }
    }

    /// Where to go on: just after the last entry that was read.
    fn next(&self, started_at: SystemTime) -> LogStart {
        LogStart::at(self.last.map_or(started_at, |last| last + Duration::from_nanos(1)))
    }
}

impl Inner {
    /// Where to ask a container of ours (`SEMANTICS` 8). None: no address of it can be reached from here.
    pub(super) async fn target_of(&self, container: &Container) -> Option<ProbeTarget> {
        let bound = self.settings.preview_bind_address;
        let published = container.ports.get(&self.settings.preview_port).copied();
        // A container was just looked up: an engine that fails now leaves the log to decide, not a wrong address.
        let own = self.engine.own_container().await.ok()?.filter(|own| !own.host_network);
        let Some(own) = own else { return Some(self.target_on(self.engine.published_host(bound)?, published?)) };
        let shared = own.networks.keys().find_map(|network| *container.networks.get(network)?);
        if let Some(address) = shared {
            return Some(self.target_on(bracketed(address), self.settings.preview_port));
        }
        // On another network: the host's published port, if it is published where a container can reach it.
        let host = match bound {
            bound if bound.is_unspecified() => own.networks.values().find_map(|gateway| *gateway)?,
            bound if bound.is_loopback() => return None,
            bound => bound,
        };
        Some(self.target_on(bracketed(host), published?))
    }

    /// Where to ask an entry that was put in by hand: its own URL.
    pub(super) fn target_of_url(&self, url: &str) -> Option<ProbeTarget> {
        let authority = url.strip_prefix("http://")?.split('/').next()?;
        let (host, port) = authority.rsplit_once(':')?;
        Some(self.target_on(host.to_owned(), port.parse().ok()?))
    }

    fn target_on(&self, host: String, port: u16) -> ProbeTarget {
        ProbeTarget { host, port, path: self.settings.preview_health_path.clone() }
    }

    /// Follows a container in a task of the service until it ends, `watch` ends, or the service is closed.
    pub(super) fn follow(self: &Arc<Self>, key: PreviewKey, watch: Arc<Watch>) {
        let inner = Arc::clone(self);
        self.tasks.spawn(async move {
            let following = watch.until_end(inner.follow_until_end(&key, &watch));
            inner.closed.run_until_cancelled(following).await;
            // Whoever waits for it to become ready waits for this, too.
            watch.end();
            if !inner.engine.traits().supplied && !inner.closed.is_cancelled() {
                inner.look_soon(&key);
            }
        });
    }

    async fn follow_until_end(&self, key: &PreviewKey, watch: &Watch) {
        if self.engine.traits().supplied {
            let chunks = self.engine.logs(watch.container_id(), LogStart::default(), true);
            self.follow_phrases(key, chunks).await;
            return;
        }
        let edits = Edits::of(self.settings.projects_dir.join(key.folder_name()));
        let (patience, is_heard) = (self.settings.preview_warmup_timeout, || self.registry.is_heard());
        tokio::select! {
            () = self.follow_output(key, watch) => {}
            // Only when there is an address to ask.
            () = watch.drive(&self.probe, patience, edits, self.public_host(), is_heard), if watch.has_target() => {}
        }
    }

    /// The name that people ask under, where a dev server may refuse it: none refuses localhost or an address.
    fn public_host(&self) -> Option<String> {
        let host = &self.settings.preview_public_host;
        let known = host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        (!known).then(|| host.clone())
    }

    async fn follow_output(&self, key: &PreviewKey, watch: &Watch) {
        let started_at = watch.started_at().map_or(SystemTime::UNIX_EPOCH, |started| started - EARLY);
        let mut reader = Reader {
            classifier: Classifier::new(self.patterns.clone()),
            last: None,
            answers_count: self.settings.preview_health_path == "/",
        };
        let history = LogStart { tail: Some(REPLAY_LINES), ..LogStart::at(started_at) };
        let read = self.read(key, watch, &mut reader, history, false);
        // What is not there by then comes with the rest.
        drop(tokio::time::timeout(HISTORY_PATIENCE, read).await);
        watch.modify(|state| state.replayed = true);
        loop {
            let next = reader.next(started_at);
            self.read(key, watch, &mut reader, next, true).await;
            // A stream ends with its container, and also when the engine restarts.
            if !self.is_running(watch).await {
                return;
            }
            tokio::time::sleep(REFOLLOW).await;
        }
    }

    async fn read(&self, key: &PreviewKey, watch: &Watch, reader: &mut Reader, start: LogStart, follow: bool) {
        let mut chunks = self.engine.logs(watch.container_id(), start, follow);
        loop {
            let patience = if reader.classifier.is_open() { SETTLE } else { LOG_IDLE };
            match tokio::time::timeout(patience, chunks.next()).await {
                Ok(Some(Ok(chunk))) => reader.chunk(watch, &chunk),
                Err(_) if patience == SETTLE => reader.settle(watch),
                Ok(Some(Err(error))) if !matches!(error, EngineError::NotFound(_)) => {
                    log::debug!(target: "kosuke_docker::monitor", "{key}: the log stream broke: {error}");
                    break;
                }
                Ok(None | Some(Err(_))) | Err(_) => break,
            }
        }
        reader.settle(watch);
    }

    /// While the engine does not answer, the container is taken to run.
    async fn is_running(&self, watch: &Watch) -> bool {
        match self.engine.inspect(watch.container_id()).await {
            Ok(Some(container)) => container.is_running() && container.started_at == watch.started_at(),
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Reads until a phrase of the ticket stands in a chunk.
    async fn follow_phrases(&self, key: &PreviewKey, mut chunks: Chunks) {
        while let Some(chunk) = chunks.next().await {
            match chunk {
                Ok(chunk) if has_phrase(&chunk.bytes) => return self.registry.complete(key),
                Ok(_) => {}
                Err(error) => {
                    let project = key.project_id;
                    log::error!(target: "kosuke_docker::monitor", "Error monitoring compilation for project {project}: {error}");
                    return;
                }
            }
        }
    }

    /// Reads the last output of a container that ended: plain, without passwords of URLs.
    pub(super) async fn read_end(&self, container: &Container) -> End {
        let mut streams: [LineSplitter; 2] = Default::default();
        let (mut lines, mut readiness) = (Vec::new(), Readiness::default());
        readiness.expect_port(self.settings.preview_port);
        let mut classifier = Classifier::new(self.patterns.clone());
        let since = container.started_at.map(|started| started - EARLY);
        let mut chunks = self.engine.logs(&container.id, LogStart { since, tail: Some(REPLAY_LINES) }, false);
        let deadline = Instant::now() + END_PATIENCE;
        let complete = loop {
            match tokio::time::timeout_at(deadline, chunks.next()).await {
                Ok(Some(Ok(chunk))) => {
                    lines.extend(streams[usize::from(chunk.stderr)].push(&chunk.bytes));
                    classifier.push(chunk.stderr, &chunk.bytes, &mut |signal| _ = readiness.signal(signal));
                }
                Ok(None) => break true,
                Ok(Some(Err(_))) | Err(_) => break false,
            }
        };
        lines.extend(streams.iter_mut().filter_map(LineSplitter::finish));
        classifier.flush(&mut |signal| _ = readiness.signal(signal));
        lines.drain(..lines.len().saturating_sub(LAST_LINES));
        End {
            last_lines: lines.iter().map(|line| crate::readiness::without_passwords(line)).collect(),
            errors: readiness.errors().to_vec(),
            hint: readiness.hint(),
            complete,
        }
    }
}

fn bracketed(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

/// The ticket's phrases anywhere in a chunk: chunks of a supplied engine need not be lines.
fn has_phrase(chunk: &[u8]) -> bool {
    PHRASES.iter().any(|phrase| chunk.windows(phrase.len()).any(|window| window == *phrase))
}

impl super::PreviewService {
    /// Follows the container of this name or id until it compiled or ended.
    ///
    /// # Errors
    /// [`Error::Engine`] and its kin when the container cannot be looked up.
    pub async fn monitor(&self, key: &PreviewKey, name_or_id: &str) -> Result<(), Error> {
        let found = self.inner.engine.inspect(name_or_id).await;
        let found = found.map_err(|source| Error::engine("monitor", Some(key), source))?;
        if let Some(container) = found.filter(Container::is_running) {
            let watch = self.inner.adopt(key, &container).await;
            watch.settled().await;
        }
        Ok(())
    }

    /// Reads the output that Python brings until a phrase of the ticket stands in it. A failure is logged.
    pub async fn monitor_chunks(&self, key: &PreviewKey, chunks: Chunks) {
        self.inner.follow_phrases(key, chunks).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phrases_count_anywhere_in_a_chunk() {
        assert!(has_phrase(b"xx event - compiled successfully yy"));
        assert!(has_phrase(b"ready started server"));
        assert!(!has_phrase(b"compiled  successfully"));
    }
}

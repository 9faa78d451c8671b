//! Follows one container: its output, one warm-up request, and the probe that all callers share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex as StdMutex};
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Inner, lock};
use crate::engine::{Container, LogChunk, LogStart};
use crate::error::{EngineError, Error};
use crate::preview::PreviewKey;
use crate::probe::{Answer, Probe, ProbeTarget};
use crate::readiness::{Classifier, LineSplitter, Readiness, Signal};

/// How often a server that has said nothing yet is tried.
const SILENT_POLL: Duration = Duration::from_millis(500);
/// Pauses after a warm-up that was not answered below 500: this, doubled each time, to the maximum.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// After the log stream broke.
const REFOLLOW: Duration = Duration::from_secs(1);
/// How long a caller waits for the history of a container that this process has not seen before.
const REPLAY_PATIENCE: Duration = Duration::from_secs(2);
/// When output about an error has been quiet this long, it is taken to be whole.
const SETTLE: Duration = Duration::from_millis(100);
const LAST_LINES: u16 = 20;
/// The ticket's phrases: enough alone in the output of a container of a supplied engine.
const PHRASES: [&[u8]; 2] = [b"compiled successfully", b"ready started server"];

/// A container's output.
pub type Chunks = BoxStream<'static, Result<LogChunk, EngineError>>;

/// What is known from following one run of one container.
#[derive(Debug, Clone, Default)]
pub(super) struct WatchState {
    pub(super) readiness: Readiness,
    /// The output up to now has been read.
    pub(super) replayed: bool,
    /// A warm-up request is on its way, to a server that is up.
    pub(super) warming: bool,
    pub(super) last_answer: Option<Answer>,
    pub(super) detail: Option<&'static str>,
}

/// One run of one container. Ends with its token.
pub(super) struct Watch {
    container_id: String,
    started_at: Option<SystemTime>,
    target: Option<ProbeTarget>,
    /// Whether a task reads its output. An entry put in by hand has none.
    followed: bool,
    state: watch::Sender<WatchState>,
    /// The last answer and when it came.
    probed: StdMutex<Option<(Instant, Answer)>>,
    probing: Mutex<()>,
    end: CancellationToken,
}

impl Watch {
    pub(super) fn new(
        container_id: String,
        started_at: Option<SystemTime>,
        target: Option<ProbeTarget>,
        followed: bool,
    ) -> Self {
        let state = watch::Sender::new(WatchState::default());
        Self {
            container_id,
            started_at,
            target,
            followed,
            state,
            probed: StdMutex::default(),
            probing: Mutex::default(),
            end: CancellationToken::new(),
        }
    }

    pub(super) fn is_of(&self, container_id: &str) -> bool {
        self.container_id == container_id
    }

    /// Whether it follows this very run: the same container may be started again.
    pub(super) fn follows(&self, container_id: &str, started_at: Option<SystemTime>) -> bool {
        self.followed && !self.end.is_cancelled() && self.is_of(container_id) && self.started_at == started_at
    }

    pub(super) fn is_followed(&self) -> bool {
        self.followed
    }

    pub(super) fn state(&self) -> WatchState {
        self.state.borrow().clone()
    }

    pub(super) fn end(&self) {
        self.end.cancel();
    }

    /// Waits until the output so far has been read, but not long.
    pub(super) async fn replayed(&self) {
        if self.followed {
            let mut state = self.state.subscribe();
            drop(tokio::time::timeout(REPLAY_PATIENCE, state.wait_for(|state| state.replayed)).await);
        }
    }

    /// Waits until the page compiled or nobody follows the container any more; tells whether it compiled.
    pub(super) async fn settled(&self) -> bool {
        let mut state = self.state.subscribe();
        tokio::select! {
            compiled = state.wait_for(|state| state.readiness.is_complete()) => compiled.is_ok(),
            () = self.end.cancelled() => false,
        }
    }

    /// The log says that it compiled, and nothing else will.
    pub(super) fn complete_by_logs(&self) {
        self.state.send_modify(|state| state.readiness.complete_by_logs());
    }

    /// The shared probe: one request at a time, its answer good for `ttl`, and for all who asked before it came.
    pub(super) async fn probe(&self, probe: &Probe, ttl: Duration, deadline: Duration) -> Option<Answer> {
        let target = self.target.as_ref()?;
        let asked = Instant::now();
        let _one_at_a_time = self.probing.lock().await;
        let known = *lock(&self.probed);
        match known {
            Some((came, answer)) if came >= asked || came.elapsed() < ttl => Some(answer),
            _ => Some(self.ask(probe, target, deadline).await),
        }
    }

    async fn ask(&self, probe: &Probe, target: &ProbeTarget, deadline: Duration) -> Answer {
        let mark = self.state.borrow().readiness.mark();
        let answer = probe.ask(target, deadline).await;
        *lock(&self.probed) = Some((Instant::now(), answer));
        self.state.send_modify(|state| {
            state.last_answer = Some(answer);
            if let Some(status) = answer.status() {
                state.readiness.answer(status, mark);
            }
        });
        answer
    }

    /// Asks until the page has been compiled. The ready line, or any answer, is what a request waits for.
    async fn warm_up(&self, probe: &Probe, deadline: Duration) {
        let Some(target) = &self.target else {
            self.state.send_modify(|state| state.detail = Some("no address for the probe: the log alone decides"));
            return;
        };
        let mut state = self.state.subscribe();
        let mut retry = RETRY_FIRST;
        loop {
            let up = state.borrow_and_update().readiness.is_up();
            if state.borrow().readiness.is_complete() {
                return;
            }
            self.state.send_modify(|state| state.warming = up);
            let answer = self.ask(probe, target, deadline).await;
            self.state.send_modify(|state| state.warming = false);
            match answer {
                Answer::Status(_) if self.state.borrow().readiness.is_complete() => return,
                // Not up when it was asked: again as soon as it says that it is.
                Answer::NoServer if !up => {
                    let said = state.wait_for(|state| state.readiness.is_up());
                    drop(tokio::time::timeout(SILENT_POLL, said).await);
                }
                _ => {
                    let mended = state.wait_for(|state| state.readiness.is_complete());
                    drop(tokio::time::timeout(retry, mended).await);
                    retry = (retry * 2).min(RETRY_MAX);
                }
            }
        }
    }
}

/// Reads chunks of both streams into signals, and signals into the readiness.
struct Reader {
    classifier: Classifier,
    last: Option<SystemTime>,
    logs_decide: bool,
}

impl Reader {
    fn new(logs_decide: bool) -> Self {
        Self { classifier: Classifier::default(), last: None, logs_decide }
    }

    fn chunk(&mut self, state: &watch::Sender<WatchState>, chunk: &LogChunk) {
        self.last = chunk.at.or(self.last);
        let mut signals = Vec::new();
        self.classifier.push(chunk.stderr, &chunk.bytes, &mut |signal| signals.push(signal));
        self.take(state, signals);
    }

    fn settle(&mut self, state: &watch::Sender<WatchState>) {
        let mut signals = Vec::new();
        self.classifier.settle(&mut |signal| signals.push(signal));
        self.take(state, signals);
    }

    fn take(&self, state: &watch::Sender<WatchState>, signals: Vec<Signal>) {
        if !signals.is_empty() {
            state.send_modify(|state| {
                for signal in signals {
                    state.readiness.signal(signal);
                }
                if self.logs_decide {
                    state.readiness.decide_by_logs();
                }
            });
        }
    }

    /// Where to go on: just after the last entry that was read.
    fn next(&self, started_at: SystemTime) -> LogStart {
        LogStart::At(self.last.map_or(started_at, |last| last + Duration::from_nanos(1)))
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
            let (end, closed) = (watch.end.clone(), inner.closed.clone());
            tokio::select! {
                () = inner.follow_until_end(&key, &watch) => {}
                () = end.cancelled() => {}
                () = closed.cancelled() => {}
            }
            watch.end();
        });
    }

    async fn follow_until_end(&self, key: &PreviewKey, watch: &Watch) {
        let supplied = self.engine.traits().supplied;
        if supplied {
            let chunks = self.engine.logs(&watch.container_id, LogStart::At(SystemTime::UNIX_EPOCH), true);
            self.follow_phrases(key, chunks).await;
            return;
        }
        let warm = watch.warm_up(&self.probe, self.settings.preview_warmup_timeout);
        tokio::join!(
            async {
                self.follow_output(key, watch).await;
                self.registry.remove_watch(key, watch);
                // The warm-up asks a server that is gone: the token ends it.
                watch.end();
            },
            warm
        );
    }

    async fn follow_output(&self, key: &PreviewKey, watch: &Watch) {
        let started_at = watch.started_at.unwrap_or(SystemTime::UNIX_EPOCH);
        let mut reader = Reader::new(watch.target.is_none());
        for follow in [false, true] {
            self.read(key, watch, &mut reader, started_at, follow).await;
            watch.state.send_modify(|state| state.replayed = true);
        }
        // A stream ends with its container, and also when the engine restarts.
        while self.is_running(watch).await {
            tokio::time::sleep(REFOLLOW).await;
            self.read(key, watch, &mut reader, started_at, true).await;
        }
    }

    async fn read(&self, key: &PreviewKey, watch: &Watch, reader: &mut Reader, started_at: SystemTime, follow: bool) {
        let mut chunks = self.engine.logs(&watch.container_id, reader.next(started_at), follow);
        loop {
            let next = if reader.classifier.is_open() {
                let Ok(next) = tokio::time::timeout(SETTLE, chunks.next()).await else {
                    reader.settle(&watch.state);
                    continue;
                };
                next
            } else {
                chunks.next().await
            };
            match next {
                Some(Ok(chunk)) => reader.chunk(&watch.state, &chunk),
                Some(Err(EngineError::NotFound(_))) | None => break,
                Some(Err(error)) => {
                    log::debug!(target: "kosuke_docker::monitor", "{key}: the log stream broke: {error}");
                    break;
                }
            }
        }
        reader.settle(&watch.state);
    }

    /// While the engine does not answer, the container is taken to run.
    async fn is_running(&self, watch: &Watch) -> bool {
        match self.engine.inspect(&watch.container_id).await {
            Ok(Some(container)) => container.is_running() && container.started_at == watch.started_at,
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

    /// The last lines of a container's output, plain, without passwords of database URLs.
    pub(super) async fn last_lines(&self, container_id: &str) -> Vec<String> {
        let mut streams: [LineSplitter; 2] = Default::default();
        let mut lines = Vec::new();
        let mut chunks = self.engine.logs(container_id, LogStart::Tail(LAST_LINES), false);
        let read = async {
            while let Some(Ok(chunk)) = chunks.next().await {
                lines.extend(streams[usize::from(chunk.stderr)].push(&chunk.bytes));
            }
        };
        drop(tokio::time::timeout(self.settings.engine_timeout, read).await);
        lines.extend(streams.iter_mut().filter_map(LineSplitter::finish));
        let keep = lines.len().saturating_sub(usize::from(LAST_LINES));
        lines.drain(..keep);
        lines.iter().map(|line| crate::readiness::without_passwords(line)).collect()
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

//! What following one run of one container has taught, and the requests that find out more.

use std::sync::Mutex as StdMutex;
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::edits::Edits;
use super::lock;
use crate::preview::Phase;
use crate::probe::{Answer, Probe, ProbeTarget};
use crate::readiness::{Problem, Readiness, Signal};

/// How often a server that has said nothing yet is tried.
const SILENT_POLL: Duration = Duration::from_millis(500);
/// Pauses after a request that was not answered as hoped: this, doubled each time, to the maximum.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether anybody listens.
const LISTENERS: Duration = Duration::from_secs(1);
/// How long after it begins to follow a container callers wait for its history and its first answer.
const INTRODUCTION: Duration = Duration::from_secs(1);

/// What is known from following one run of one container.
#[derive(Debug, Clone, Default)]
pub(super) struct WatchState {
    pub(super) readiness: Readiness,
    /// The output up to now has been read.
    pub(super) replayed: bool,
    /// A warm-up request is on its way, to a server that is up.
    pub(super) warming: bool,
    pub(super) last_answer: Option<Answer>,
    /// When the page had first been compiled and answered, as far as this process knows.
    pub(super) ready_at: Option<SystemTime>,
    /// No address of it can be reached from here.
    pub(super) logs_decide: bool,
    /// OOM kills that were heard of, and how many a good answer to a later request has shown to be overcome.
    ooms: u32,
    overcome: u32,
}

impl WatchState {
    pub(super) fn phase(&self) -> Phase {
        if self.is_maimed() {
            Phase::OomKilled
        } else if self.readiness.has_error() {
            Phase::CompileError
        } else if self.readiness.is_complete() {
            match self.last_answer {
                Some(Answer::NoServer | Answer::TooLate) => Phase::Unresponsive,
                _ => Phase::Ready,
            }
        } else if self.readiness.is_up() {
            Phase::Compiling
        } else {
            Phase::Starting
        }
    }

    /// Nothing has to be found out by a request.
    fn is_settled(&self) -> bool {
        self.readiness.is_complete() && !self.is_maimed()
    }

    /// A process was killed for memory, and no good answer came since.
    fn is_maimed(&self) -> bool {
        self.ooms > self.overcome
    }
}

/// One run of one container. Ends with its token.
pub(super) struct Watch {
    container_id: String,
    started_at: Option<SystemTime>,
    target: Option<ProbeTarget>,
    made: Instant,
    /// Hears of every change. None: nobody reads the container's output, as for an entry that was put in by hand.
    changed: Option<Box<dyn Fn() + Send + Sync>>,
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
        port: u16,
        changed: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let watch = Self { started_at, changed: Some(Box::new(changed)), ..Self::unfollowed(container_id, target) };
        watch.state.send_modify(|state| state.readiness.expect_port(port));
        watch
    }

    /// For an entry that was put in by hand.
    pub(super) fn unfollowed(container_id: String, target: Option<ProbeTarget>) -> Self {
        let state = WatchState { logs_decide: target.is_none(), ..WatchState::default() };
        Self {
            container_id,
            started_at: None,
            target,
            made: Instant::now(),
            changed: None,
            state: watch::Sender::new(state),
            probed: StdMutex::default(),
            probing: Mutex::default(),
            end: CancellationToken::new(),
        }
    }

    pub(super) fn container_id(&self) -> &str {
        &self.container_id
    }

    pub(super) fn started_at(&self) -> Option<SystemTime> {
        self.started_at
    }

    pub(super) fn has_target(&self) -> bool {
        self.target.is_some()
    }

    pub(super) fn is_of(&self, container_id: &str) -> bool {
        self.container_id == container_id
    }

    /// Whether it follows this very run: the same container may be started again.
    pub(super) fn follows(&self, container_id: &str, started_at: Option<SystemTime>) -> bool {
        self.is_followed() && !self.end.is_cancelled() && self.is_of(container_id) && self.started_at == started_at
    }

    pub(super) fn is_followed(&self) -> bool {
        self.changed.is_some()
    }

    pub(super) fn state(&self) -> WatchState {
        self.state.borrow().clone()
    }

    /// Changes the state; whoever waits for it and whoever subscribed hears of it.
    pub(super) fn modify(&self, change: impl FnOnce(&mut WatchState)) {
        self.state.send_modify(|state| {
            change(state);
            if state.ready_at.is_none() && state.readiness.is_complete() {
                state.ready_at = Some(SystemTime::now());
            }
        });
        if let Some(changed) = &self.changed {
            changed();
        }
    }

    pub(super) fn end(&self) {
        self.end.cancel();
    }

    /// Runs until it ends or the watch does.
    pub(super) async fn until_end(&self, work: impl Future<Output = ()>) {
        self.end.run_until_cancelled(work).await;
    }

    /// A process of the container was killed for memory.
    pub(super) fn oom(&self) {
        self.modify(|state| state.ooms += 1);
    }

    /// Takes in what the output said. `answers_count`: what it says of answers is of the health path.
    pub(super) fn take_in(&self, signals: Vec<Signal>, answers_count: bool) {
        let answered = answers_count && signals.contains(&Signal::Answered);
        if answered {
            *lock(&self.probed) = Some((Instant::now(), Answer::Status(200)));
        }
        self.modify(|state| {
            for signal in signals {
                state.readiness.signal(signal);
            }
            if answered && state.replayed {
                state.last_answer = Some(Answer::Status(200));
            }
            if state.logs_decide {
                state.readiness.decide_by_logs();
            }
        });
    }

    /// Waits until the output so far has been read and a server that is up has been asked, but not long: what a caller
    /// learns of a container that this process has not seen before.
    pub(super) async fn introduced(&self) {
        if self.is_followed() {
            let mut state = self.state.subscribe();
            let known = state.wait_for(|state| {
                let asked = state.last_answer.is_some() || state.readiness.is_complete() || state.logs_decide;
                state.replayed && (asked || !state.readiness.is_up())
            });
            drop(tokio::time::timeout_at(self.made + INTRODUCTION, known).await);
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
        self.modify(|state| state.readiness.complete_by_logs());
    }

    /// The shared probe: one request at a time, its answer good for `ttl`, and for all who asked before it came.
    pub(super) async fn probe(&self, probe: &Probe, ttl: Duration, deadline: Duration) {
        let Some(target) = &self.target else { return };
        let asked = Instant::now();
        let _one_at_a_time = self.probing.lock().await;
        let known = *lock(&self.probed);
        match known {
            Some((came, _)) if came >= asked || came.elapsed() < ttl => {}
            _ => drop(self.ask(probe, target, deadline).await),
        }
    }

    async fn ask(&self, probe: &Probe, target: &ProbeTarget, deadline: Duration) -> Answer {
        let (mark, ooms) = {
            let state = self.state.borrow();
            (state.readiness.mark(), state.ooms)
        };
        let answer = probe.ask(target, deadline).await;
        *lock(&self.probed) = Some((Instant::now(), answer));
        self.modify(|state| {
            state.last_answer = Some(answer);
            if answer.is_good() {
                state.overcome = ooms;
            }
            if let Some(status) = answer.status() {
                state.readiness.answer(status, mark);
            }
        });
        answer
    }

    /// Asks for a broken module, on stacks that answer the page with 200 all the same.
    async fn ask_module(&self, probe: &Probe, target: &ProbeTarget, path: String, deadline: Duration) -> Answer {
        let mark = self.state.borrow().readiness.mark();
        let answer = probe.ask(&ProbeTarget { path, ..target.clone() }, deadline).await;
        if let Some(status) = answer.status() {
            self.modify(|state| state.readiness.module_answer(status, mark));
        }
        answer
    }

    /// Asks while the log and the events do not tell: until the page has been compiled, and again when errors stand and
    /// a file of the project changed, or after an OOM.
    /// `public_host`: under which name people ask, where that is one that a server may refuse. `is_heard`: whether anybody
    /// wants to hear of changes, so that an edit that breaks the page is looked for, too: some servers say nothing of it.
    pub(super) async fn drive(
        &self,
        probe: &Probe,
        deadline: Duration,
        mut edits: Edits,
        public_host: Option<String>,
        is_heard: impl Fn() -> bool,
    ) {
        let Some(target) = &self.target else { return };
        let mut state = self.state.subscribe();
        let mut unasked_host = public_host;
        let (mut retry, mut unreached) = (RETRY_FIRST, SILENT_POLL);
        loop {
            if state.wait_for(|state| state.replayed).await.is_err() {
                return;
            }
            let (settled, up) = {
                let state = state.borrow_and_update();
                (state.is_settled(), state.readiness.is_up())
            };
            if settled {
                if let Some(host) = unasked_host.take()
                    && probe.refuses_host(target, &host, deadline).await
                {
                    self.modify(|state| _ = state.readiness.signal(Signal::Problem(Problem::RefusedHost(host))));
                }
                retry = RETRY_FIRST;
                // Also while nobody listens: who comes later hears of what was edited meanwhile.
                edits.begin().await;
                let heard = is_heard();
                let unsettled = async { drop(state.wait_for(|state| !state.is_settled()).await) };
                tokio::select! {
                    // What is new came by the log or an event: a request now would find the same.
                    () = unsettled => drop(self.pause(retry, &mut edits).await),
                    () = edits.next(), if heard => drop(self.ask(probe, target, deadline).await),
                    // Somebody may listen by now.
                    () = tokio::time::sleep(LISTENERS), if !heard => {}
                }
                continue;
            }
            self.modify(|state| state.warming = up);
            edits.take_in().await;
            let module = state.borrow().readiness.broken_module().map(str::to_owned);
            let answer = match module {
                Some(path) => self.ask_module(probe, target, path, deadline).await,
                None => self.ask(probe, target, deadline).await,
            };
            self.modify(|state| state.warming = false);
            match answer {
                // Not up when it was asked: again as soon as it says that it is.
                Answer::NoServer if !up => {
                    let said = state.wait_for(|state| state.readiness.is_up());
                    drop(tokio::time::timeout(SILENT_POLL, said).await);
                }
                // Some say that they are up before they are, and a connection that is refused costs them nothing.
                Answer::NoServer => {
                    self.pause(unreached, &mut edits).await;
                    unreached = (unreached * 2).min(RETRY_MAX);
                }
                _ => {
                    let edited = self.pause(retry, &mut edits).await;
                    retry = if edited { RETRY_FIRST } else { (retry * 2).min(RETRY_MAX) };
                    unreached = SILENT_POLL;
                }
            }
        }
    }

    /// Waits for `retry`, until nothing has to be found out any more, or, while errors stand, until a file of the project
    /// was edited; tells whether one was.
    async fn pause(&self, retry: Duration, edits: &mut Edits) -> bool {
        let mut state = self.state.subscribe();
        let errors = state.borrow().readiness.has_error();
        tokio::select! {
            _ = state.wait_for(WatchState::is_settled) => false,
            () = edits.next(), if errors => true,
            () = tokio::time::sleep(retry) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_of_a_running_container() {
        let mut state = WatchState::default();
        assert_eq!(state.phase(), Phase::Starting);
        state.readiness.complete_by_logs();
        assert_eq!(state.phase(), Phase::Ready);
        state.last_answer = Some(Answer::TooLate);
        assert_eq!(state.phase(), Phase::Unresponsive);
        state.last_answer = Some(Answer::Status(500));
        assert_eq!(state.phase(), Phase::Ready);
        state.ooms = 1;
        assert_eq!(state.phase(), Phase::OomKilled);
    }

    #[test]
    fn every_change_is_heard_of() {
        let heard = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counter = std::sync::Arc::clone(&heard);
        let watch = Watch::new("a".into(), None, None, 3000, move || {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        });
        watch.oom();
        watch.complete_by_logs();
        assert_eq!(heard.load(std::sync::atomic::Ordering::Relaxed), 2);
        assert!(watch.state().ready_at.is_some());
    }
}

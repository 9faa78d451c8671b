//! What following one run of a container has taught.

use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::engine::RunId;
use crate::lock::lock;
use crate::preview::{CompileError, Phase};
use crate::probe::{Answer, ProbeTarget};
use crate::readiness::{BrowserErrors, ClearedBy, Readiness, Signal};

/// How long after it began to follow a container callers wait for its history and its first answer.
const FIRST_ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// What is known from following one run.
#[derive(Debug, Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct RunState {
    pub(crate) readiness: Readiness,
    /// What went wrong in browsers that have the page open.
    pub(crate) browser: BrowserErrors,
    /// What was printed before this process came to it has been read.
    pub(crate) history_read: bool,
    /// A warm-up request is on its way, to a server that is up.
    pub(crate) warming_up: bool,
    pub(crate) last_answer: Option<Answer>,
    /// When an error was last told.
    error_at: Option<SystemTime>,
    /// When the page had first been compiled and answered, as far as this process knows.
    pub(crate) ready_at: Option<SystemTime>,
    /// It answered over HTTPS, and not over HTTP.
    pub(crate) https: bool,
    /// No address of it can be reached from here.
    pub(crate) logs_decide: bool,
    /// OOM kills that were heard of, and how many of them a good answer to a later request has shown to be overcome.
    ooms: u32,
    recovered_ooms: u32,
}

impl RunState {
    pub(crate) fn phase(&self) -> Phase {
        if self.has_unrecovered_oom() {
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

    /// Whether this answer tells nothing that is not known: then nobody has to hear of it.
    fn is_as_before(&self, answer: Answer, sent: &SentAt) -> bool {
        let status = answer.status().filter(|_| answer.is_good());
        self.last_answer == Some(answer)
            && self.recovered_ooms == sent.ooms
            && status.is_some_and(|status| self.readiness.is_answered_as_before(status))
    }

    /// Whether no request could find out more.
    pub(crate) fn is_settled(&self) -> bool {
        self.readiness.is_complete() && !self.has_unrecovered_oom()
    }

    /// A process was killed for memory, and no good answer came since.
    fn has_unrecovered_oom(&self) -> bool {
        self.ooms > self.recovered_ooms
    }
}

/// What was known when a request was sent: an answer says nothing of what came later.
pub(crate) struct SentAt {
    mark: u64,
    ooms: u32,
}

type OnChange = Box<dyn Fn() + Send + Sync>;

/// One run of one container. It ends with its token.
pub(crate) struct Run {
    id: RunId,
    target: Option<ProbeTarget>,
    began: Instant,
    /// Is called at every change. None: nobody reads the container's output, as for an entry that was put in by hand.
    on_change: Option<OnChange>,
    state: watch::Sender<RunState>,
    /// The last answer and when it came.
    last_answer: Mutex<Option<(Instant, Answer)>>,
    /// One request for the page at a time.
    pub(crate) probing: tokio::sync::Mutex<()>,
    end: CancellationToken,
}

impl Run {
    /// A run whose output is followed. `port`: the one that the server is expected to listen on.
    pub(crate) fn followed(id: RunId, target: Option<ProbeTarget>, port: u16, on_change: OnChange) -> Self {
        let run = Self { on_change: Some(on_change), ..Self::unfollowed(id, target) };
        run.state.send_modify(|state| state.readiness.expect_port(port));
        run
    }

    /// For an entry that was put in by hand.
    pub(crate) fn unfollowed(id: RunId, target: Option<ProbeTarget>) -> Self {
        let state = RunState { logs_decide: target.is_none(), ..RunState::default() };
        Self {
            id,
            target,
            began: Instant::now(),
            on_change: None,
            state: watch::Sender::new(state),
            last_answer: Mutex::default(),
            probing: tokio::sync::Mutex::default(),
            end: CancellationToken::new(),
        }
    }

    pub(crate) fn id(&self) -> &RunId {
        &self.id
    }

    /// Where the page is asked for; None: it cannot be reached from here.
    pub(crate) fn target(&self) -> Option<&ProbeTarget> {
        self.target.as_ref()
    }

    /// Whether it is this very run, and is followed.
    pub(crate) fn follows(&self, id: &RunId) -> bool {
        self.is_followed() && !self.end.is_cancelled() && self.id == *id
    }

    fn is_followed(&self) -> bool {
        self.on_change.is_some()
    }

    pub(crate) fn state(&self) -> RunState {
        self.state.borrow().clone()
    }

    /// The state, for a moment: nobody can change it meanwhile.
    pub(crate) fn borrow_state(&self) -> watch::Ref<'_, RunState> {
        self.state.borrow()
    }

    /// Whether a request could find out more than the log and the requests that are made anyway.
    pub(crate) fn may_be_asked(&self) -> bool {
        let state = self.state.borrow();
        !state.warming_up && state.readiness.is_up() && !state.readiness.has_error()
    }

    /// Whether an error stands in a browser.
    pub(crate) fn has_browser_errors(&self) -> bool {
        !self.state.borrow().browser.all().is_empty()
    }

    /// The state, to wait for a change of it.
    pub(crate) fn watch_state(&self) -> watch::Receiver<RunState> {
        self.state.subscribe()
    }

    /// Changes the state; whoever waits for it, and every subscriber, hears of it.
    pub(crate) fn modify(&self, change: impl FnOnce(&mut RunState)) {
        self.state.send_modify(|state| {
            change(state);
            if state.ready_at.is_none() && state.readiness.is_complete() {
                state.ready_at = Some(SystemTime::now());
            }
        });
        if let Some(on_change) = &self.on_change {
            on_change();
        }
    }

    /// Nobody follows it any more.
    pub(crate) fn end(&self) {
        self.end.cancel();
    }

    /// Is cancelled when it ended.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.end
    }

    /// A process of the container was killed for memory.
    pub(crate) fn record_oom(&self) {
        self.modify(|state| state.ooms += 1);
    }

    /// Takes in what the output said. `answers_count`: what it says of answers is about the health path.
    pub(crate) fn record_signals(&self, signals: Vec<Signal>, answers_count: bool) {
        let answered = answers_count && signals.contains(&Signal::Answered);
        if answered {
            *lock(&self.last_answer) = Some((Instant::now(), Answer::Status(200)));
        }
        self.modify(|state| {
            for signal in signals {
                match &signal {
                    Signal::Error(_, ClearedBy::Unconfirmed) => {}
                    Signal::Error(..) | Signal::Failed(_) => state.error_at = Some(SystemTime::now()),
                    Signal::Browser(report) => state.browser.told(report.clone(), SystemTime::now()),
                    Signal::Updated(Some(path)) => state.browser.updated(path),
                    Signal::Updated(None) => state.browser.reloaded(),
                    Signal::Loaded(page) => state.browser.loaded(page, SystemTime::now()),
                    _ => {}
                }
                state.readiness.signal(signal);
            }
            if answered && state.history_read {
                state.last_answer = Some(Answer::Status(200));
            }
            if state.logs_decide {
                state.readiness.decide_by_logs();
            }
        });
    }

    /// When an error was last told, where an edit could end one. None: no edit has to be looked into.
    pub(crate) fn awaits_edit(&self) -> Option<SystemTime> {
        let state = self.state.borrow();
        state.readiness.awaits_edit().then_some(state.error_at?)
    }

    /// Files of the project were edited. `is_edited`: whether that concerns an error.
    pub(crate) fn record_edit(&self, is_edited: impl Fn(&CompileError) -> bool) {
        self.modify(|state| state.readiness.edited(is_edited));
    }

    /// What has to be known of a request when its answer comes.
    pub(crate) fn sent_now(&self) -> SentAt {
        let state = self.state.borrow();
        SentAt { mark: state.readiness.mark(), ooms: state.ooms }
    }

    /// Takes in the answer to a request for the page.
    pub(crate) fn record_answer(&self, answer: Answer, sent: &SentAt) {
        *lock(&self.last_answer) = Some((Instant::now(), answer));
        if self.state.borrow().is_as_before(answer, sent) {
            return;
        }
        self.modify(|state| {
            state.last_answer = Some(answer);
            if answer.is_good() {
                state.recovered_ooms = sent.ooms;
            }
            if let Some(status) = answer.status() {
                state.readiness.answer(status, sent.mark);
            }
        });
    }

    /// Takes in the answer to a request for a broken module.
    pub(crate) fn record_module_answer(&self, answer: Answer, sent: &SentAt) {
        if let Some(status) = answer.status() {
            self.modify(|state| state.readiness.module_answer(status, sent.mark));
        }
    }

    /// Whether an answer came after `asked`, or is younger than `ttl`.
    pub(crate) fn has_recent_answer(&self, asked: Instant, ttl: Duration) -> bool {
        lock(&self.last_answer).is_some_and(|(came, _)| came >= asked || came.elapsed() < ttl)
    }

    /// Whether the page was answered so lately.
    pub(crate) fn answered_within(&self, age: Duration) -> bool {
        lock(&self.last_answer).is_some_and(|(came, answer)| answer.status().is_some() && came.elapsed() < age)
    }

    /// Waits until no answer has come for `pause`.
    pub(crate) async fn wait_unanswered(&self, pause: Duration) {
        loop {
            let came = lock(&self.last_answer).map(|(came, _)| came);
            match came.map(|came| pause.saturating_sub(came.elapsed())) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
                _ => return,
            }
        }
    }

    /// Waits until the output so far has been read and a server that is up has been asked, but not long: what a caller
    /// learns of a container that this process has not seen before.
    pub(crate) async fn wait_first_answer(&self) {
        if self.is_followed() {
            let mut state = self.state.subscribe();
            let known = state.wait_for(|state| {
                let asked = state.last_answer.is_some() || state.readiness.is_complete() || state.logs_decide;
                state.history_read && (asked || !state.readiness.is_up())
            });
            drop(tokio::time::timeout_at(self.began + FIRST_ANSWER_TIMEOUT, known).await);
        }
    }

    /// Waits until the page compiled or nobody follows the run any more; tells whether it compiled.
    pub(crate) async fn wait_compiled(&self) -> bool {
        let mut state = self.state.subscribe();
        tokio::select! {
            compiled = state.wait_for(|state| state.readiness.is_complete()) => compiled.is_ok(),
            () = self.end.cancelled() => false,
        }
    }

    /// The log says that it compiled, and nothing else will.
    pub(crate) fn complete_by_logs(&self) {
        self.modify(|state| state.readiness.complete_by_logs());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn phases_of_a_running_container() {
        let mut state = RunState::default();
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

    /// A run, and how often somebody heard of a change.
    fn counted() -> (Run, Arc<AtomicUsize>) {
        let heard = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&heard);
        let count = move || _ = counter.fetch_add(1, Ordering::Relaxed);
        (Run::followed(RunId { task: "a".into(), started_at: None }, None, 3000, Box::new(count)), heard)
    }

    #[test]
    fn every_change_is_heard_of() {
        let (run, heard) = counted();
        run.record_oom();
        run.complete_by_logs();
        assert_eq!(heard.load(Ordering::Relaxed), 2);
        assert!(run.state().ready_at.is_some());
    }

    #[test]
    fn nobody_hears_of_an_answer_that_tells_nothing_new() {
        let (run, heard) = counted();
        let answer = |status| {
            run.record_answer(Answer::Status(status), &run.sent_now());
            heard.swap(0, Ordering::Relaxed)
        };
        assert_eq!([answer(200), answer(200), answer(500), answer(500), answer(200), answer(200)], [1, 0, 1, 1, 1, 0]);
        run.record_oom();
        run.record_answer(Answer::Status(200), &run.sent_now());
        assert_eq!(run.state().phase(), Phase::Ready);
    }

    #[test]
    fn only_a_good_answer_to_a_later_request_overcomes_an_oom() {
        let run = Run::unfollowed(RunId { task: "a".into(), started_at: None }, None);
        run.complete_by_logs();
        let before = run.sent_now();
        run.record_oom();
        run.record_answer(Answer::Status(200), &before);
        assert_eq!(run.state().phase(), Phase::OomKilled);
        run.record_answer(Answer::Status(200), &run.sent_now());
        assert_eq!(run.state().phase(), Phase::Ready);
    }
}

//! The requests for a preview's page: while the log and the events do not tell, they find out more.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::edits::Edits;
use crate::preview::Phase;
use crate::probe::next_sessions::shown;
use crate::probe::{Answer, NextTool, ProbeTarget, Prober};
use crate::readiness::{Problem, Signal};
use crate::settings::Settings;
use crate::state::{Run, RunState};

/// How often a server that has said nothing yet is tried.
const SILENT_POLL: Duration = Duration::from_millis(500);
/// Pauses after a request that was not answered as hoped: this, doubled each time, to the maximum.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// For so long after an edit a server that does not listen is tried often.
const AFTER_EDIT: Duration = Duration::from_secs(10);
/// The output that a request brought about is read a little later than its answer.
const OUTPUT_PAUSE: Duration = Duration::from_millis(250);
/// How long the question what browsers show may take: usually it takes 30 ms.
const BROWSERS_TIMEOUT: Duration = Duration::from_secs(1);
/// The first Next.js that can be asked, and the first that prints it, too.
const FIRST_WITH_TOOLS: (u32, u32) = (16, 0);
const FIRST_THAT_PRINTS: (u32, u32) = (16, 2);
/// Whoever is asked again within this is asked often.
const OFTEN: Duration = Duration::from_secs(1);
/// How often it is looked whether anybody listens.
const LISTENERS_POLL: Duration = Duration::from_secs(1);
/// The least pause between two looks at a page that was ready, in answers: slow pages are asked for less often.
const PAUSE_IN_ANSWERS: u32 = 20;

/// Sends the requests and takes their answers into the run.
#[derive(Clone)]
pub(crate) struct PageProbe {
    prober: Arc<dyn Prober>,
    ttl: Duration,
    timeout: Duration,
    warmup_timeout: Duration,
    /// How often a page that was ready is looked at; zero: never.
    interval: Duration,
    /// Whether what goes wrong in browsers is told.
    browser_errors: bool,
    /// The name that people ask under, where a dev server may refuse it.
    public_name: Option<String>,
}

impl PageProbe {
    pub(crate) fn new(prober: Arc<dyn Prober>, settings: &Settings) -> Self {
        Self {
            prober,
            ttl: settings.preview_probe_ttl,
            timeout: settings.preview_probe_timeout,
            warmup_timeout: settings.preview_warmup_timeout,
            interval: settings.preview_probe_interval,
            browser_errors: settings.preview_browser_errors,
            public_name: public_name(&settings.preview_public_host),
        }
    }

    /// The shared probe: one request at a time, its answer good for its time to live, and for all who asked before it came.
    pub(crate) async fn probe(&self, run: &Run) {
        self.probe_after(run, self.ttl).await;
    }

    /// The same, where an answer is good for `age`.
    async fn probe_after(&self, run: &Run, age: Duration) {
        let Some(target) = run.target() else { return };
        let asked = Instant::now();
        let _one_at_a_time = run.probing.lock().await;
        if !run.has_recent_answer(asked, age) {
            tokio::join!(self.ask(run, target, self.timeout), self.look_into_browsers(run, target));
        }
    }

    /// Asks Next.js what the open pages show: versions that print nothing of it, and otherwise to end what stands. Older ones
    /// take the question for a page, compile and print.
    async fn look_into_browsers(&self, run: &Run, target: &ProbeTarget) {
        let state = run.state();
        let Some(version) = state.readiness.next_version().filter(|version| *version >= FIRST_WITH_TOOLS) else {
            return;
        };
        if !self.browser_errors || version >= FIRST_THAT_PRINTS && state.browser.all().is_empty() {
            return;
        }
        let target = ProbeTarget { https: state.https, ..target.clone() };
        let answer = self.prober.ask_next(&target, NextTool::Errors, self.timeout.min(BROWSERS_TIMEOUT)).await;
        if let Some(shown) = answer.ok().and_then(|answer| shown(&answer)) {
            run.modify(|state| state.browser.shown(shown, SystemTime::now()));
        }
    }

    /// Asks for the page now, whatever was answered before.
    pub(crate) async fn probe_anew(&self, run: &Run) -> Option<Answer> {
        let target = run.target()?;
        let _one_at_a_time = run.probing.lock().await;
        Some(self.ask(run, target, self.warmup_timeout).await)
    }

    /// Whether this target answers with 2xx, asked anew.
    pub(crate) async fn is_healthy(&self, target: &ProbeTarget) -> bool {
        self.prober.ask(target, self.timeout).await.is_good()
    }

    async fn ask(&self, run: &Run, target: &ProbeTarget, timeout: Duration) -> Answer {
        let sent = run.sent_now();
        let answer = Box::pin(self.send(run, target, timeout)).await;
        let may_clear = answer.status().is_some_and(|status| status < 500) && run.state().readiness.has_error();
        if may_clear {
            // Where a broken page is answered all the same, what was printed for this very request tells.
            tokio::time::sleep(OUTPUT_PAUSE).await;
        }
        run.record_answer(answer, &sent);
        answer
    }

    /// Sends one request, over HTTPS where the server speaks that: whoever does not answer over the one is tried over the other.
    async fn send(&self, run: &Run, target: &ProbeTarget, timeout: Duration) -> Answer {
        let https = run.borrow_state().https;
        let keep = run.answered_within(OFTEN);
        let target = ProbeTarget { https, keep, ..target.clone() };
        let answer = self.prober.ask(&target, timeout).await;
        if answer != Answer::NoServer {
            return answer;
        }
        let other = self.prober.ask(&ProbeTarget { https: !https, ..target }, timeout).await;
        if other.status().is_some() {
            run.modify(|state| state.https = !https);
            return other;
        }
        answer
    }

    /// Asks for what a request has to be sent for now: the page, or a broken module on stacks that answer the page with 200
    /// all the same.
    async fn ask_what_is_open(&self, run: &Run, target: &ProbeTarget) -> Answer {
        let Some(path) = run.state().readiness.broken_module().map(str::to_owned) else {
            return self.ask(run, target, self.warmup_timeout).await;
        };
        let sent = run.sent_now();
        let module = ProbeTarget { path, script: true, ..target.clone() };
        let answer = Box::pin(self.send(run, &module, self.warmup_timeout)).await;
        run.record_module_answer(answer, &sent);
        // A server that does not serve modules shows what is broken in its page.
        match answer {
            Answer::Status(200) => answer,
            _ => self.ask(run, target, self.warmup_timeout).await,
        }
    }

    /// Asks until the page has been compiled, and again when errors stand and a file of the project changed, or after an
    /// OOM. `is_heard`: whether anybody wants to hear of changes. Then it is looked for an edit that breaks the page, and
    /// for an app that hangs: some servers say nothing of either. Ends never; without an address it does nothing.
    pub(crate) async fn keep_asking(&self, run: &Run, edits: Edits, is_heard: impl Fn() -> bool) {
        let Some(target) = run.target() else { return std::future::pending().await };
        let mut state = run.watch_state();
        let mut open = Open {
            edits,
            unasked_name: self.public_name.clone(),
            retry: RETRY_FIRST,
            unreached: SILENT_POLL,
            edited: None,
        };
        while state.wait_for(|state| state.history_read).await.is_ok() {
            let (settled, up) = {
                let state = state.borrow_and_update();
                (state.is_settled(), state.readiness.is_up())
            };
            if settled {
                self.wait_unsettled(run, target, &mut open, &is_heard).await;
            } else {
                self.ask_once(run, target, &mut open, up).await;
            }
        }
    }

    /// Nothing is to be found out: waits until there may be.
    async fn wait_unsettled(&self, run: &Run, target: &ProbeTarget, open: &mut Open, is_heard: &impl Fn() -> bool) {
        if let Some(name) = open.unasked_name.take()
            && self.prober.refuses_host(target, &name, self.warmup_timeout).await
        {
            run.modify(|state| _ = state.readiness.signal(Signal::Problem(Problem::RefusedHost(name))));
        }
        open.retry = RETRY_FIRST;
        // Also while nobody listens: who comes later hears of what was edited meanwhile.
        open.edits.begin().await;
        let heard = is_heard();
        let mut state = run.watch_state();
        let unsettled = async { drop(state.wait_for(|state| !state.is_settled()).await) };
        tokio::select! {
            // What is new came by the log or an event: a request now would find the same.
            () = unsettled => drop(open.pause(run, open.retry).await),
            () = open.edits.next(), if heard => {
                open.record_edit(run).await;
                self.ask(run, target, self.warmup_timeout).await;
            }
            () = self.keep_looking(run), if heard && !self.interval.is_zero() => {}
            () = unheard(is_heard), if heard => {}
            // Somebody may listen by now.
            () = tokio::time::sleep(LISTENERS_POLL), if !heard => {}
        }
    }

    /// Looks whether a page that was ready still answers, when nothing has told of an answer for a while. Ends never.
    async fn keep_looking(&self, run: &Run) {
        let (mut pause, mut retry) = (self.interval, RETRY_FIRST);
        loop {
            run.wait_unanswered(pause).await;
            let began = Instant::now();
            self.probe_after(run, pause).await;
            if run.state().phase() == Phase::Unresponsive {
                pause = retry.min(self.interval);
                retry = (retry * 2).min(RETRY_MAX);
            } else {
                pause = self.interval.max(began.elapsed() * PAUSE_IN_ANSWERS);
                retry = RETRY_FIRST;
            }
        }
    }

    /// Sends one request, and waits as long as its answer asks for.
    async fn ask_once(&self, run: &Run, target: &ProbeTarget, open: &mut Open, up: bool) {
        run.modify(|state| state.warming_up = up);
        if run.state().readiness.has_error() {
            // What is edited from now on ends the pause after the answer.
            open.edits.begin().await;
        } else {
            open.edits.mark_seen().await;
        }
        let answer = self.ask_what_is_open(run, target).await;
        run.modify(|state| state.warming_up = false);
        match answer {
            // Not up when it was asked: again as soon as it says that it is.
            Answer::NoServer if !up => {
                let mut state = run.watch_state();
                let said = state.wait_for(|state| state.readiness.is_up());
                drop(tokio::time::timeout(SILENT_POLL, said).await);
            }
            // Some say that they are up before they are, and a connection that is refused costs them nothing.
            Answer::NoServer => {
                // A server that watches its files is away for moments.
                let recent = open.edited.is_some_and(|edited| edited.elapsed() < AFTER_EDIT);
                let pause = if recent { SILENT_POLL } else { open.unreached };
                open.pause(run, pause).await;
                open.unreached = (open.unreached * 2).min(RETRY_MAX);
            }
            _ => {
                let edited = open.pause(run, open.retry).await;
                open.retry = if edited { RETRY_FIRST } else { (open.retry * 2).min(RETRY_MAX) };
                open.unreached = SILENT_POLL;
            }
        }
    }
}

/// Ends when nobody listens any more.
async fn unheard(is_heard: &impl Fn() -> bool) {
    while is_heard() {
        tokio::time::sleep(LISTENERS_POLL).await;
    }
}

/// What one run's requests have come to.
struct Open {
    edits: Edits,
    /// Whether the server refuses this name was not asked yet.
    unasked_name: Option<String>,
    retry: Duration,
    unreached: Duration,
    /// When an edit was last noticed.
    edited: Option<Instant>,
}

impl Open {
    /// Waits for `retry`, until nothing has to be found out any more, or, once the server was up, until a
    /// file of the project was edited; tells whether one was.
    async fn pause(&mut self, run: &Run, retry: Duration) -> bool {
        let mut state = run.watch_state();
        let up = { state.borrow().readiness.is_up() || state.borrow().readiness.has_error() };
        let edited = tokio::select! {
            _ = state.wait_for(RunState::is_settled) => false,
            () = self.edits.next(), if up => true,
            () = tokio::time::sleep(retry) => false,
        };
        if edited {
            self.record_edit(run).await;
        }
        edited
    }

    /// An edit was noticed. What was told of it before it was noticed stays.
    async fn record_edit(&mut self, run: &Run) {
        self.edited = Some(Instant::now());
        self.unreached = SILENT_POLL;
        match run.awaits_edit() {
            Some(told) => {
                let files = self.edits.files().await;
                run.record_edit(|error| files.concerns(error, told));
            }
            None => run.record_edit(|_| false),
        }
    }
}

/// The name that people ask under, where a dev server may refuse it: none refuses localhost or an address.
fn public_name(host: &str) -> Option<String> {
    let known = host == "localhost" || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
    (!known).then(|| host.to_owned())
}

//! Verify: one verdict on the newest edit, with what it rests on. The page is asked for after the edit was taken in, or after
//! the time that this takes where nothing is printed: an answer from before says nothing.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::api::{PageAddress, Verdict, VerdictCheck, VerifyRequest};
use super::check::{LOG_PAUSE, NOTICE_PAUSE, named, validate_path};
use super::context::Context;
use super::edit_log::EditLog;
use super::next_routes::{NextRoutes, Told, target_at};
use super::status::Status;
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{CompileError, ErrorKind, Phase, Preview};
use crate::probe::{Answer, Prober};
use crate::state::Run;
use crate::sync::ProjectFiles;

/// Where nothing has been said by [`NOTICE_PAUSE`], the page is asked for once more: some servers look for edits every second
/// or so.
const SECOND_NOTICE_PAUSE: Duration = Duration::from_millis(1_200);
/// How long an error from before the edit may stand when nothing was printed again: mended modules are asked for then.
const MENDED_PAUSE: Duration = Duration::from_secs(2);
const MENDED_POLL: Duration = Duration::from_millis(50);

/// See the module.
pub(super) struct Verify {
    context: Arc<Context>,
    status: Arc<Status>,
    next: Arc<NextRoutes>,
    prober: Arc<dyn Prober>,
}

/// The edit that a verdict is about.
struct Edit {
    /// When the newest file was changed.
    at: Option<SystemTime>,
    /// The files that were changed last.
    files: Vec<String>,
    /// Whether no file was changed after the moment that was asked about.
    is_none: bool,
    /// Browser errors count from here on.
    since: SystemTime,
}

impl Verify {
    pub(super) fn new(
        context: Arc<Context>,
        status: Arc<Status>,
        next: Arc<NextRoutes>,
        prober: Arc<dyn Prober>,
    ) -> Self {
        Self { context, status, next, prober }
    }

    pub(super) async fn page_address(&self, id: &PreviewId, path: &str) -> Result<PageAddress, Error> {
        validate_path("path", path)?;
        let missing = || Error::NoPreview { operation: "browser", preview: id.clone() };
        let preview = self.status.call(id, None).await?.ok_or_else(missing)?;
        let run = self.context.store().current_run(id).ok_or_else(missing)?;
        let (url, target) = preview.url.zip(run.target()).ok_or_else(missing)?;
        Ok(PageAddress { url, host: target.endpoint.host.clone(), port: target.endpoint.port })
    }

    pub(super) async fn call(&self, id: &PreviewId, request: VerifyRequest) -> Result<Verdict, Error> {
        validate_path("path", &request.path)?;
        let closed = self.context.common.tasks.closed();
        let verdict = closed.run_until_cancelled(self.look(id, request)).await;
        verdict.unwrap_or(Err(Error::Closed { operation: "verify" }))
    }

    async fn look(&self, id: &PreviewId, request: VerifyRequest) -> Result<Verdict, Error> {
        let deadline = Instant::now() + request.timeout;
        let missing = || Error::NoPreview { operation: "verify", preview: id.clone() };
        // Asking for the page now would only bring an answer from before.
        self.context.reconciler.listen();
        let fresh = self.context.reconciler.ensure_fresh_or_remembered(id).await;
        let unreachable = fresh.map_err(|source| Error::engine("verify", Some(id), source))?;
        let preview = self.context.store().preview(id, unreachable.as_ref()).ok_or_else(missing)?;
        let run = self.context.store().current_run(id).filter(|run| run.target().is_some());
        let run = run.filter(|_| unreachable.is_none() && preview.running && preview.phase != Phase::Paused);
        let Some(run) = run else { return Ok(unknown(&preview)) };
        let edit = self.edit(id, request.since, &preview).await;
        let log_start = edit.at.filter(|_| !edit.is_none).unwrap_or(edit.since);
        let patterns = self.context.settings().patterns().unwrap_or_default();
        let mut log = EditLog::since(self.context.engine.as_ref(), run.id(), log_start, patterns);
        let (answer, told) = self.ask_after_notice(&run, &request.path, &edit, &mut log, deadline).await;
        let broken = self.ask_for_updated(&run, &log.updated, deadline).await;
        log.read_until(deadline.min(Instant::now() + LOG_PAUSE)).await;
        // What is broken now has been told: nothing of it is from before.
        let is_told = !log.errors.is_empty()
            || answer.and_then(Answer::status).is_some_and(|status| status >= 500)
            || told.as_ref().is_some_and(|told| told.errors.is_ok());
        let left = if is_told { Instant::now() } else { deadline };
        let mut preview = self.mended(id, &edit, left).await.unwrap_or(preview);
        // What follows the container for the state may read the same output a little later.
        if preview.errors.is_empty() && !log.errors.is_empty() {
            tokio::time::sleep_until(deadline.min(Instant::now() + NOTICE_PAUSE)).await;
            preview = self.context.store().preview(id, None).unwrap_or(preview);
        }
        Ok(verdict(&preview, &edit, &log, &request.path, answer, told, &broken))
    }

    async fn edit(&self, id: &PreviewId, since: Option<SystemTime>, preview: &Preview) -> Edit {
        let files = ProjectFiles::of(self.context.settings().projects_dir.join(id.folder())).await;
        let at = files.newest();
        let since = since.or(at).or(preview.started_at).unwrap_or(SystemTime::UNIX_EPOCH);
        Edit { at, files: files.edited(), is_none: at.is_none_or(|at| at < since), since }
    }

    /// Asks for the page, and Next.js for all routes, once the edit was taken in; and again where nothing tells that it was.
    async fn ask_after_notice(
        &self,
        run: &Run,
        path: &str,
        edit: &Edit,
        log: &mut EditLog,
        deadline: Instant,
    ) -> (Option<Answer>, Option<Told>) {
        let (mut answer, mut told) = (None, None);
        for pause in [NOTICE_PAUSE, SECOND_NOTICE_PAUSE] {
            let age = edit.at.and_then(|at| at.elapsed().ok()).unwrap_or_default();
            let left = if edit.is_none { Duration::ZERO } else { pause.saturating_sub(age) };
            if answer.is_some() && left.is_zero() {
                break;
            }
            log.wait_taken_in(deadline.min(Instant::now() + left)).await;
            answer = tokio::time::timeout_at(deadline, self.ask(run, path)).await.ok().flatten();
            told = tokio::time::timeout_at(deadline, self.next.ask(run, deadline)).await.ok();
            log.wait_taken_in(deadline.min(Instant::now() + LOG_PAUSE)).await;
            let is_bad = answer.and_then(Answer::status).is_none_or(|status| status >= 500);
            if log.is_taken_in || is_bad || told.as_ref().is_some_and(|told| names_edit(told, edit)) {
                break;
            }
        }
        (answer, told)
    }

    /// A fresh request for the page. That of the health path is always sent: its answer ends errors.
    async fn ask(&self, run: &Run, path: &str) -> Option<Answer> {
        let answer = self.context.common.page.probe_anew(run).await;
        if run.target()?.path == path {
            return answer;
        }
        let target = target_at(run, path)?;
        Some(self.prober.ask(&target, self.context.settings().preview_warmup_timeout).await)
    }

    /// Vite compiles a module when a browser asks for it: those that it sent an update of are asked for. Gives the broken
    /// ones.
    async fn ask_for_updated(&self, run: &Run, updated: &[String], deadline: Instant) -> Vec<String> {
        let mut broken = Vec::new();
        for path in updated {
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(target) = target_at(run, path) else { return broken };
            if self.prober.ask(&target, left).await.status().is_some_and(|status| status >= 500) {
                broken.push(path.clone());
            }
        }
        broken
    }

    /// The preview, once no error from before the edit stands any more, or it would by now.
    async fn mended(&self, id: &PreviewId, edit: &Edit, deadline: Instant) -> Option<Preview> {
        let store = self.context.store();
        loop {
            let preview = store.preview(id, None)?;
            let age = edit.at.and_then(|at| at.elapsed().ok()).unwrap_or(MENDED_PAUSE);
            if preview.errors.is_empty() || age >= MENDED_PAUSE || Instant::now() >= deadline {
                return Some(preview);
            }
            tokio::time::sleep(MENDED_POLL).await;
        }
    }
}

/// Nothing can be asked: the container does not run, is paused, or its engine is away.
fn unknown(preview: &Preview) -> Verdict {
    let detail = preview.detail.clone().unwrap_or_else(|| format!("the preview is {}", preview.phase.as_str()));
    let nothing = |name, ok| VerdictCheck { name, ok, detail: detail.clone() };
    let ended = (preview.phase != Phase::EngineUnreachable).then_some(false);
    Verdict {
        checks: vec![
            nothing("taken_in", None),
            nothing("compiles", None),
            nothing("answers", ended),
            nothing("browser_errors", None),
        ],
        errors: preview.errors.clone(),
        browser_errors: Vec::new(),
        edited_at: None,
    }
}

/// Whether an error is in an edited file: the dev server has read it.
fn names_edit(told: &Told, edit: &Edit) -> bool {
    let mut files = told.errors.iter().flatten().filter_map(|error| error.file.as_ref());
    files.any(|file| edit.files.contains(file))
}

fn verdict(
    preview: &Preview,
    edit: &Edit,
    log: &EditLog,
    path: &str,
    answer: Option<Answer>,
    told: Option<Told>,
    broken: &[String],
) -> Verdict {
    let mut errors = preview.errors.clone();
    let is_taken_in = log.is_taken_in || told.as_ref().is_some_and(|told| names_edit(told, edit));
    let compiles = compiles(&mut errors, log, answer, told, broken);
    let browser_errors: Vec<_> =
        preview.browser_errors.iter().filter(|error| error.last_at >= edit.since).cloned().collect();
    let in_browsers = match browser_errors.as_slice() {
        [] => (None, "the dev server told of none, and may not tell of any".to_owned()),
        [first, ..] => (Some(false), format!("{} since the edit, the first: {}", browser_errors.len(), first.message)),
    };
    let check = |name, (ok, detail)| VerdictCheck { name, ok, detail };
    Verdict {
        checks: vec![
            check("taken_in", taken_in(edit, is_taken_in)),
            check("compiles", compiles),
            check("answers", answers(path, answer)),
            check("browser_errors", in_browsers),
        ],
        errors,
        browser_errors,
        edited_at: edit.at,
    }
}

type Finding = (Option<bool>, String);

fn taken_in(edit: &Edit, is_taken_in: bool) -> Finding {
    if edit.is_none {
        return (None, "no file of the project was changed since then".to_owned());
    }
    let files = named(&edit.files);
    if is_taken_in {
        return (Some(true), format!("the dev server said so after the edit of {files}"));
    }
    (None, format!("the dev server said nothing after the edit of {files}; the page was asked for after it"))
}

fn answers(path: &str, answer: Option<Answer>) -> Finding {
    match answer {
        Some(Answer::Status(status)) => (Some(status < 500), format!("{path} answered {status}, asked after the edit")),
        Some(Answer::NoServer) => (Some(false), format!("{path}: nothing listens, or the connection was dropped")),
        Some(Answer::TooLate) | None => (Some(false), format!("{path} did not answer in time")),
    }
}

/// Whether it compiles; takes in the errors of all routes.
fn compiles(
    errors: &mut Vec<CompileError>,
    log: &EditLog,
    answer: Option<Answer>,
    told: Option<Told>,
    broken: &[String],
) -> Finding {
    let is_next = told.as_ref().is_some_and(|told| told.is_next);
    let (of_all, why_not) = match told.map(|told| told.errors) {
        Some(Ok(found)) => (Some(found), String::new()),
        Some(Err(why)) => (None, why),
        None => (None, "no time was left to ask for other routes".to_owned()),
    };
    let is_of_all = of_all.is_some();
    if is_of_all {
        // What is built now counts. An exception while a page is made is no issue of the build: it stands beside.
        errors.retain(|known| known.kind == ErrorKind::Runtime);
    }
    for error in of_all.into_iter().flatten() {
        if !errors.iter().any(|known| (&known.file, known.line) == (&error.file, error.line)) {
            errors.push(error);
        }
    }
    let broken_code: Vec<_> = errors.iter().filter(|error| error.kind != ErrorKind::Runtime).collect();
    if let [first, ..] = broken_code.as_slice() {
        let place = match (&first.file, first.line) {
            (Some(file), Some(line)) => format!("{file}:{line}: "),
            (Some(file), None) => format!("{file}: "),
            _ => String::new(),
        };
        return (Some(false), format!("errors: {}, the first: {place}{}", broken_code.len(), first.message));
    }
    if !broken.is_empty() {
        return (Some(false), format!("broken: {}", broken.join(", ")));
    }
    match answer.and_then(Answer::status) {
        _ if is_of_all => (Some(true), "all routes, as Next.js tells".to_owned()),
        None => (None, "the page did not answer".to_owned()),
        Some(500..) => (None, "the page answers with a server's error, and no compile error was read".to_owned()),
        Some(_) if !log.updated.is_empty() => {
            (Some(true), format!("the page, and the modules that were sent anew: {}", log.updated.join(", ")))
        }
        Some(_) if log.is_built && !is_next => (Some(true), "the dev server built it, and the page answers".to_owned()),
        Some(_) if is_next => (Some(true), format!("the page; {why_not}")),
        Some(_) => (None, "the page answers, and its modules are compiled when a browser asks for them".to_owned()),
    }
}

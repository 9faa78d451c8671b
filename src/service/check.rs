//! Check: what of a project compiles, also what nobody has opened, and what could not be looked at.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::api::{CheckRequest, CheckResult, RouteCheck, Routes};
use super::context::Context;
use super::next_routes::{NextRoutes, target_at};
use super::routes::{compiled, is_dynamic, known};
use super::status::Status;
use super::types;
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{CompileError, ErrorKind, Phase, Preview};
use crate::probe::{Answer, Prober};
use crate::state::Run;
use crate::sync::ProjectFiles;

/// Routes that one check asks for.
const MAX_ASKED: usize = 30;
/// Routes that one sentence names.
const MAX_NAMED: usize = 10;
/// A dev server prints why before it answers; until then the engine has handed that on, and a report is whole.
pub(super) const LOG_PAUSE: Duration = Duration::from_millis(250);
/// So long after an edit a dev server has noticed it, also one that says nothing of that: it looks every few milliseconds.
pub(super) const NOTICE_PAUSE: Duration = Duration::from_millis(500);

/// See the module.
pub(super) struct Check {
    context: Arc<Context>,
    status: Arc<Status>,
    next: Arc<NextRoutes>,
    prober: Arc<dyn Prober>,
}

impl Check {
    pub(super) fn new(
        context: Arc<Context>,
        status: Arc<Status>,
        next: Arc<NextRoutes>,
        prober: Arc<dyn Prober>,
    ) -> Self {
        Self { context, status, next, prober }
    }

    pub(super) async fn call(&self, id: &PreviewId, request: CheckRequest) -> Result<CheckResult, Error> {
        if let Routes::Paths(paths) = &request.routes {
            paths.iter().try_for_each(|path| validate_path("routes", path))?;
        }
        let closed = self.context.common.tasks.closed();
        let looked = closed.run_until_cancelled(self.look(id, request)).await;
        looked.unwrap_or(Err(Error::Closed { operation: "check" }))
    }

    async fn look(&self, id: &PreviewId, request: CheckRequest) -> Result<CheckResult, Error> {
        let deadline = Instant::now() + request.timeout;
        let preview = self.status.call(id, None).await?;
        let preview = preview.ok_or_else(|| Error::NoPreview { operation: "check", preview: id.clone() })?;
        let run = self.context.store().current_run(id).filter(|run| run.target().is_some());
        let Some(run) = run.filter(|_| preview.running && preview.phase != Phase::Paused) else {
            let mut look = Look::new(&preview, deadline);
            look.cannot("routes and types: the preview's container does not run, or cannot be reached from here");
            return Ok(look.result());
        };
        let files = self.noticed(id, deadline).await;
        // What was known before the edit was noticed says nothing of it.
        drop(tokio::time::timeout_at(deadline, self.context.common.page.probe_anew(&run)).await);
        tokio::time::sleep_until(deadline.min(Instant::now() + LOG_PAUSE)).await;
        let preview = self.context.store().preview(id, None).unwrap_or(preview);
        let mut look = Look::new(&preview, deadline);
        self.routes(id, &run, &preview, &request.routes, &files, &mut look).await;
        if request.types {
            self.types(id, &mut look).await;
        } else {
            look.cannot("types: the type checker was not asked for (types=True)");
        }
        Ok(look.result())
    }

    /// The project's files, once the newest edit must have been noticed: an answer from before would tell of what was.
    async fn noticed(&self, id: &PreviewId, deadline: Instant) -> ProjectFiles {
        let files = ProjectFiles::of(self.context.settings().projects_dir.join(id.folder())).await;
        let age = files.newest().and_then(|newest| newest.elapsed().ok()).unwrap_or(NOTICE_PAUSE);
        tokio::time::sleep_until(deadline.min(Instant::now() + NOTICE_PAUSE.saturating_sub(age))).await;
        files
    }

    async fn routes(
        &self,
        id: &PreviewId,
        run: &Run,
        preview: &Preview,
        asked: &Routes,
        files: &ProjectFiles,
        look: &mut Look,
    ) {
        let health_path = &self.context.settings().preview_health_path;
        look.page(health_path, preview);
        let told = self.next.ask(run, look.deadline).await;
        match told.errors {
            Ok(errors) => {
                look.looked("routes: all of them, as Next.js tells (get_compilation_issues)");
                look.told_by_next(told.routes.unwrap_or_default(), errors);
            }
            Err(why) => look.cannot(format!("routes: {why}")),
        }
        let paths = match asked {
            Routes::None => {
                if !look.has_all_routes {
                    look.cannot(format!(
                        "routes: only {health_path} was looked at; each request for another one makes the dev server \
                         compile (routes=\"known\", or a list of paths)"
                    ));
                }
                return;
            }
            Routes::Known if look.has_all_routes => return,
            Routes::Known => {
                if files.is_cut {
                    look.cannot(
                        "routes: the project has too many files, or its folder cannot be read: some may be missing",
                    );
                }
                known(files.paths(), told.is_next)
            }
            Routes::Paths(paths) => paths.clone(),
        };
        self.ask(id, run, told.is_next, paths, look).await;
    }

    /// Asks for routes, one after the other: each makes the dev server compile.
    async fn ask(&self, id: &PreviewId, run: &Run, is_next: bool, paths: Vec<String>, look: &mut Look) {
        let (dynamic, mut plain): (Vec<_>, Vec<_>) = paths.into_iter().partition(|path| is_dynamic(path));
        if !dynamic.is_empty() {
            look.cannot(format!("routes: {}: their parts stand for anything, ask for paths", named(&dynamic)));
        }
        let beyond = plain.split_off(plain.len().min(MAX_ASKED));
        if !beyond.is_empty() {
            look.cannot(format!("routes: {}: one check asks for {MAX_ASKED}", named(&beyond)));
        }
        let (mut answered, mut late) = (Vec::new(), Vec::new());
        for path in plain {
            let left = look.deadline.saturating_duration_since(Instant::now());
            let Some(target) = target_at(run, &path) else { return };
            let answer = if left.is_zero() { Answer::TooLate } else { self.prober.ask(&target, left).await };
            match answer.status() {
                Some(status) => answered.push((path, status)),
                None => late.push(path),
            }
        }
        if !late.is_empty() {
            look.cannot(format!("routes: {}: no answer, or no time left", named(&late)));
        }
        tokio::time::sleep(LOG_PAUSE).await;
        let errors = self.context.store().preview(id, None).map_or_else(Vec::new, |preview| preview.errors);
        if !answered.is_empty() {
            look.looked(format!("routes: {} asked for by a request each", answered.len()));
        }
        look.asked(&answered, errors, is_next);
    }

    async fn types(&self, id: &PreviewId, look: &mut Look) {
        let Some(workload) = self.context.store().workload(id) else {
            return look.cannot("types: the preview's container is gone");
        };
        let left = look.deadline.saturating_duration_since(Instant::now());
        match types::check(self.context.engine.as_ref(), &workload.id, left).await {
            Ok(errors) => {
                look.looked("types: tsc --noEmit, in the container");
                look.result.type_errors = Some(errors);
            }
            Err(why) => look.cannot(why),
        }
    }
}

/// A path of the preview, and nothing that leads elsewhere.
pub(super) fn validate_path(field: &str, path: &str) -> Result<(), Error> {
    let within = path.starts_with('/') && !path.starts_with("//") && !path.starts_with("/\\");
    if within && path.len() <= 2_000 && !path.chars().any(char::is_control) {
        return Ok(());
    }
    let problem = "a path begins with one /, has at most 2000 bytes and no control characters".to_owned();
    Err(Error::InvalidInput { field: field.to_owned(), problem })
}

pub(super) fn named(paths: &[String]) -> String {
    let more = paths.len().saturating_sub(MAX_NAMED);
    let first = paths[..paths.len() - more].join(", ");
    if more > 0 { format!("{first} and {more} more") } else { first }
}

/// What one check has found so far.
struct Look {
    result: CheckResult,
    has_all_routes: bool,
    deadline: Instant,
}

impl Look {
    fn new(preview: &Preview, deadline: Instant) -> Self {
        let mut look = Self {
            result: CheckResult {
                compiled: None,
                routes: Vec::new(),
                errors: preview.errors.clone(),
                type_errors: None,
                browser_errors: preview.browser_errors.clone(),
                looked_at: Vec::new(),
                not_looked_at: Vec::new(),
                as_of: SystemTime::now(),
            },
            has_all_routes: false,
            deadline,
        };
        look.looked("browser errors: what the dev server told of browsers that had the page open");
        look
    }

    fn looked(&mut self, what: impl Into<String>) {
        self.result.looked_at.push(what.into());
    }

    fn cannot(&mut self, why: impl Into<String>) {
        self.result.not_looked_at.push(why.into());
    }

    fn route(&mut self, path: &str, compiled: Option<bool>, status: Option<u16>) {
        match self.result.routes.iter_mut().find(|route| route.path == path) {
            Some(route) => {
                route.status = status.or(route.status);
                route.compiled =
                    if route.compiled == Some(false) { route.compiled } else { compiled.or(route.compiled) };
            }
            None => self.result.routes.push(RouteCheck { path: path.to_owned(), compiled, status }),
        }
    }

    /// What the preview knows of the page that it is asked for anyway.
    fn page(&mut self, path: &str, preview: &Preview) {
        let broken = !preview.errors.is_empty() || preview.http_status.is_some_and(|status| status >= 500);
        let ready = preview.compilation_complete && preview.phase != Phase::Unresponsive;
        let compiled = if broken { Some(false) } else { ready.then_some(true) };
        self.route(path, compiled, preview.http_status);
        if compiled.is_some() {
            self.looked(format!("routes: {path}, which the preview is asked for anyway"));
        } else {
            self.cannot(format!("routes: {path}: it was not compiled yet"));
        }
    }

    fn told_by_next(&mut self, mut routes: Vec<String>, errors: Vec<CompileError>) {
        self.has_all_routes = true;
        // What is built now counts, and not what was printed before.
        self.result.routes.retain(|page| routes.contains(&page.path));
        for page in &mut self.result.routes {
            page.compiled = None;
        }
        routes.sort();
        let told = compiled(&routes, &errors, true);
        if told.contains(&None) {
            self.cannot("routes: which ones use a file that does not compile: Next.js names the file only");
        }
        for (path, compiled) in routes.iter().zip(told) {
            self.route(path, compiled, None);
        }
        // An exception while a page is made is no issue of the build: it stands beside.
        self.result.errors.retain(|known| known.kind == ErrorKind::Runtime);
        self.add_errors(errors);
    }

    fn asked(&mut self, answered: &[(String, u16)], errors: Vec<CompileError>, is_next: bool) {
        let paths: Vec<_> = answered.iter().map(|(path, _)| path.clone()).collect();
        let told = compiled(&paths, &errors, is_next);
        for ((path, status), told) in answered.iter().zip(told) {
            // Some servers answer with 200 while a module of the page is broken.
            let is_compiled = if *status >= 500 { Some(false) } else { told };
            self.route(path, is_compiled, Some(*status));
        }
        self.add_errors(errors);
    }

    fn add_errors(&mut self, errors: Vec<CompileError>) {
        for error in errors {
            let is_same = |known: &CompileError| {
                (&known.file, known.line) == (&error.file, error.line) && known.kind == error.kind
            };
            if !self.result.errors.iter().any(is_same) {
                self.result.errors.push(error);
            }
        }
    }

    fn result(mut self) -> CheckResult {
        let broken = self.result.routes.iter().any(|route| route.compiled == Some(false));
        let types_fail = self.result.type_errors.as_ref().is_some_and(|errors| !errors.is_empty());
        self.result.compiled = if broken || types_fail || !self.result.errors.is_empty() {
            Some(false)
        } else {
            self.result.routes.iter().any(|route| route.compiled == Some(true)).then_some(true)
        };
        self.result.as_of = SystemTime::now();
        self.result
    }
}

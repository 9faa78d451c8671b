//! What the signals and the answers of one container add up to.

use std::collections::VecDeque;

use super::advice::advice;
use super::problem::Problem;
use super::signal::{ClearedBy, Signal};
use super::words::quoted;
use crate::preview::{CompileError, ErrorKind};

/// More errors than this are not kept: a broken project has few, and the first ones tell.
const MAX_ERRORS: usize = 32;

/// The readiness of one run of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Readiness {
    ready: bool,
    answered: bool,
    port: Option<u16>,
    expected_port: Option<u16>,
    problem: Option<Problem>,
    /// What stands, in the order in which it was first printed, and beside it what is known of each.
    errors: Vec<CompileError>,
    clearances: Vec<Clearance>,
    /// Exceptions that nobody marked, the last ones: errors only if the page is then answered with a 500, if the build
    /// fails, or if the process ends.
    unconfirmed: VecDeque<(CompileError, u64)>,
    /// The last build failed: what is told of it stands until a build succeeds.
    build_failed: bool,
    /// The app crashed, and what watches it has not started it again.
    crashed: bool,
    /// Something is being built.
    building: bool,
    /// The task of a runner that is being told of.
    task: usize,
    next: Option<(u32, u32)>,
    /// The names at the top of the project's folder, and what its configuration calls parts of it.
    project: Vec<String>,
    /// Counts what bears on errors: what was printed, and when modules were mended.
    events: u64,
    /// The last event at which a module was mended.
    mended: u64,
    /// Counts compilations: a later one prints anew what still stands.
    round: u64,
    checks: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Clearance {
    cleared_by: ClearedBy,
    /// What its updates call the module.
    path: Option<String>,
    /// The path that it is served at.
    address: Option<String>,
    /// The event at which it was last printed.
    at: u64,
    round: u64,
    checks: u64,
    /// It only says that a build failed. Any error that could be read takes its place.
    summary: bool,
    /// The module is served at another address than its own, or by none.
    unserved: bool,
    /// It is of a build that failed, in no words that tell what ends it: an edit and a good answer do, too.
    loose: bool,
    /// The task of a runner that told of it.
    task: usize,
    /// The event at which what it is about was last seen to be edited.
    edited: u64,
}

impl Readiness {
    /// Says which port the preview is expected on, so that a server on another one is told of.
    pub fn expect_port(&mut self, port: u16) {
        self.expected_port = Some(port);
    }

    /// Takes in a signal; tells whether it was the first sign that the server is up.
    pub fn signal(&mut self, signal: Signal) -> bool {
        let was_up = self.is_up();
        self.supersede_problem(&signal);
        match signal {
            Signal::Ready => (self.ready, self.crashed) = (true, false),
            Signal::Listening(port) => self.listening(port),
            Signal::Compiling => {
                self.building = true;
                self.round += 1;
            }
            Signal::Compiled => {
                (self.ready, self.building) = (true, false);
                self.round += 1;
            }
            Signal::Answered => {
                self.round += 1;
                self.answer(200, self.events);
            }
            Signal::Rebuilt => {
                (self.ready, self.building, self.build_failed) = (true, false, false);
                self.round += 1;
                let task = self.task;
                self.keep(|_, clearance| clearance.cleared_by != ClearedBy::Rebuilt || clearance.task != task);
            }
            Signal::Task(task) => self.task = task,
            Signal::Crashed => {
                self.crashed = true;
                self.confirm(ClearedBy::Answer);
            }
            Signal::Failed(words) => self.failed(words),
            Signal::Next(major, minor) => self.next = Some((major, minor)),
            Signal::Checked(errors) => {
                let checks = self.checks;
                self.keep(|_, clearance| {
                    clearance.cleared_by != ClearedBy::Checked || errors > 0 && clearance.checks == checks
                });
                self.checks += 1;
            }
            Signal::Browser(_) | Signal::Loaded(_) | Signal::Refreshed => {}
            Signal::Updated(path) => self.updated(path.as_deref()),
            // What is told after a build failed is why.
            Signal::Error(error, cleared_by) if self.build_failed && cleared_by.is_of_a_build() => {
                self.error_of(error, ClearedBy::Rebuilt, true);
            }
            // The other stream may tell of the crash first.
            Signal::Error(error, ClearedBy::Unconfirmed) if self.crashed => self.error(error, ClearedBy::Answer),
            Signal::Error(error, ClearedBy::Unconfirmed) => {
                self.events += 1;
                if self.unconfirmed.len() == MAX_ERRORS {
                    self.unconfirmed.pop_front();
                }
                self.unconfirmed.push_back((error, self.events));
            }
            Signal::Error(error, cleared_by) => self.error(error, cleared_by),
            Signal::Problem(problem) => {
                if self.problem.as_ref().is_none_or(|known| known.weight() <= problem.weight()) {
                    self.problem = Some(problem);
                }
            }
        }
        self.is_up() && !was_up
    }

    /// A mark to hand to [`Self::answer`] and [`Self::module_answer`]: what had been printed when the request was sent.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.events
    }

    /// Takes in the status of an answer to a request for the page, sent at `mark`. Below 500 the page was compiled; no
    /// error of the page that was printed before the request stands any more.
    pub fn answer(&mut self, status: u16, mark: u64) {
        if status < 500 {
            (self.ready, self.answered, self.crashed) = (true, true, false);
            let building = self.building;
            let mended = |clearance: &Clearance| clearance.edited > clearance.at && clearance.edited <= mark;
            self.keep(|_, clearance| match clearance.cleared_by {
                ClearedBy::Answer => clearance.at > mark,
                ClearedBy::Edited => !mended(clearance),
                // Some servers have no word for a build that succeeded.
                _ if clearance.unserved || clearance.summary || clearance.loose => building || !mended(clearance),
                _ => true,
            });
            if self.errors.is_empty() {
                self.build_failed = false;
            }
            self.unconfirmed.retain(|(_, at)| *at > mark);
            return;
        }
        (self.ready, self.answered) = (true, false);
        // The page shows what is broken: from now on its good answer tells that nothing is.
        for clearance in self.clearances.iter_mut().filter(|clearance| clearance.cleared_by.is_module()) {
            clearance.cleared_by = ClearedBy::Answer;
        }
        self.confirm(ClearedBy::Answer);
    }

    /// Whether [`Self::answer`] with this status would change nothing.
    #[must_use]
    pub fn is_answered_as_before(&self, status: u16) -> bool {
        let is_settled = self.ready && self.answered && !self.crashed && !self.build_failed;
        status < 500 && is_settled && self.errors.is_empty() && self.unconfirmed.is_empty()
    }

    /// Files of the project were edited: a request that is sent from now on shows what came of it. `is_edited`: whether that
    /// concerns an error.
    pub fn edited(&mut self, is_edited: impl Fn(&CompileError) -> bool) {
        self.events += 1;
        self.crashed = false;
        let event = self.events;
        for (error, clearance) in self.errors.iter().zip(&mut self.clearances) {
            if is_edited(error) {
                clearance.edited = event;
            }
        }
    }

    /// Whether an edit could end one of the errors.
    #[must_use]
    pub fn awaits_edit(&self) -> bool {
        let awaits = |clearance: &Clearance| {
            clearance.cleared_by == ClearedBy::Edited || clearance.unserved || clearance.summary || clearance.loose
        };
        self.clearances.iter().any(awaits)
    }

    /// The process ended. The last exception counts, and none of those that it lived on after.
    pub fn ended(&mut self) {
        self.unconfirmed.drain(..self.unconfirmed.len().saturating_sub(1));
        self.confirm(ClearedBy::Answer);
    }

    /// Exceptions that nobody marked count. One without a place is told only where nothing else is: any program prints
    /// exceptions that it caught.
    fn confirm(&mut self, cleared_by: ClearedBy) {
        let mut bare = None;
        for (error, _) in std::mem::take(&mut self.unconfirmed) {
            if error.file.is_some() {
                self.error(error, cleared_by);
            } else {
                bare = Some(error);
            }
        }
        if let (Some(error), true) = (bare, self.clearances.iter().all(|clearance| clearance.summary)) {
            self.error(error, cleared_by);
        }
    }

    fn failed(&mut self, words: String) {
        (self.build_failed, self.building) = (true, false);
        self.events += 1;
        for clearance in &mut self.clearances {
            if clearance.cleared_by.is_module() {
                (clearance.cleared_by, clearance.loose) = (ClearedBy::Rebuilt, true);
            }
        }
        self.confirm(ClearedBy::Rebuilt);
        if self.errors.is_empty() {
            let error = CompileError {
                file: None,
                line: None,
                column: None,
                raw: words.clone(),
                message: words,
                kind: ErrorKind::Unknown,
            };
            self.error(error, ClearedBy::Rebuilt);
            if let Some(clearance) = self.clearances.last_mut() {
                clearance.summary = true;
            }
        }
    }

    /// A server that came to serve, or to compile, was not stopped by what was said before.
    fn supersede_problem(&mut self, signal: &Signal) {
        let went_on = matches!(
            signal,
            Signal::Ready
                | Signal::Compiling
                | Signal::Compiled
                | Signal::Rebuilt
                | Signal::Answered
                | Signal::Error(..)
        );
        let started = matches!(signal, Signal::Ready);
        let over =
            |problem: &Problem| went_on && problem.keeps_from_starting() || started && problem.ends_with_a_start();
        if self.problem.as_ref().is_some_and(over) {
            self.problem = None;
        }
    }

    /// Takes in the status of an answer to a request for [`Self::broken_module`], sent at `mark`.
    pub fn module_answer(&mut self, status: u16, mark: u64) {
        let Some(asked) = self.broken_module().map(str::to_owned) else { return };
        if status == 404 {
            for clearance in self.clearances.iter_mut().filter(|clearance| clearance.address.as_ref() == Some(&asked)) {
                clearance.unserved = true;
            }
        }
        // A module that was mended meanwhile left another one in its place, which was not asked for.
        if status == 200 && self.mended <= mark {
            self.mend(|clearance| clearance.at <= mark && clearance.address.as_ref() == Some(&asked));
        }
    }

    /// With no address to send a request to, what the log alone says.
    pub fn decide_by_logs(&mut self) {
        self.answered |= self.ready;
    }

    /// Something that was printed says that the page compiled, and no request will.
    pub fn complete_by_logs(&mut self) {
        self.answer(200, self.events);
    }

    /// The server has said, or shown, that it is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.ready || self.answered
    }

    /// An error stands.
    #[must_use]
    pub fn has_error(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The page answered below 500 and no error stands.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.answered && !self.has_error()
    }

    /// The errors that stand, each once.
    #[must_use]
    pub fn errors(&self) -> &[CompileError] {
        &self.errors
    }

    /// The version of Next.js, where the server is that and said so: major and minor.
    #[must_use]
    pub fn next_version(&self) -> Option<(u32, u32)> {
        self.next
    }

    /// Says what the project itself has by name: the entries of its folder, and the aliases of its configuration. No package
    /// is told to be missing that is one of them.
    pub fn know_project(&mut self, names: Vec<String>) {
        self.project = names;
    }

    /// The port that the server says it listens on, if it said.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// What to do about a problem of the environment, in one sentence, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let moved = self.port.zip(self.expected_port).filter(|(port, expected)| port != expected);
        match (&self.problem, moved) {
            (Some(problem), _) => Some(problem.hint(self.port)),
            (None, Some((port, expected))) => Some(format!(
                "The dev server listens on port {port}, the preview expects {expected}: start it with \
                 `--port {expected}`, or set the preview's port to {port}."
            )),
            (None, None) => self.errors.iter().find_map(|error| advice(error, &self.project)),
        }
    }

    /// On stacks that answer the page with 200 while a module is broken, the path of that module: its own answer tells
    /// whether it is mended.
    #[must_use]
    pub fn broken_module(&self) -> Option<&str> {
        let mut broken = self.clearances.iter().filter(|clearance| clearance.cleared_by.is_module());
        broken.find_map(|clearance| clearance.address.as_deref())
    }

    fn listening(&mut self, port: u16) {
        // The lock's holder is told with its own address.
        if self.problem != Some(Problem::AlreadyRunning) {
            self.port = Some(port);
        }
    }

    fn updated(&mut self, path: Option<&str>) {
        self.mend(|clearance| match (path, &clearance.path) {
            // Vite counts from the folder that it runs in, which may be a part of a larger project.
            (Some(path), Some(broken)) => {
                path == broken || clearance.unserved && path.starts_with('/') && broken.ends_with(path)
            }
            // Nuxt says so for a component that is still broken, too.
            (None, Some(_)) => clearance.cleared_by != ClearedBy::Component,
            (_, None) => true,
        });
    }

    fn mend(&mut self, is_mended: impl Fn(&Clearance) -> bool) {
        self.events += 1;
        self.mended = self.events;
        self.keep(|_, clearance| !clearance.cleared_by.is_module() || !is_mended(clearance));
    }

    fn keep(&mut self, stands: impl Fn(&CompileError, &Clearance) -> bool) {
        let known = self.errors.iter().zip(&self.clearances);
        let keep: Vec<bool> = known.map(|(error, clearance)| stands(error, clearance)).collect();
        let (mut errors, mut clearances) = (keep.iter(), keep.iter());
        self.errors.retain(|_| errors.next().is_none_or(|keep| *keep));
        self.clearances.retain(|_| clearances.next().is_none_or(|keep| *keep));
    }

    fn error(&mut self, error: CompileError, cleared_by: ClearedBy) {
        self.error_of(error, cleared_by, false);
    }

    fn error_of(&mut self, error: CompileError, cleared_by: ClearedBy, loose: bool) {
        self.events += 1;
        let (at, round, checks) = (self.events, self.round, self.checks);
        let within = error.file.as_deref().filter(|file| !file.starts_with(['.', '/']));
        let path = within.map(|file| format!("/{file}"));
        let (path, address) = match cleared_by {
            // Scripts are answered with 200 there, broken or not; with one of them broken the page is not.
            ClearedBy::Component => {
                let path = path.filter(|path| path.rsplit('.').next() == Some("vue"));
                let address = path.as_ref().map(|path| format!("/_nuxt{path}"));
                (path, address)
            }
            _ => (path.clone(), path),
        };
        let new = Clearance {
            cleared_by,
            path,
            address,
            at,
            round,
            checks,
            summary: false,
            unserved: false,
            loose,
            task: self.task,
            edited: 0,
        };
        self.keep(|_, clearance| !clearance.summary);
        if let Some(known) = self.errors.iter().position(|known| is_same(known, &error)) {
            let bare = error.file.is_none() && cleared_by == ClearedBy::Answer;
            self.errors[known].take_in(error);
            // Once the page has shown the error, its answer clears it.
            // An exception without a place repeats what is known of a build or a module.
            let before = self.clearances[known].cleared_by;
            let kept = before == ClearedBy::Answer || bare;
            self.clearances[known] = if kept { Clearance { cleared_by: before, ..new } } else { new };
            return;
        }
        self.keep(|known, clearance| {
            let file = known.file.is_some() && known.file == error.file;
            let replaced = clearance.cleared_by == cleared_by
                && match cleared_by {
                    // All that is broken is printed at every build.
                    ClearedBy::Rebuilt | ClearedBy::Checked => clearance.round < round,
                    // One at a time is told of a module.
                    ClearedBy::Module | ClearedBy::Component => file && known.line.is_some() && error.line.is_some(),
                    ClearedBy::Answer | ClearedBy::Unconfirmed | ClearedBy::Edited => file && clearance.round < round,
                };
            let syntax = file && known.kind == ErrorKind::Syntax && error.kind == ErrorKind::Syntax;
            !replaced && !syntax
        });
        if self.errors.len() < MAX_ERRORS {
            self.errors.push(error);
            self.clearances.push(new);
        }
    }
}

impl ClearedBy {
    fn is_module(self) -> bool {
        matches!(self, Self::Module | Self::Component)
    }

    /// Whether an error after a failed build may be of that build.
    fn is_of_a_build(self) -> bool {
        matches!(self, Self::Module | Self::Answer | Self::Unconfirmed)
    }
}

impl CompileError {
    /// Takes in a second report of the same error: where one knows more, both do.
    fn take_in(&mut self, other: Self) {
        if self.line.is_none() && other.line.is_some() || self.file.is_none() && other.file.is_some() {
            let message = std::mem::take(&mut self.message);
            *self = other;
            if message.len() > self.message.len() {
                self.message = message;
            }
        }
    }
}

/// Whether two reports are of one error. Tools count columns from 0 or from 1, and word the same thing differently.
fn is_same(one: &CompileError, other: &CompileError) -> bool {
    if one.kind != other.kind {
        return false;
    }
    let missing = one.kind == ErrorKind::ModuleNotFound;
    let begins = one.message.starts_with(&other.message)
        || other.message.starts_with(&one.message)
        || missing && quoted(&one.message).is_some() && quoted(&one.message) == quoted(&other.message);
    let known = |one: Option<u32>, other: Option<u32>| one.zip(other).map(|(one, other)| one.abs_diff(other));
    match (&one.file, &other.file) {
        (Some(file), Some(same)) if file == same => match known(one.line, other.line) {
            Some(0) => begins || known(one.column, other.column).is_none_or(|apart| apart <= 1),
            Some(_) => false,
            None => begins || one.kind == ErrorKind::Config,
        },
        (Some(_), Some(_)) => false,
        _ => begins,
    }
}

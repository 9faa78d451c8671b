//! What a service of previews can do, whatever runs them.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use serde::{Serialize, Serializer};

use super::common::Common;
use super::events::Subscription;
use super::hooks::Hooks;
use super::log_queue::LogReader;
use crate::containment::Limits;
use crate::database::Owned;
use crate::environment::Variables;
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{BrowserError, CompileError, Preview, Started, optional_seconds, seconds};

/// What to start.
#[derive(Clone)]
pub struct StartRequest {
    /// Which preview.
    pub id: PreviewId,
    /// The caller's variables; they win over all others.
    pub variables: Variables,
    /// What its container may use, in place of the settings. A container that runs keeps its own.
    pub limits: Limits,
    /// Whether a container that runs with other variables of the caller's is replaced.
    pub recreate: bool,
    /// The steps that Python replaces.
    pub hooks: Option<Arc<dyn Hooks>>,
    /// Wait until it is ready, and fail if it cannot become it any more.
    pub until_ready: Option<WaitOptions>,
}

impl StartRequest {
    /// Whether the caller that brought the hooks has left.
    pub(crate) fn has_left(&self) -> bool {
        self.hooks.as_ref().is_some_and(|hooks| hooks.left())
    }

    /// Whether this step is replaced.
    pub(crate) fn hooks(&self) -> Option<&dyn Hooks> {
        self.hooks.as_deref()
    }
}

/// How long to wait, and for what not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WaitOptions {
    /// The longest wait; None: as long as it may become ready.
    pub timeout: Option<Duration>,
    /// Whether a compile error ends the wait: else somebody may be mending it.
    pub fail_on_compile_error: bool,
}

/// What a sweep found and did. The Python model `SweepResult` has the same fields.
#[derive(Debug, Default, Serialize)]
pub struct SweepResult {
    /// Previews that run, in the order of their ids.
    #[serde(serialize_with = "project_ids")]
    pub running: Vec<PreviewId>,
    /// Previews whose container was removed: it had ended, or was made and never started.
    #[serde(serialize_with = "project_ids")]
    pub removed: Vec<PreviewId>,
    /// Databases and roles of ours whose project's folder is gone.
    pub orphan_databases: Vec<Owned>,
    /// Databases that were removed: orphans, where that was asked for, and those whose drop had failed before.
    pub removed_databases: Vec<String>,
    /// What could not be done, a sentence each.
    pub problems: Vec<String>,
}

fn project_ids<S: Serializer>(ids: &[PreviewId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(ids.iter().map(PreviewId::project_id))
}

/// Which routes a check asks for by requests: each makes the dev server compile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Routes {
    /// None: what is known without one is told.
    #[default]
    None,
    /// Those that the names of the project's files tell.
    Known,
    /// These paths.
    Paths(Vec<String>),
}

/// What to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckRequest {
    /// Which routes are asked for by requests.
    pub routes: Routes,
    /// Whether the project's own type checker runs, in the container.
    pub types: bool,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// What is known of one route. The Python model `RouteCheck` has the same fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RouteCheck {
    /// The route.
    pub path: String,
    /// Whether it compiles, None where that is not known.
    pub compiled: Option<bool>,
    /// The status of a request for it, where one was sent.
    pub status: Option<u16>,
}

/// What a check found. The Python model `CheckResult` has the same fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckResult {
    /// Whether all that was looked at compiles, None where nothing could be.
    pub compiled: Option<bool>,
    /// The routes that are known.
    pub routes: Vec<RouteCheck>,
    /// The compile errors, of all routes.
    pub errors: Vec<CompileError>,
    /// What the type checker refused; None: it did not run to its end.
    pub type_errors: Option<Vec<CompileError>>,
    /// What went wrong in browsers.
    pub browser_errors: Vec<BrowserError>,
    /// What was looked at, a sentence each.
    pub looked_at: Vec<String>,
    /// What could not be looked at and why, a sentence each.
    pub not_looked_at: Vec<String>,
    /// When this was true.
    #[serde(serialize_with = "seconds")]
    pub as_of: SystemTime,
}

/// Which edit a verdict is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyRequest {
    /// The edit was made after this; None: the newest one.
    pub since: Option<SystemTime>,
    /// The page that is asked for.
    pub path: String,
    /// How long all of it may take.
    pub timeout: Duration,
}

/// One thing that a verdict rests on. The Python model `VerdictCheck` has the same fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VerdictCheck {
    /// What was looked at.
    pub name: &'static str,
    /// Whether it is well, None where that cannot be known.
    pub ok: Option<bool>,
    /// How that is known, or why it is not, in a sentence.
    pub detail: String,
}

/// Whether an edit did well. The Python model `Verdict` has these fields, and what a browser of its own saw.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verdict {
    /// What it rests on.
    pub checks: Vec<VerdictCheck>,
    /// The compile errors.
    pub errors: Vec<CompileError>,
    /// What went wrong in browsers since the edit.
    pub browser_errors: Vec<BrowserError>,
    /// When the newest file of the project was changed, where that is known.
    #[serde(serialize_with = "optional_seconds")]
    pub edited_at: Option<SystemTime>,
}

/// Where a preview's page is. Plain data for the browser of the Python package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PageAddress {
    /// The address for people.
    pub url: String,
    /// The host that can be connected to from here.
    pub host: String,
    /// The port on it.
    pub port: u16,
}

/// A service of previews. Operations take their place in the queue of their preview at the call, not at the first poll of
/// what the call returned; a caller that leaves does not cancel a stop.
#[async_trait]
pub trait Previews: Send + Sync + 'static {
    /// What does not depend on what runs the previews.
    fn common(&self) -> &Common;

    /// Asks whether the engine answers.
    ///
    /// # Errors
    /// [`Error::DockerUnavailable`] or [`Error::Timeout`] with the cause.
    async fn ping(&self) -> Result<(), Error>;

    /// Starts the preview, or joins the start that is under way, or adopts the container that runs.
    ///
    /// # Errors
    /// See [`Error`]; then nothing of the attempt is left.
    fn start(&self, request: StartRequest) -> BoxFuture<'static, Result<Started, Error>>;

    /// Runs the preview's container once more, with the same environment; without a container it starts one.
    ///
    /// # Errors
    /// As for a start.
    fn restart(&self, request: StartRequest) -> BoxFuture<'static, Result<Started, Error>>;

    /// Stops and removes the preview's container and, where asked to, its database. Neither is no error. When it returns
    /// the container is gone and its name is free.
    ///
    /// # Errors
    /// When the engine refuses, or the container is not ours to remove; then the database is left alone. When the database
    /// server refuses: the container is gone all the same.
    fn stop(&self, id: &PreviewId, remove_database: bool) -> BoxFuture<'static, Result<(), Error>>;

    /// Stops every preview of this owner, and what is being started here. All are tried.
    ///
    /// # Errors
    /// The first that failed; the others are logged.
    async fn stop_all(&self) -> Result<(), Error>;

    /// The preview, None when it has no container and none is being made.
    ///
    /// # Errors
    /// When the engine does not answer and nothing was known before.
    async fn get(&self, id: &PreviewId, hooks: Option<Arc<dyn Hooks>>) -> Result<Option<Preview>, Error>;

    /// The previews of this owner, in the order of their ids: those that the engine knows and those that are being made
    /// here.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    async fn list(&self) -> Result<Vec<Preview>, Error>;

    /// Whether the preview's container runs, without asking the app.
    ///
    /// # Errors
    /// When the engine does not answer.
    async fn is_running(&self, id: &PreviewId) -> Result<bool, Error>;

    /// Waits until the preview is ready.
    ///
    /// # Errors
    /// [`Error::PreviewFailed`] when there is no preview, its container ended, or, where that counts, it does not compile.
    /// [`Error::NotReady`] after the time-out.
    async fn wait_until_ready(&self, id: &PreviewId, options: WaitOptions) -> Result<Preview, Error>;

    /// Whether the project compiles, as far as that can be found out without a browser.
    ///
    /// # Errors
    /// [`Error::NoPreview`]; or the engine does not answer; or an argument cannot be used.
    async fn check(&self, id: &PreviewId, request: CheckRequest) -> Result<CheckResult, Error>;

    /// Whether the newest edit did well, as far as that can be found out without a browser.
    ///
    /// # Errors
    /// As for [`Self::check`].
    async fn verify(&self, id: &PreviewId, request: VerifyRequest) -> Result<Verdict, Error>;

    /// Where the page at this path of a preview that runs can be reached.
    ///
    /// # Errors
    /// [`Error::NoPreview`] also where it does not run; the path leads elsewhere; or the engine does not answer.
    async fn page_address(&self, id: &PreviewId, path: &str) -> Result<PageAddress, Error>;

    /// A preview's output: the last `tail` lines (None: all that the engine has), and with `follow` what comes, also over
    /// restarts of the container, until it ends or is removed.
    fn logs(&self, id: &PreviewId, follow: bool, tail: Option<u32>) -> LogReader;

    /// Subscribes to what changes from now on: of one preview, or of all of this owner's.
    ///
    /// # Errors
    /// When the engine cannot be asked which previews there are.
    async fn events(&self, only: Option<PreviewId>, browser_errors: bool) -> Result<Subscription, Error>;

    /// Looks at every container with our labels and owner: one that ended is removed, and so is one that was made and that
    /// nobody starts. Then at the databases: drops that failed are tried again, and those whose project's folder is gone
    /// are listed, and removed where `remove_orphan_databases` says so. What is not ours is not touched.
    ///
    /// # Errors
    /// When the engine cannot be asked at all; what fails for single containers is in the result.
    async fn sweep(&self, remove_orphan_databases: bool) -> Result<SweepResult, Error>;

    /// Makes sure that the settings' image is there, as the pull policy says.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`] with the registry's words, or why the engine did not answer.
    async fn ensure_image(&self, hooks: Option<Arc<dyn Hooks>>) -> Result<(), Error>;

    /// Follows the container of this name or id until it compiled or ended.
    ///
    /// # Errors
    /// [`Error::Engine`] and its kin when the engine cannot be asked about the container.
    async fn monitor(&self, id: &PreviewId, name_or_id: &str) -> Result<(), Error>;

    /// The projects that have a container or are being worked on.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    async fn projects_in_use(&self) -> Result<HashSet<u64>, Error>;
}

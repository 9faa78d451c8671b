//! What the tools of Next.js 16 tell of all routes at once, also of those that nobody opened.

use std::sync::Arc;

use tokio::time::Instant;

use crate::preview::CompileError;
use crate::probe::next_tools::{errors, has_tool, routes};
use crate::probe::{NextTool, NoToolAnswer, ProbeTarget, Prober};
use crate::readiness::without_passwords;
use crate::state::Run;

/// The first version that has the tools. An older one takes the question for a page, compiles and prints.
const FIRST_WITH_TOOLS: (u32, u32) = (16, 0);

/// See the module.
pub(super) struct NextRoutes {
    prober: Arc<dyn Prober>,
}

/// What could be asked of a server.
pub(super) struct Told {
    /// Whether the dev server is a Next.js.
    pub(super) is_next: bool,
    /// The routes; None: it does not tell.
    pub(super) routes: Option<Vec<String>>,
    /// What does not compile on any route; or why that is not told.
    pub(super) errors: Result<Vec<CompileError>, String>,
}

impl NextRoutes {
    pub(super) fn new(prober: Arc<dyn Prober>) -> Self {
        Self { prober }
    }

    pub(super) async fn ask(&self, run: &Run, deadline: Instant) -> Told {
        let silent = |is_next, why: &str| Told { is_next, routes: None, errors: Err(why.to_owned()) };
        let Some(version) = run.state().readiness.next_version() else {
            return silent(false, "this dev server does not tell of routes that nobody opened");
        };
        if version < FIRST_WITH_TOOLS {
            return silent(true, "Next.js before 16.3 does not tell of routes that nobody opened");
        }
        let list = match self.call(run, NextTool::List, deadline).await {
            Ok(list) => list,
            Err(error) => return silent(true, &error.to_string()),
        };
        // Texts of 16.0 and 16.1 are Markdown: what is not understood is not told.
        let known = if has_tool(&list, NextTool::Routes) {
            self.call(run, NextTool::Routes, deadline).await.ok().map(|answer| routes(&answer))
        } else {
            None
        };
        if !has_tool(&list, NextTool::CompilationIssues) {
            let why = "Next.js tells of routes that nobody opened from 16.3 on, with Turbopack";
            return Told { is_next: true, routes: known, errors: Err(why.to_owned()) };
        }
        let issues = self.call(run, NextTool::CompilationIssues, deadline).await;
        let told = issues.and_then(|answer| errors(&answer).ok_or(NoToolAnswer::NotUnderstood));
        let errors = told.map(|errors| errors.into_iter().map(hidden).collect()).map_err(|error| error.to_string());
        Told { is_next: true, routes: known, errors }
    }

    async fn call(&self, run: &Run, tool: NextTool, deadline: Instant) -> Result<serde_json::Value, NoToolAnswer> {
        let target = target_at(run, "/").ok_or(NoToolAnswer::NoServer)?;
        self.prober.ask_next(&target, tool, deadline.saturating_duration_since(Instant::now())).await
    }
}

/// Where a path of a preview is asked for.
pub(super) fn target_at(run: &Run, path: &str) -> Option<ProbeTarget> {
    let target = run.target()?.clone();
    Some(ProbeTarget { path: path.to_owned(), https: run.state().https, ..target })
}

/// Source text may hold what is not to be shown.
fn hidden(error: CompileError) -> CompileError {
    CompileError { message: without_passwords(&error.message), raw: without_passwords(&error.raw), ..error }
}

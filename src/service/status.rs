//! Status: what is remembered, which events keep true, and what the probe finds.

use std::sync::Arc;

use super::context::Context;
use super::hooks::{Hook, HookAnswer, HookRequest, Hooks, ask};
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::Preview;
use crate::state::Run;

/// See the module.
pub(super) struct Status {
    context: Arc<Context>,
}

impl Status {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    pub(super) async fn call(&self, id: &PreviewId, hooks: Option<&dyn Hooks>) -> Result<Option<Preview>, Error> {
        let (reconciler, store) = (&self.context.reconciler, self.context.store());
        reconciler.listen();
        let unreachable = reconciler.ensure_fresh_or_remembered(id).await;
        let unreachable = unreachable.map_err(|source| Error::engine("status", Some(id), source))?;
        let mut healthy = None;
        if unreachable.is_none()
            && let Some(run) = store.answering_run(id)
        {
            run.wait_first_answer().await;
            healthy = self.probe(id, &run, hooks).await?;
        }
        let mut preview = store.preview(id, unreachable.as_ref());
        if let (Some(preview), Some(healthy)) = (&mut preview, healthy) {
            preview.is_responding = healthy;
        }
        Ok(preview)
    }

    /// Probes a running container, or asks the hook in place of that; what the hook said is returned.
    async fn probe(&self, id: &PreviewId, run: &Run, hooks: Option<&dyn Hooks>) -> Result<Option<bool>, Error> {
        if hooks.is_some_and(|hooks| hooks.replaces(Hook::Health)) {
            let Some(url) = self.context.store().preview(id, None).and_then(|preview| preview.url) else {
                return Ok(None);
            };
            if let Some(HookAnswer::Healthy(healthy)) = ask(hooks, Some(id), HookRequest::Health(url)).await? {
                return Ok(Some(healthy));
            }
        }
        // While a request is on its way, the server is not up or errors stand, the log and the monitor's own requests tell:
        // another one would only make the compile slower.
        if run.may_be_asked() {
            self.context.common.page.probe(run).await;
        }
        Ok(None)
    }

    /// Whether the preview's container runs, without asking the app.
    pub(super) async fn is_running(&self, id: &PreviewId) -> Result<bool, Error> {
        let found = self.context.engine.inspect(&self.context.store().name(id)).await;
        let found = found.map_err(|source| Error::engine("status", Some(id), source))?;
        Ok(found.is_some_and(|found| found.is_running() && self.context.ownership.check(id, &found).is_ok()))
    }
}

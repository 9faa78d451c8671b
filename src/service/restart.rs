//! Restart: the same container once more, or a start where there is none.

use std::sync::Arc;

use super::api::StartRequest;
use super::attempt::started;
use super::context::Context;
use super::ports::start_on_free_port;
use super::start::Start;
use crate::engine::{EngineError, Secrets, State};
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{Phase, Started};

/// See the module.
pub(super) struct Restart {
    context: Arc<Context>,
    start: Arc<Start>,
}

impl Restart {
    pub(super) fn new(context: Arc<Context>, start: Arc<Start>) -> Self {
        Self { context, start }
    }

    pub(super) fn call(
        self: &Arc<Self>,
        request: StartRequest,
    ) -> impl Future<Output = Result<Started, Error>> + Send + 'static {
        self.context.reconciler.listen();
        let (this, id) = (Arc::clone(self), request.id.clone());
        self.start.restart(request, async move { this.run(&id).await })
    }

    /// None: there is no container to restart (any more).
    async fn run(&self, id: &PreviewId) -> Result<Option<Started>, Error> {
        let context = &self.context;
        let (engine, settings) = (context.engine.as_ref(), context.settings());
        let _operation = context.store().begin_operation(id, Phase::Starting);
        let failed = |source| Error::engine("restart", Some(id), source);
        let Some(workload) = engine.inspect(&context.store().name(id)).await.map_err(failed)? else { return Ok(None) };
        context.ownership.check(id, &workload)?;
        if workload.state == State::Created {
            // Another process is about to start it: the start waits for that.
            return Ok(None);
        }
        if workload.is_running() {
            engine.stop(&workload.id, settings.preview_stop_timeout).await.map_err(failed)?;
        }
        // Its environment was made by another call, maybe of another process: what it holds is not known here.
        let (ports, bound) = (context.port_range(), settings.preview_bind_address);
        match start_on_free_port(engine, &workload.id, &Secrets::default(), bound, ports).await {
            // Removed meanwhile, by another process.
            Err(EngineError::NotFound(_) | EngineError::Conflict(_)) => return Ok(None),
            Err(source) => return Err(Error::start(id, "restart", &settings.preview_default_image, ports, source)),
            Ok(()) => {}
        }
        // The engine chose a port anew.
        let Some(workload) = engine.inspect(&workload.id).await.map_err(failed)? else { return Ok(None) };
        match started(context, id, &workload).await {
            Some(started) => Ok(Some(started)),
            None if context.reconciler.was_stopped(&workload) => Ok(None),
            None => Err(context.reconciler.ended(id, &workload).await),
        }
    }
}

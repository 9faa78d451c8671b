//! Stop: a task of the service, behind what is queued already.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use futures_util::{StreamExt, stream};

use super::context::Context;
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::Phase;

/// Stops at once in [`stop_all`].
const PARALLEL_STOPS: usize = 8;

/// See the module.
pub(super) struct Stop {
    context: Arc<Context>,
}

impl Stop {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    pub(super) fn call(
        &self,
        id: &PreviewId,
        remove_database: bool,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let (context, of) = (Arc::clone(&self.context), id.clone());
        self.context.common.operations.run(id, "stop", async move {
            let _operation = context.store().begin_operation(&of, Phase::Stopping);
            stop(&context, &of).await?;
            if remove_database {
                context.common.databases.drop_now(&of).await?;
            }
            Ok(())
        })
    }
}

async fn stop(context: &Context, id: &PreviewId) -> Result<(), Error> {
    let failed = |source| Error::engine("stop", Some(id), source);
    let asked_at = Instant::now();
    let Some(workload) = context.engine.inspect(&context.store().name(id)).await.map_err(failed)? else {
        context.store().observe_absence(id, asked_at);
        return Ok(());
    };
    context.ownership.check(id, &workload)?;
    if workload.is_running() {
        context.engine.stop(&workload.id, context.settings().preview_stop_timeout).await.map_err(failed)?;
    }
    context.engine.remove(&workload.id).await.map_err(failed)?;
    context.store().observe_absence(id, Instant::now());
    log::info!(target: "kosuke_docker::service", "{id}: stopped");
    Ok(())
}

/// Stops these previews, several at once. All are tried: gives the first failure, the others are logged.
pub(crate) async fn stop_all(
    previews: Vec<PreviewId>,
    stop: impl Fn(PreviewId) -> BoxFuture<'static, Result<(), Error>> + Send,
) -> Result<(), Error> {
    let results: Vec<_> = stream::iter(previews).map(stop).buffer_unordered(PARALLEL_STOPS).collect().await;
    let mut errors = results.into_iter().filter_map(Result::err);
    let first = errors.next();
    for error in errors {
        log::error!(target: "kosuke_docker::service", "stop_all_previews: {error}");
    }
    first.map_or(Ok(()), Err)
}

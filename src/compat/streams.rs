//! Output and sweep on a docker-py-compatible client.

use std::sync::Arc;

use futures_util::StreamExt;

use super::context::Context;
use crate::error::Error;
use crate::id::PreviewId;
use crate::service::{LineJoiner, LogReader, LogWriter, SweepResult, in_use, open, sweep_databases_into};

/// The output of the preview's container, until that ends.
pub(super) fn logs(context: &Arc<Context>, id: &PreviewId, follow: bool, tail: Option<u32>) -> LogReader {
    let (reader, writer) = open();
    let (this, id) = (Arc::clone(context), id.clone());
    context.common.tasks.spawn(async move {
        let end = tokio::select! {
            end = read(&this, &id, follow, tail, &writer) => end,
            () = writer.left().cancelled() => Ok(()),
            () = this.common.tasks.closed().cancelled() => Err(Error::Closed { operation: "logs" }),
        };
        writer.finish(end);
    });
    reader
}

async fn read(
    context: &Context,
    id: &PreviewId,
    follow: bool,
    tail: Option<u32>,
    writer: &LogWriter,
) -> Result<(), Error> {
    let failed = |source| Error::engine("logs", Some(id), source);
    let Some(workload) = context.client.get(&context.common.store.name(id)).await.map_err(failed)? else {
        return Err(Error::NoPreview { operation: "logs", preview: id.clone() });
    };
    let mut chunks = context.client.logs(&workload.id, follow, tail);
    let mut joiner = LineJoiner::default();
    while let Some(chunk) = chunks.next().await {
        joiner.chunk(&chunk.map_err(failed)?, writer);
        writer.relax().await;
    }
    joiner.finish(writer);
    Ok(())
}

/// Removes the containers with our labels that do not run, and then what the databases need.
pub(super) async fn sweep(context: &Context, remove_orphan_databases: bool) -> Result<SweepResult, Error> {
    let (client, owner) = (&context.client, context.ownership.owner());
    let listed = client.list(owner).await.map_err(|source| Error::engine("sweep", None, source))?;
    let mut result = SweepResult::default();
    for workload in listed {
        let Some(id) = context.ownership.preview_of(&workload) else { continue };
        if !workload.is_dead() {
            result.running.push(id);
            continue;
        }
        match context.common.operations.run_here(&id, client.remove(&workload.id)).await {
            Ok(()) => result.removed.push(id),
            Err(error) => result.problems.push(format!("{id}: container {}: {error}", workload.name)),
        }
    }
    let listing = async { in_use(client.list(owner).await, &context.common.store) };
    sweep_databases_into(&context.common, &mut result, listing, remove_orphan_databases).await;
    result.running.sort_unstable();
    result.removed.sort_unstable();
    Ok(result)
}

//! What is told about a preview on a docker-py-compatible client: what the cache holds, unless the client says that the
//! container is dead.

use std::time::Duration;

use super::context::Context;
use crate::engine::Workload;
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{Phase, Preview};
use crate::probe::Answer;
use crate::service::{HookAnswer, HookRequest, Hooks, Stages, WaitOptions, ask};
use crate::state::{Record, labelled};

/// How often a wait asks the client whether the container lives.
const POLL: Duration = Duration::from_secs(1);

pub(super) async fn get(
    context: &Context,
    id: &PreviewId,
    hooks: Option<&dyn Hooks>,
) -> Result<Option<Preview>, Error> {
    let store = &context.common.store;
    let Some(record) = store.record(id) else {
        let listed = context.listed(id).await?.filter(Workload::is_running);
        return Ok(listed.map(|workload| {
            let mut preview = labelled(id, &workload);
            (preview.running, preview.phase) = (true, Phase::Starting);
            preview.port = store.snapshots().port_of(&workload);
            preview.url = preview.port.map(|port| store.snapshots().url(port));
            preview
        }));
    };
    let found = context.client.get(&record.info.container_id).await;
    if matches!(&found, Ok(None)) || matches!(&found, Ok(Some(workload)) if workload.is_dead()) {
        store.remove_run(id, &record.run);
        return Ok(None);
    }
    let mut healthy = None;
    if let Some(HookAnswer::Healthy(told)) = ask(hooks, Some(id), HookRequest::Health(record.info.url.clone())).await? {
        healthy = Some(told);
    } else {
        context.common.page.probe(&record.run).await;
    }
    let mut preview = remembered(id, &record, healthy);
    if found.is_err() {
        preview.phase = Phase::EngineUnreachable;
    }
    Ok(Some(preview))
}

fn remembered(id: &PreviewId, record: &Record, healthy: Option<bool>) -> Preview {
    let (state, info) = (record.run.state(), record.info());
    let mut preview = Preview::blank(id, &info.container_name, state.phase());
    preview.running = true;
    preview.port = Some(info.port);
    preview.url = Some(info.url);
    preview.container_id = Some(info.container_id);
    preview.is_responding = healthy.unwrap_or_else(|| state.last_answer.is_some_and(Answer::is_good));
    preview.http_status = state.last_answer.and_then(Answer::status);
    preview.compilation_complete = info.compilation_complete;
    if preview.compilation_complete && preview.phase == Phase::Starting {
        preview.phase = if preview.is_responding { Phase::Ready } else { Phase::Unresponsive };
    }
    preview
}

pub(super) async fn is_running(context: &Context, id: &PreviewId) -> Result<bool, Error> {
    match context.common.store.record(id) {
        None => Ok(context.listed(id).await?.is_some_and(|found| found.is_running())),
        Some(record) => {
            let found = context.client.get(&record.info.container_id).await;
            let found = found.map_err(|source| Error::engine("status", Some(id), source))?;
            Ok(found.is_some_and(|found| !found.is_dead()))
        }
    }
}

pub(super) async fn wait_until_ready(
    context: &Context,
    id: &PreviewId,
    options: WaitOptions,
) -> Result<Preview, Error> {
    let mut stages = Stages::default();
    let waiting = until_compiled(context, id, &mut stages);
    let Some(timeout) = options.timeout else { return waiting.await };
    if let Ok(result) = tokio::time::timeout(timeout, waiting).await {
        return result;
    }
    let last = context.common.store.record(id).map(|record| Box::new(remembered(id, &record, None)));
    Err(Error::NotReady { preview: id.clone(), timeout, stages: stages.all(), last_lines: Vec::new(), last })
}

async fn until_compiled(context: &Context, id: &PreviewId, stages: &mut Stages) -> Result<Preview, Error> {
    let common = &context.common;
    loop {
        let preview = get(context, id, None).await?;
        stages.enter(preview.as_ref().map(|preview| preview.phase));
        match preview {
            Some(preview) if preview.compilation_complete => return Ok(preview),
            None if !common.store.is_busy(id) => return Err(Error::failed(id, None)),
            _ => {}
        }
        let run = common.store.record(id).map(|record| record.run);
        let compiled = async {
            match run {
                Some(run) if run.wait_compiled().await => {}
                _ => std::future::pending().await,
            }
        };
        tokio::select! {
            () = compiled => {}
            () = tokio::time::sleep(POLL) => {}
            () = common.tasks.closed().cancelled() => return Err(Error::Closed { operation: "wait" }),
        }
    }
}

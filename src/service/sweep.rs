//! Sweep: finishes or removes what processes of this owner left behind when they were killed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::{StreamExt, stream};

use super::api::SweepResult;
use super::context::{Context, UNSTARTED_TIMEOUT};
use super::list::in_use;
use super::orphans::sweep_databases_into;
use super::restart::ready_database;
use crate::engine::{EngineError, State, Workload};
use crate::error::Error;
use crate::id::PreviewId;

const PARALLEL: usize = 8;
const POLL: Duration = Duration::from_millis(100);

enum Outcome {
    Runs,
    Removed,
    /// Somebody else removed it, or is about to.
    Gone,
}

/// See the module.
pub(super) struct Sweep {
    context: Arc<Context>,
}

impl Sweep {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self { context }
    }

    pub(super) async fn call(&self, remove_orphan_databases: bool) -> Result<SweepResult, Error> {
        let context = &self.context;
        context.reconciler.listen();
        let failed = |source| Error::engine("sweep", None, source);
        // The engine's clock made the stamps; between two looks at it, ours will do.
        let ahead = context.engine.clock().await.map_err(failed)?;
        let began = SystemTime::now();
        let now = move || ahead + began.elapsed().unwrap_or_default();
        let listed = context.engine.list(context.ownership.owner()).await.map_err(failed)?;
        let ours: Vec<_> =
            listed.into_iter().filter_map(|workload| Some((context.recognise(&workload)?, workload))).collect();
        let looked = ours.clone();
        let looks = stream::iter(ours).map(|(id, workload)| async move {
            let outcome = self.sweep_one(&id, &workload, now).await;
            (id, workload.name, outcome)
        });
        let mut result = SweepResult::default();
        for (id, name, outcome) in looks.buffer_unordered(PARALLEL).collect::<Vec<_>>().await {
            match outcome {
                Ok(Outcome::Runs) => result.running.push(id),
                Ok(Outcome::Removed) => result.removed.push(id),
                Ok(Outcome::Gone) => {}
                Err(error) => {
                    log::error!(target: "kosuke_docker::service", "{id}: container {name} was not swept: {error}");
                    result.problems.push(format!("{id}: container {name}: {error}"));
                }
            }
        }
        self.look_for_databases(&looked, &mut result).await;
        let listing = async { in_use(context.engine.list(context.ownership.owner()).await, context.store()) };
        sweep_databases_into(&context.common, &mut result, listing, remove_orphan_databases).await;
        result.running.sort_unstable();
        result.removed.sort_unstable();
        Ok(result)
    }

    /// Another process may have dropped the database of a preview that runs: its labels cannot tell.
    async fn look_for_databases(&self, listed: &[(PreviewId, Workload)], result: &mut SweepResult) {
        let named = listed.iter().filter_map(|(id, workload)| Some((id, &workload.id, ready_database(workload)?)));
        let named: Vec<_> = named.filter(|(id, ..)| result.running.contains(id)).collect();
        let asked: Vec<_> = named.iter().map(|(.., name)| (*name).to_owned()).collect();
        match self.context.common.databases.missing(&asked).await {
            Ok(missing) => {
                for (id, container, _) in named.iter().filter(|(.., name)| missing.iter().any(|gone| gone == name)) {
                    self.context.store().lose_database(id, Some(container));
                }
            }
            Err(error) => result.problems.push(format!("databases of running previews: {error}")),
        }
    }

    async fn sweep_one(
        &self,
        id: &PreviewId,
        listed: &Workload,
        now: impl Fn() -> SystemTime,
    ) -> Result<Outcome, EngineError> {
        loop {
            let Some(workload) = self.context.engine.inspect(&listed.id).await? else { return Ok(Outcome::Gone) };
            match workload.state {
                State::Running | State::Paused => {
                    self.context.reconciler.observe(id, workload).await;
                    return Ok(Outcome::Runs);
                }
                State::Removing => return Ok(Outcome::Gone),
                State::Unknown => return Err(EngineError::Refused("its state is not known here: it was left".into())),
                State::Created | State::Exited => {}
            }
            // Another process may be about to start it, or to start it again.
            let since = workload.finished_at.or(workload.created_at).unwrap_or(SystemTime::UNIX_EPOCH);
            if now().duration_since(since).is_ok_and(|age| age < UNSTARTED_TIMEOUT) {
                tokio::time::sleep(POLL).await;
                continue;
            }
            return self.remove(id, &workload).await;
        }
    }

    /// As an operation on the preview, so that no other one of this process is disturbed.
    async fn remove(&self, id: &PreviewId, left: &Workload) -> Result<Outcome, EngineError> {
        let engine = &self.context.engine;
        let permit = self.context.common.operations.enter(id);
        permit.turn().await;
        let removed = async {
            match engine.inspect(&left.id).await? {
                Some(workload) if workload.state == left.state => {
                    engine.remove(&left.id).await?;
                    log::info!(target: "kosuke_docker::service", "{id}: swept container {}", left.name);
                    Ok(Outcome::Removed)
                }
                Some(_) => Ok(Outcome::Runs),
                None => Ok(Outcome::Gone),
            }
        };
        let outcome = removed.await;
        // What it did is asked for in any case.
        let _missed = self.context.store().leave_queue(id, permit);
        self.context.reconciler.refresh_soon(id);
        outcome
    }
}

//! Sweep: finishes or removes what processes of this owner left behind when they were killed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use futures_util::stream;

use super::registry::Registry;
use super::start::UNSTARTED_PATIENCE;
use super::{Inner, PreviewService};
use crate::database::Owned;
use crate::engine::{Container, State};
use crate::error::{EngineError, Error};
use crate::id::PreviewId;

const PARALLEL: usize = 8;
const POLL: Duration = Duration::from_millis(100);

/// What a sweep found and did. The Python model `SweepResult` has the same fields.
#[derive(Debug, Default)]
pub struct Swept {
    /// Previews that run, in the order of their ids.
    pub running: Vec<u64>,
    /// Previews whose container was removed: it had ended, or was made and never started.
    pub removed: Vec<u64>,
    /// Databases and roles of ours whose project's folder is gone.
    pub orphan_databases: Vec<Owned>,
    /// Databases that were removed: orphans, where that was asked for, and those whose drop had failed before.
    pub removed_databases: Vec<String>,
    /// What could not be done, a sentence each.
    pub problems: Vec<String>,
}

enum Outcome {
    Runs,
    Removed,
    /// Somebody else removed it, or is about to.
    Gone,
}

impl PreviewService {
    /// Looks at every container with our labels and owner: one that ended is removed, and so is one that was made and
    /// that nobody starts. Then at the databases: drops that failed are tried again, and those whose project's folder is
    /// gone are listed, and removed where `remove_orphan_databases` says so. What is not ours is not touched.
    ///
    /// # Errors
    /// When the engine cannot be asked at all; what fails for single containers is in the result.
    pub async fn sweep(&self, remove_orphan_databases: bool) -> Result<Swept, Error> {
        let inner = &self.inner;
        inner.keep_warm();
        let failed = |source| Error::engine("sweep", None, source);
        // The engine's clock made the stamps; between two looks at it, ours will do.
        let ahead = inner.engine.clock().await.map_err(failed)?;
        let began = SystemTime::now();
        let now = move || ahead + began.elapsed().unwrap_or_default();
        let listed = inner.engine.list(&inner.settings.preview_owner).await.map_err(failed)?;
        let of_key = listed.into_iter().filter_map(|container| {
            Some((Registry::labelled(&container.labels, &inner.settings.preview_owner)?, container))
        });
        let looks = stream::iter(of_key).map(|(key, container)| async move {
            let outcome = inner.sweep_one(&key, &container, now).await;
            (key, container.name, outcome)
        });
        let mut swept = Swept::default();
        for (key, name, outcome) in looks.buffer_unordered(PARALLEL).collect::<Vec<_>>().await {
            match outcome {
                Ok(Outcome::Runs) => swept.running.push(key.project_id()),
                Ok(Outcome::Removed) => swept.removed.push(key.project_id()),
                Ok(Outcome::Gone) => {}
                Err(error) => {
                    log::error!(target: "kosuke_docker::service", "{key}: container {name} was not swept: {error}");
                    swept.problems.push(format!("{key}: container {name}: {error}"));
                }
            }
        }
        match inner.sweep_databases(remove_orphan_databases).await {
            Ok(databases) => {
                swept.orphan_databases = databases.orphans;
                swept.removed_databases = databases.ended.into_iter().chain(databases.removed).collect();
                swept.problems.extend(databases.failed.iter().map(|(name, error)| format!("database {name}: {error}")));
            }
            Err(error) => swept.problems.push(error.to_string()),
        }
        swept.running.sort_unstable();
        swept.removed.sort_unstable();
        Ok(swept)
    }
}

impl Inner {
    async fn sweep_one(
        self: &Arc<Self>,
        key: &PreviewId,
        listed: &Container,
        now: impl Fn() -> SystemTime,
    ) -> Result<Outcome, EngineError> {
        loop {
            let Some(container) = self.engine.inspect(&listed.id).await? else { return Ok(Outcome::Gone) };
            match container.state {
                State::Running | State::Paused => {
                    self.saw(key, container).await;
                    return Ok(Outcome::Runs);
                }
                State::Removing => return Ok(Outcome::Gone),
                State::Unknown => return Err(EngineError::Refused("its state is not known here: it was left".into())),
                State::Created | State::Exited => {}
            }
            // Another process may be about to start it, or to start it again.
            let since = container.finished_at.or(container.created_at).unwrap_or(SystemTime::UNIX_EPOCH);
            if now().duration_since(since).is_ok_and(|age| age < UNSTARTED_PATIENCE) {
                tokio::time::sleep(POLL).await;
                continue;
            }
            return self.remove_swept(key, &container).await;
        }
    }

    /// In the preview's turn, so that no operation of this process is disturbed.
    async fn remove_swept(self: &Arc<Self>, key: &PreviewId, left: &Container) -> Result<Outcome, EngineError> {
        let turn = self.registry.queue_stop(key, &left.name);
        turn.come().await;
        let removed = async {
            match self.engine.inspect(&left.id).await? {
                Some(container) if container.state == left.state => {
                    self.engine.remove(&left.id).await?;
                    log::info!(target: "kosuke_docker::service", "{key}: swept container {}", left.name);
                    Ok(Outcome::Removed)
                }
                Some(_) => Ok(Outcome::Runs),
                None => Ok(Outcome::Gone),
            }
        };
        let outcome = removed.await;
        self.look_after(key, turn);
        outcome
    }
}

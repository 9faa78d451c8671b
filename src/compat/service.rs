//! The service on a docker-py-compatible client.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;

use super::attempt::Attempt;
use super::client::Client;
use super::context::Context;
use super::{status, streams};
use crate::containment::Limits;
use crate::database::Databases;
use crate::engine::Workload;
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{Phase, Preview, Started};
use crate::probe::Prober;
use crate::service::{
    CheckRequest, CheckResult, Common, Hooks, LogReader, Operations, PageAddress, Previews, ProjectDatabases,
    Restarted, Start, StartRequest, Subscription, SweepResult, Verdict, VerifyRequest, WaitOptions, follow_phrases,
    in_use, known_and, ping, stop_all,
};
use crate::settings::Settings;
use crate::state::{EngineStatus, Ownership, Snapshots, Store};
use crate::sync::PageProbe;
use crate::tasks::Tasks;

/// See the module.
pub struct CompatService {
    context: Arc<Context>,
    start: Arc<Start>,
}

impl CompatService {
    /// A service on this client; calls nothing.
    #[must_use]
    pub fn new(
        settings: Settings,
        client: Arc<dyn Client>,
        databases: Option<Arc<dyn Databases>>,
        prober: Arc<dyn Prober>,
    ) -> Self {
        let tasks = Tasks::default();
        // Without events nothing is known of the engine between two calls.
        let snapshots = Snapshots::new(Arc::new(EngineStatus::default()), &settings);
        let store = Arc::new(Store::new(snapshots, &settings.preview_container_name_prefix));
        let page = PageProbe::new(prober, &settings);
        let operations = Operations::new(Arc::clone(&store), tasks.clone(), Box::new(|_| ()));
        let databases = ProjectDatabases::new(databases, operations.clone(), &settings);
        let ownership = Ownership::of(&settings.preview_owner);
        let common = Arc::new(Common { settings, store, page, tasks, operations, databases });
        let context = Arc::new(Context { common: Arc::clone(&common), client, ownership });
        let start = Arc::new(Start::new(common, Arc::new(Attempt::new(Arc::clone(&context)))));
        Self { context, start }
    }

    async fn known_and_listed(&self, operation: &'static str) -> Result<Vec<PreviewId>, Error> {
        let listed = self.context.client.list(self.context.ownership.owner()).await;
        let listed = listed.map_err(|source| Error::engine(operation, None, source))?;
        let listed = listed.iter().filter_map(|workload| self.context.ownership.preview_of(workload));
        Ok(known_and(&self.context.common.store, listed))
    }
}

/// What such a client was never asked for.
fn refused<T>(what: &str) -> Result<T, Error> {
    let problem = format!("{what} needs the engine itself: a supplied client is asked as the older service asked it");
    Err(Error::InvalidInput { field: "client".to_owned(), problem })
}

#[async_trait]
impl Previews for CompatService {
    fn common(&self) -> &Common {
        &self.context.common
    }

    async fn ping(&self) -> Result<(), Error> {
        ping(self.context.client.ping(), &self.context.common.settings).await
    }

    fn start(&self, request: StartRequest) -> BoxFuture<'static, Result<Started, Error>> {
        let as_before = "a supplied client makes containers as the older service did";
        let refused = match &request {
            StartRequest { limits, .. } if *limits != Limits::default() => Some(("limits", "without limits")),
            StartRequest { recreate: true, .. } => Some(("recreate", "and does not ask what they run with")),
            _ => None,
        };
        if let Some((field, why)) = refused {
            let refused = Error::InvalidInput { field: field.to_owned(), problem: format!("{as_before}, {why}") };
            return Box::pin(async { Err(refused) });
        }
        Box::pin(self.start.call(request))
    }

    /// What such a client starts it also makes: a stop and a start, within one operation.
    fn restart(&self, request: StartRequest) -> BoxFuture<'static, Result<Started, Error>> {
        let (context, id) = (Arc::clone(&self.context), request.id.clone());
        Box::pin(
            self.start.restart(request, async move { context.stop(&id).await.map(|()| Restarted::Gone(Vec::new())) }),
        )
    }

    fn stop(&self, id: &PreviewId, remove_database: bool) -> BoxFuture<'static, Result<(), Error>> {
        let (context, of) = (Arc::clone(&self.context), id.clone());
        Box::pin(self.context.common.operations.run(id, "stop", async move {
            let _operation = context.common.store.begin_operation(&of, Phase::Stopping);
            context.stop(&of).await?;
            if remove_database {
                context.common.databases.drop_now(&of).await?;
            }
            Ok(())
        }))
    }

    async fn stop_all(&self) -> Result<(), Error> {
        stop_all(self.known_and_listed("stop").await?, |id| self.stop(&id, false)).await
    }

    async fn get(&self, id: &PreviewId, hooks: Option<Arc<dyn Hooks>>) -> Result<Option<Preview>, Error> {
        status::get(&self.context, id, hooks.as_deref()).await
    }

    async fn list(&self) -> Result<Vec<Preview>, Error> {
        let mut found = Vec::new();
        for id in self.known_and_listed("list").await? {
            found.extend(status::get(&self.context, &id, None).await?);
        }
        found.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(found)
    }

    async fn is_running(&self, id: &PreviewId) -> Result<bool, Error> {
        status::is_running(&self.context, id).await
    }

    async fn wait_until_ready(&self, id: &PreviewId, options: WaitOptions) -> Result<Preview, Error> {
        status::wait_until_ready(&self.context, id, options).await
    }

    async fn check(&self, _id: &PreviewId, _request: CheckRequest) -> Result<CheckResult, Error> {
        refused("a check")
    }

    async fn verify(&self, _id: &PreviewId, _request: VerifyRequest) -> Result<Verdict, Error> {
        refused("a verdict")
    }

    async fn page_address(&self, _id: &PreviewId, _path: &str) -> Result<PageAddress, Error> {
        refused("a browser")
    }

    fn logs(&self, id: &PreviewId, follow: bool, tail: Option<u32>) -> LogReader {
        streams::logs(&self.context, id, follow, tail)
    }

    async fn events(&self, only: Option<PreviewId>, browser_errors: bool) -> Result<Subscription, Error> {
        let common = &self.context.common;
        Ok(Subscription::new(&common.store, browser_errors, only, common.tasks.closed().clone()))
    }

    async fn sweep(&self, remove_orphan_databases: bool) -> Result<SweepResult, Error> {
        streams::sweep(&self.context, remove_orphan_databases).await
    }

    /// Images are the client's own affair.
    async fn ensure_image(&self, _hooks: Option<Arc<dyn Hooks>>) -> Result<(), Error> {
        Ok(())
    }

    async fn monitor(&self, id: &PreviewId, name_or_id: &str) -> Result<(), Error> {
        let found = self.context.client.get(name_or_id).await;
        let found = found.map_err(|source| Error::engine("monitor", Some(id), source))?;
        if let Some(workload) = found.filter(Workload::is_running) {
            let chunks = self.context.client.logs(&workload.id, true, None);
            follow_phrases(&self.context.common.store, id, chunks.boxed()).await;
        }
        Ok(())
    }

    async fn projects_in_use(&self) -> Result<HashSet<u64>, Error> {
        in_use(self.context.client.list(self.context.ownership.owner()).await, &self.context.common.store)
    }
}

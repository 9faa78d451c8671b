//! The service on a docker-py-compatible client.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;

use super::attempt::Attempt;
use super::client::Client;
use super::{status, streams};
use crate::database::Databases;
use crate::engine::{RunId, Workload};
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{ContainerInfo, Phase, Preview, Started};
use crate::probe::Prober;
use crate::service::{
    Common, Hooks, LogReader, Operations, Previews, ProjectDatabases, Start, StartRequest, Subscription, SweepResult,
    WaitOptions, follow_phrases, in_use, stop_all,
};
use crate::settings::Settings;
use crate::state::{EngineStatus, Ownership, Run, SharedStart, Snapshots, Store};
use crate::sync::PageProbe;
use crate::tasks::Tasks;

/// What the verbs share.
pub(super) struct Context {
    pub(super) common: Arc<Common>,
    pub(super) client: Arc<dyn Client>,
    pub(super) ownership: Ownership,
}

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
        let mut previews = self.context.common.store.previews();
        for id in listed.iter().filter_map(|workload| self.context.ownership.preview_of(workload)) {
            if !previews.contains(&id) {
                previews.push(id);
            }
        }
        Ok(previews)
    }
}

impl Context {
    /// What a listing shows of one preview: how one that is not cached is found.
    pub(super) async fn listed(&self, id: &PreviewId) -> Result<Option<Workload>, Error> {
        let listed = self.client.list(self.ownership.owner()).await;
        let listed = listed.map_err(|source| Error::engine("list", Some(id), source))?;
        Ok(listed.into_iter().find(|workload| self.ownership.preview_of(workload).as_ref() == Some(id)))
    }

    /// Takes a running container into the cache; with `follow`, its output is read from now on.
    pub(super) fn register(self: &Arc<Self>, id: &PreviewId, container_id: String, port: u16, follow: bool) -> Started {
        let common = &self.common;
        let url = common.store.snapshots().url(port);
        let info = ContainerInfo {
            id: id.clone(),
            container_id: container_id.clone(),
            container_name: common.store.name(id),
            port,
            url: url.clone(),
            compilation_complete: false,
            is_responding: false,
        };
        let run_id = RunId { task: container_id.clone(), started_at: None };
        let (run, new) = common.store.register(info, &run_id, || {
            let (store, of) = (Arc::downgrade(&common.store), id.clone());
            let on_change = move || store.upgrade().into_iter().for_each(|store| store.publish(&of));
            Run::followed(run_id.clone(), common.target_of(&url), common.settings.preview_port, Box::new(on_change))
        });
        if new && follow {
            self.follow(id, run);
        }
        Started { url, container_id, fresh: false }
    }

    fn follow(self: &Arc<Self>, id: &PreviewId, run: Arc<Run>) {
        let (this, id) = (Arc::clone(self), id.clone());
        self.common.tasks.spawn(async move {
            let chunks = this.client.logs(&run.id().task, true, None);
            let following = run.ended().run_until_cancelled(follow_phrases(&this.common.store, &id, chunks));
            this.common.tasks.closed().run_until_cancelled(following).await;
            // Whoever waits for it to become ready waits for this, too.
            run.end();
        });
    }

    /// As the older service has it: a failure is logged, and the entry goes in any case.
    async fn stop(&self, id: &PreviewId) -> Result<(), Error> {
        let container = match self.common.store.record(id) {
            Some(record) => Some(record.info.container_id),
            None => self.listed(id).await?.map(|workload| workload.id),
        };
        let Some(container) = container else { return Ok(()) };
        let stopped = match self.client.stop(&container, self.common.settings.preview_stop_timeout).await {
            Ok(()) => self.client.remove(&container).await,
            Err(error) => Err(error),
        };
        if let Err(error) = stopped {
            let project = id.project_id();
            log::error!(target: "kosuke_docker::service", "Error stopping container for project {project}: {error}");
        }
        self.common.store.remove(id);
        Ok(())
    }
}

#[async_trait]
impl Previews for CompatService {
    fn common(&self) -> &Common {
        &self.context.common
    }

    async fn ping(&self) -> Result<(), Error> {
        self.context.client.ping().await.map_err(|source| Error::engine("ping", None, source))
    }

    fn start(&self, request: StartRequest) -> BoxFuture<'static, Result<Started, Error>> {
        Box::pin(self.start.call(request))
    }

    /// What such a client starts it also makes: a stop and a start, within one operation.
    fn restart(&self, request: StartRequest) -> BoxFuture<'static, Result<Started, Error>> {
        let (mut waiter, leader) = SharedStart::open();
        let (context, start, asked) = (Arc::clone(&self.context), Arc::clone(&self.start), request.clone());
        let _detached = self.context.common.operations.run(&request.id, "restart", async move {
            let stopped = {
                let _operation = context.common.store.begin_operation(&asked.id, Phase::Starting);
                context.stop(&asked.id).await
            };
            let result = match stopped {
                Ok(()) => start.run(&asked, leader.shared()).await,
                Err(error) => Err(error),
            };
            leader.finish(result);
            Ok(())
        });
        let start = Arc::clone(&self.start);
        Box::pin(async move {
            match waiter.result().await {
                Err(Error::Abandoned { .. } | Error::Closed { .. }) => Err(Error::Closed { operation: "restart" }),
                result => {
                    let started = result?;
                    start.after(&request, &started, true).await?;
                    Ok(started)
                }
            }
        })
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

    fn logs(&self, id: &PreviewId, follow: bool, tail: Option<u32>) -> LogReader {
        streams::logs(&self.context, id, follow, tail)
    }

    async fn events(&self, only: Option<PreviewId>) -> Result<Subscription, Error> {
        let common = &self.context.common;
        Ok(Subscription::new(common.store.subscribe(), only, common.tasks.closed().clone()))
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

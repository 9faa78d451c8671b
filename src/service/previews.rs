//! The service on an engine.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use super::api::{
    CheckRequest, CheckResult, PageAddress, Previews, StartRequest, SweepResult, Verdict, VerifyRequest, WaitOptions,
};
use super::attempt::Attempt;
use super::check::Check;
use super::common::{Common, ping};
use super::context::Context;
use super::database::ProjectDatabases;
use super::events::{Events, Subscription};
use super::hooks::Hooks;
use super::image::Images;
use super::list::{List, in_use};
use super::log_queue::LogReader;
use super::logs::Logs;
use super::network::PreviewNetwork;
use super::next_routes::NextRoutes;
use super::operations::Operations;
use super::prepare::Preparation;
use super::restart::Restart;
use super::start::Start;
use super::status::Status;
use super::stop::{Stop, stop_all};
use super::sweep::Sweep;
use super::verify::Verify;
use super::wait::Wait;
use crate::database::Databases;
use crate::engine::Workload;
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{Preview, Started};
use crate::probe::Prober;
use crate::settings::Settings;
use crate::state::{Ownership, Snapshots, Store};
use crate::sync::{EngineEvents, Monitor, PageProbe, Reconciler};
use crate::tasks::Tasks;

/// See the module.
pub struct PreviewService {
    context: Arc<Context>,
    images: Images,
    start: Arc<Start>,
    restart: Arc<Restart>,
    stop: Stop,
    status: Arc<Status>,
    list: List,
    wait: Arc<Wait>,
    logs: Logs,
    events: Events,
    sweep: Sweep,
    check: Check,
    verify: Verify,
}

impl PreviewService {
    /// A service on the engine of `events`; connects to nothing.
    #[must_use]
    pub fn new(
        settings: Settings,
        events: Arc<EngineEvents>,
        databases: Option<Arc<dyn Databases>>,
        prober: Arc<dyn Prober>,
    ) -> Self {
        let (context, network) = context(settings, events, databases, Arc::clone(&prober));
        let context = Arc::new(context);
        let images = Images::new(Arc::clone(&context.engine), context.common.tasks.clone(), &context.common.settings);
        let wait = Arc::new(Wait::new(Arc::clone(&context)));
        let status = Arc::new(Status::new(Arc::clone(&context)));
        let preparation = Arc::new(Preparation::new(Arc::clone(&context), images.clone(), network));
        let attempt = Attempt::new(Arc::clone(&context), Arc::clone(&preparation), Arc::clone(&wait));
        let start = Arc::new(Start::new(Arc::clone(&context.common), Arc::new(attempt)));
        let next = Arc::new(NextRoutes::new(Arc::clone(&prober)));
        Self {
            images,
            restart: Arc::new(Restart::new(Arc::clone(&context), Arc::clone(&start), preparation)),
            start,
            stop: Stop::new(Arc::clone(&context)),
            list: List::new(Arc::clone(&context), Arc::clone(&status)),
            wait,
            logs: Logs::new(Arc::clone(&context)),
            events: Events::new(Arc::clone(&context)),
            sweep: Sweep::new(Arc::clone(&context)),
            check: Check::new(Arc::clone(&context), Arc::clone(&status), Arc::clone(&next), Arc::clone(&prober)),
            verify: Verify::new(Arc::clone(&context), Arc::clone(&status), next, prober),
            status,
            context,
        }
    }
}

/// What the use cases share, put together from the bottom up.
fn context(
    settings: Settings,
    events: Arc<EngineEvents>,
    databases: Option<Arc<dyn Databases>>,
    prober: Arc<dyn Prober>,
) -> (Context, PreviewNetwork) {
    let (engine, tasks) = (Arc::clone(events.engine()), Tasks::default());
    let snapshots = Snapshots::new(Arc::clone(events.status()), &settings);
    let store = Arc::new(Store::new(snapshots, &settings.preview_container_name_prefix));
    let page = PageProbe::new(prober, &settings);
    let monitor = Monitor::new(Arc::clone(&engine), Arc::clone(&store), page.clone(), &settings);
    let server = databases.as_ref().map(|databases| databases.endpoint());
    let network = PreviewNetwork::new(Arc::clone(&engine), tasks.clone(), server, &settings);
    let kept_apart = network.clone();
    let ensure_network = Box::new(move || kept_apart.ensure());
    let reconciler = Reconciler::new(events, Arc::clone(&store), monitor, tasks.clone(), &settings, ensure_network);
    let missed = Arc::downgrade(&reconciler);
    let on_missed = move |id: &PreviewId| {
        if let Some(reconciler) = missed.upgrade() {
            reconciler.refresh_soon(id);
        }
    };
    let operations = Operations::new(Arc::clone(&store), tasks.clone(), Box::new(on_missed));
    let databases = ProjectDatabases::new(databases, operations.clone(), &settings);
    let ownership = Ownership::of(&settings.preview_owner);
    let common = Arc::new(Common { settings, store, page, tasks, operations, databases });
    (Context { common, engine, reconciler, ownership }, network)
}

#[async_trait]
impl Previews for PreviewService {
    fn common(&self) -> &Common {
        &self.context.common
    }

    async fn ping(&self) -> Result<(), Error> {
        ping(self.context.engine.ping(), self.context.settings()).await
    }

    fn start(&self, request: StartRequest) -> BoxFuture<'static, Result<Started, Error>> {
        self.context.reconciler.listen();
        Box::pin(self.start.call(request))
    }

    fn restart(&self, request: StartRequest) -> BoxFuture<'static, Result<Started, Error>> {
        Box::pin(self.restart.call(request))
    }

    fn stop(&self, id: &PreviewId, remove_database: bool) -> BoxFuture<'static, Result<(), Error>> {
        Box::pin(self.stop.call(id, remove_database))
    }

    async fn stop_all(&self) -> Result<(), Error> {
        stop_all(self.context.known_and_listed("stop").await?, |id| self.stop(&id, false)).await
    }

    async fn get(&self, id: &PreviewId, hooks: Option<Arc<dyn Hooks>>) -> Result<Option<Preview>, Error> {
        self.status.call(id, hooks.as_deref()).await
    }

    async fn list(&self) -> Result<Vec<Preview>, Error> {
        self.list.call().await
    }

    async fn is_running(&self, id: &PreviewId) -> Result<bool, Error> {
        self.status.is_running(id).await
    }

    async fn wait_until_ready(&self, id: &PreviewId, options: WaitOptions) -> Result<Preview, Error> {
        self.wait.call(id, options).await
    }

    async fn check(&self, id: &PreviewId, request: CheckRequest) -> Result<CheckResult, Error> {
        self.check.call(id, request).await
    }

    async fn verify(&self, id: &PreviewId, request: VerifyRequest) -> Result<Verdict, Error> {
        self.verify.call(id, request).await
    }

    async fn page_address(&self, id: &PreviewId, path: &str) -> Result<PageAddress, Error> {
        self.verify.page_address(id, path).await
    }

    fn logs(&self, id: &PreviewId, follow: bool, tail: Option<u32>) -> LogReader {
        self.logs.call(id, follow, tail)
    }

    async fn events(&self, only: Option<PreviewId>, browser_errors: bool) -> Result<Subscription, Error> {
        self.events.call(only, browser_errors).await
    }

    async fn sweep(&self, remove_orphan_databases: bool) -> Result<SweepResult, Error> {
        self.sweep.call(remove_orphan_databases).await
    }

    async fn ensure_image(&self, hooks: Option<Arc<dyn Hooks>>) -> Result<(), Error> {
        self.images.ensure(None, hooks.as_deref(), || ()).await.map(drop)
    }

    async fn monitor(&self, id: &PreviewId, name_or_id: &str) -> Result<(), Error> {
        let found = self.context.engine.inspect(name_or_id).await;
        let found = found.map_err(|source| Error::engine("monitor", Some(id), source))?;
        if let Some(workload) = found.filter(Workload::is_running) {
            self.context.reconciler.adopt(id, &workload).await.wait_compiled().await;
        }
        Ok(())
    }

    async fn projects_in_use(&self) -> Result<HashSet<u64>, Error> {
        in_use(self.context.engine.list(self.context.ownership.owner()).await, self.context.store())
    }
}

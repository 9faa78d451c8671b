//! Keeps what is remembered true: listens to the engine's events, asks the engine about what they are about, and takes the
//! answers into the state. Running containers are followed from then on.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

use futures_util::future::BoxFuture;

use super::engine_events::{EngineEvents, Listener, News};
use super::monitor::Monitor;
use crate::engine::{Change, Engine, EngineError, EngineEvent, SIGKILL_CODE, SIGTERM_CODE, State, Workload};
use crate::error::Error;
use crate::id::{LABEL_NETWORK_ISOLATION, LABEL_START, PreviewId};
use crate::probe::ProbeTarget;
use crate::settings::Settings;
use crate::state::{Ending, Ownership, Run, Store};
use crate::tasks::Tasks;

pub(crate) type EnsureNetwork = Box<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>;

/// See the module. One per service.
pub(crate) struct Reconciler {
    engine: Arc<dyn Engine>,
    events: Arc<EngineEvents>,
    store: Arc<Store>,
    monitor: Monitor,
    tasks: Tasks,
    ownership: Ownership,
    port: u16,
    bind_address: IpAddr,
    health_path: String,
    listening: AtomicBool,
    ensure_network: EnsureNetwork,
    this: Weak<Self>,
}

impl Reconciler {
    /// `ensure_network` makes sure of the network of previews that are kept apart.
    pub(crate) fn new(
        events: Arc<EngineEvents>,
        store: Arc<Store>,
        monitor: Monitor,
        tasks: Tasks,
        settings: &Settings,
        ensure_network: EnsureNetwork,
    ) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            engine: Arc::clone(events.engine()),
            events,
            store,
            monitor,
            tasks,
            ownership: Ownership::of(&settings.preview_owner),
            port: settings.preview_port,
            bind_address: settings.preview_bind_address,
            health_path: settings.preview_health_path.clone(),
            listening: AtomicBool::new(false),
            ensure_network,
            this: Weak::clone(this),
        })
    }

    /// A task that ends with the service.
    fn spawn<F: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(Arc<Self>) -> F) {
        if let Some(this) = self.this.upgrade() {
            self.tasks.spawn_until_closed(work(this));
        }
    }

    /// Begins to listen to the engine's events, if it does not yet.
    pub(crate) fn listen(&self) {
        if self.listening.swap(true, Ordering::Relaxed) {
            return;
        }
        let Some(this) = self.this.upgrade() else { return };
        let listener = self.events.listen();
        self.tasks.spawn(async move {
            this.tasks.closed().run_until_cancelled(this.hear(listener)).await;
            // The listener is gone: if it was the last, its connection is closed before the service counts as closed.
            this.events.wait_disconnected().await;
        });
    }

    async fn hear(&self, mut listener: Listener) {
        loop {
            match listener.next().await {
                News::Event(event) => self.handle(&event),
                News::Disconnected => self.store.publish_all(),
                News::Resync => self.spawn(|this| async move { this.resync().await }),
            }
        }
    }

    fn handle(&self, event: &EngineEvent) {
        if event.change == Change::Other && self.is_abandoned(&event.labels) {
            let id = event.workload_id.clone();
            self.spawn(|this| async move { this.remove_abandoned(&id).await });
            return;
        }
        let Some(id) = self.store.find(event) else {
            let labelled = PreviewId::from_labels(&event.labels, self.ownership.owner());
            if let Some(id) = labelled.filter(|id| self.store.interest.covers(id)) {
                self.discover(id, &event.name);
            }
            return;
        };
        if event.change == Change::Oom
            && let Some(record) = self.store.record(&id)
            && record.is_of(&event.workload_id)
            && record.run.id().started_at.is_none_or(|started| event.at >= started)
        {
            record.run.record_oom();
        }
        self.refresh_soon(&id);
    }

    /// The event stream began (again): anything may have happened before it.
    async fn resync(&self) {
        match self.engine.list(self.ownership.owner()).await {
            Ok(listed) => {
                if listed.iter().any(|workload| workload.labels.contains_key(LABEL_NETWORK_ISOLATION)) {
                    // What keeps them apart may have gone with the engine's machine.
                    self.engine.forget_rules().await;
                    self.spawn(|this| async move { (this.ensure_network)().await });
                }
                for workload in listed {
                    if workload.state == State::Created && self.is_abandoned(&workload.labels) {
                        self.remove_abandoned(&workload.id).await;
                    } else if let Some(id) = self.ownership.preview_of(&workload)
                        && self.store.interest.covers(&id)
                    {
                        self.discover(id, &workload.name);
                    }
                }
            }
            // The events tell when the engine answers again, and that leads here.
            Err(error) => log::debug!(target: "kosuke_docker::engine", "the previews could not be listed: {error}"),
        }
        for id in self.store.previews() {
            self.refresh_soon(&id);
        }
    }

    /// Asks about a preview that may not be remembered yet.
    fn discover(&self, id: PreviewId, name: &str) {
        self.store.set_name(&id, name);
        self.spawn(|this| async move { this.refresh_or_log(&id).await });
    }

    /// Asks about a preview's container in a task, once for any number of events.
    pub(crate) fn refresh_soon(&self, id: &PreviewId) {
        if !self.store.begin_refresh(id) {
            return;
        }
        let id = id.clone();
        self.spawn(|this| async move {
            loop {
                this.refresh_or_log(&id).await;
                if !this.store.end_refresh(&id) {
                    return;
                }
            }
        });
    }

    async fn refresh_or_log(&self, id: &PreviewId) {
        if let Err(error) = self.refresh(id).await {
            log::debug!(target: "kosuke_docker::engine", "{id}: {error}");
        }
    }

    /// Makes sure that the preview is remembered, and that what is remembered is true.
    pub(crate) async fn ensure_fresh(&self, id: &PreviewId) -> Result<(), EngineError> {
        self.store.wait_refreshed(id).await;
        if self.store.is_fresh(id) {
            return Ok(());
        }
        self.events.wait_replayed().await;
        self.refresh(id).await
    }

    /// As [`Self::ensure_fresh`]. Where the engine does not answer and the preview is remembered, `Some` has the reason.
    pub(crate) async fn ensure_fresh_or_remembered(&self, id: &PreviewId) -> Result<Option<EngineError>, EngineError> {
        match self.ensure_fresh(id).await {
            Ok(()) => Ok(None),
            Err(reason) if reason.is_no_answer() && self.store.is_remembered(id) => Ok(Some(reason)),
            Err(error) => Err(error),
        }
    }

    /// Asks the engine about a preview's container and takes in what it says, unless a later answer is known already.
    pub(crate) async fn refresh(&self, id: &PreviewId) -> Result<(), EngineError> {
        let asked_at = Instant::now();
        let found = self.engine.inspect(&self.store.name(id)).await?;
        match found.filter(|workload| self.ownership.check(id, workload).is_ok()) {
            Some(workload) => self.observe(id, workload).await,
            None => self.store.observe_absence(id, asked_at),
        };
        Ok(())
    }

    /// Takes in what the engine said; a running container is followed from now on. False: a later answer is known.
    pub(crate) async fn observe(&self, id: &PreviewId, workload: Workload) -> bool {
        if workload.state == State::Exited {
            let ending = match self.store.ending_of(id, &workload) {
                Some(known) => known,
                None => Arc::new(self.monitor.read_ending(id, &workload).await),
            };
            return self.store.observe(id, workload, Some(ending));
        }
        let running = workload.is_running().then(|| workload.clone());
        let taken = self.store.observe(id, workload, None);
        if taken && let Some(workload) = running {
            self.adopt(id, &workload).await;
        }
        taken
    }

    /// What the output of a container tells, which may have ended.
    pub(crate) async fn read_ending(&self, id: &PreviewId, workload: &Workload) -> Ending {
        self.monitor.read_ending(id, workload).await
    }

    /// Whether somebody stops or stopped it, who may be another process: its exit code alone does not tell, since dev
    /// servers end by themselves when they are told to.
    pub(crate) fn was_stopped(&self, workload: &Workload) -> bool {
        let by_signal = matches!(workload.exit_code, Some(SIGTERM_CODE | SIGKILL_CODE)) && !workload.oom_killed;
        let told = || self.events.status().history(&workload.id).last_signal.is_some();
        workload.state == State::Removing || (workload.state == State::Exited && (by_signal || told()))
    }

    /// It ended before anybody could use it.
    pub(crate) async fn ended(&self, id: &PreviewId, workload: &Workload) -> Error {
        self.observe(id, workload.clone()).await;
        match self.store.preview(id, None).filter(|preview| preview.finished_at.is_some()) {
            Some(preview) => Error::failed(id, Some(preview)),
            None => Error::ended(id, workload.exit_code, self.read_ending(id, workload).await.last_lines),
        }
    }

    /// The run of a running container: the one that is followed, or a new one.
    pub(crate) async fn adopt(&self, id: &PreviewId, workload: &Workload) -> Arc<Run> {
        let port = self.store.snapshots().port_of(workload).unwrap_or(0);
        let info = self.store.snapshots().info(id, &workload.id, &workload.name, port);
        if let Some(run) = self.store.known_run(&info, &workload.run) {
            return run;
        }
        let locality = self.engine.locality();
        let mut reached = locality.reach(workload, self.port, self.bind_address).await;
        if reached.is_none() && workload.labels.contains_key(LABEL_NETWORK_ISOLATION) {
            // This process's container may not be on the previews' network yet.
            (self.ensure_network)().await;
            reached = locality.reach(workload, self.port, self.bind_address).await;
        }
        let target = reached.map(|endpoint| ProbeTarget::new(endpoint, &self.health_path));
        let (run, new) = self.store.register(info, &workload.run, target);
        if new {
            let last_oom = self.events.status().history(&workload.id).last_oom;
            if last_oom.is_some_and(|oom| workload.started_at().is_none_or(|started| oom >= started)) {
                run.record_oom();
            }
            self.follow(id, Arc::clone(&run));
        }
        run
    }

    /// Follows a run in a task until its container ends, the run does, or the service is closed.
    fn follow(&self, id: &PreviewId, run: Arc<Run>) {
        let Some(this) = self.this.upgrade() else { return };
        let id = id.clone();
        self.tasks.spawn(async move {
            let following = run.ended().run_until_cancelled(this.monitor.follow(&id, &run));
            this.tasks.closed().run_until_cancelled(following).await;
            // Whoever waits for it to become ready waits for this, too.
            run.end();
            if !this.tasks.closed().is_cancelled() {
                this.refresh_soon(&id);
            }
        });
    }

    fn is_abandoned(&self, labels: &HashMap<String, String>) -> bool {
        labels.get(LABEL_START).is_some_and(|token| self.store.is_abandoned_create(token))
    }

    /// A create that was not answered in time may be carried out later.
    async fn remove_abandoned(&self, workload_id: &str) {
        match self.engine.remove(workload_id).await {
            Ok(()) => {
                log::info!(target: "kosuke_docker::service", "removed container {workload_id} of a start that had failed");
            }
            Err(error) => {
                log::error!(target: "kosuke_docker::service", "container {workload_id} of a failed start is left: {error}");
            }
        }
    }
}

//! Everything that is remembered, under one lock.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

use super::entry::{CacheEntry, Ending, Observation, Record};
use super::interest::Interest;
use super::names::Names;
use super::queue::QueuePermit;
use super::run::Run;
use super::shared_start::{Leader, SharedStart, Waiter};
use super::snapshot::{Freshness, Snapshots};
use crate::engine::{EngineError, EngineEvent, RunId, State, Workload};
use crate::id::PreviewId;
use crate::lock::lock;
use crate::preview::{ContainerInfo, EventKind, Phase, Preview, PreviewEvent};
use crate::probe::ProbeTarget;

/// How long a caller waits for a refresh that an event made necessary.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(1);
/// No call to the engine takes longer.
const LONGEST_CALL: Duration = Duration::from_secs(3600);
/// Events that a subscriber may be behind before it gets a gap.
const EVENTS: usize = 1024;

pub(super) struct Entries {
    pub(super) all: HashMap<PreviewId, CacheEntry>,
    /// When the latest calls began that found nothing: an answer from before must not bring a preview back.
    absent: HashMap<PreviewId, Instant>,
    pub(super) names: Names,
}

/// See the module.
pub(crate) struct Store {
    pub(super) entries: Mutex<Entries>,
    pub(super) snapshots: Snapshots,
    pub(super) events: broadcast::Sender<PreviewEvent>,
    /// What a page makes up is told apart: it must not push other events out.
    pub(super) browser_events: broadcast::Sender<PreviewEvent>,
    /// Of which previews somebody wants to hear.
    pub(crate) interest: Interest,
    /// The tokens of starts that failed while the engine was creating their container.
    abandoned_creates: Mutex<HashSet<String>>,
}

/// Shows what an operation does as the phase, until it is dropped.
pub(crate) struct OperationGuard<'a> {
    store: &'a Store,
    id: PreviewId,
}

impl OperationGuard<'_> {
    pub(crate) fn phase(&self, phase: Phase) {
        self.store.change(&self.id, |entry| entry.operation = Some(phase));
    }
}

impl Drop for OperationGuard<'_> {
    fn drop(&mut self) {
        self.store.change(&self.id, |entry| entry.operation = None);
    }
}

// The lock, names and events.
impl Store {
    /// Remembers nothing yet. `prefix`: of the containers' names.
    pub(crate) fn new(snapshots: Snapshots, prefix: &str) -> Self {
        let entries = Entries { all: HashMap::new(), absent: HashMap::new(), names: Names::new(prefix) };
        Self {
            entries: Mutex::new(entries),
            snapshots,
            events: broadcast::Sender::new(EVENTS),
            browser_events: broadcast::Sender::new(EVENTS),
            interest: Interest::default(),
            abandoned_creates: Mutex::default(),
        }
    }

    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }

    /// From now on the container of this preview has this name.
    pub(crate) fn set_name(&self, id: &PreviewId, name: &str) {
        lock(&self.entries).names.set(id, name);
    }

    /// The name of the preview's container.
    pub(crate) fn name(&self, id: &PreviewId) -> String {
        lock(&self.entries).names.of(id)
    }

    /// Changes an entry, tells subscribers what became of it, and gives it back when nothing is in it.
    pub(super) fn change<T>(&self, id: &PreviewId, change: impl FnOnce(&mut CacheEntry) -> T) -> T {
        let mut entries = lock(&self.entries);
        self.change_in(&mut entries, id, change)
    }

    fn change_in<T>(
        &self,
        entries: &mut MutexGuard<'_, Entries>,
        id: &PreviewId,
        change: impl FnOnce(&mut CacheEntry) -> T,
    ) -> T {
        let Entries { all, names, .. } = &mut **entries;
        let entry = all.entry(id.clone()).or_default();
        let result = change(entry);
        self.tell(id, names, entry);
        if entry.is_empty() {
            all.remove(id);
        }
        result
    }

    /// Sends what changed. Under the lock of the entries, so that events come in order.
    fn tell(&self, id: &PreviewId, names: &Names, entry: &mut CacheEntry) {
        if self.is_heard() {
            let now = self.snapshots.preview(id, &names.of(id), entry, None);
            for event in entry.published.advance(id, now.as_ref()) {
                let browser = event.kind == EventKind::BrowserErrors;
                // Err: the last subscriber left just now.
                drop(if browser { &self.browser_events } else { &self.events }.send(event));
            }
        }
    }

    /// Something that a run knows has changed.
    pub(crate) fn publish(&self, id: &PreviewId) {
        let Entries { all, names, .. } = &mut *lock(&self.entries);
        if let Some(entry) = all.get_mut(id) {
            self.tell(id, names, entry);
        }
    }

    /// Something that concerns every preview has changed.
    pub(crate) fn publish_all(&self) {
        let Entries { all, names, .. } = &mut *lock(&self.entries);
        for (id, entry) in all {
            self.tell(id, names, entry);
        }
    }
}

// Operations.
impl Store {
    /// Joins the start at the end of the queue, or opens one: the opener gets a place in the queue and has to run it.
    pub(crate) fn join_start(&self, id: &PreviewId) -> (Waiter, Option<(Leader, QueuePermit)>) {
        let mut entries = lock(&self.entries);
        let entry = entries.all.entry(id.clone()).or_default();
        if let Some(waiter) = entry.joinable.as_ref().and_then(|start| start.join()) {
            return (waiter, None);
        }
        let (waiter, leader) = SharedStart::open();
        entry.joinable = Some(Arc::clone(leader.shared()));
        (waiter, Some((leader, entry.queue.enter())))
    }

    /// A place at the end of the queue, which later starts do not join past.
    pub(crate) fn enter_queue(&self, id: &PreviewId) -> QueuePermit {
        let mut entries = lock(&self.entries);
        let entry = entries.all.entry(id.clone()).or_default();
        entry.joinable = None;
        entry.queue.enter()
    }

    /// Ends a place in the queue. Tells whether something happened meanwhile, so that a refresh is due.
    #[must_use]
    pub(crate) fn leave_queue(&self, id: &PreviewId, permit: QueuePermit) -> bool {
        drop(permit);
        self.change(id, |entry| std::mem::take(&mut entry.refresh.again))
    }

    /// Begins to show what an operation does.
    pub(crate) fn begin_operation(&self, id: &PreviewId, phase: Phase) -> OperationGuard<'_> {
        self.change(id, |entry| entry.operation = Some(phase));
        OperationGuard { store: self, id: id.clone() }
    }

    /// What an operation does to a preview just now.
    pub(crate) fn operation(&self, id: &PreviewId) -> Option<Phase> {
        lock(&self.entries).all.get(id).and_then(|entry| entry.operation)
    }

    /// Whether an operation on it runs or is queued.
    pub(crate) fn is_busy(&self, id: &PreviewId) -> bool {
        lock(&self.entries).all.get(id).is_some_and(CacheEntry::is_busy)
    }

    /// Waits until what is queued now has ended.
    pub(crate) async fn wait_idle(&self, id: &PreviewId) {
        let last = lock(&self.entries).all.get(id).and_then(|entry| entry.queue.last());
        if let Some(last) = last {
            last.cancelled().await;
        }
    }

    /// The engine may still create a container with this token, for a start that failed.
    pub(crate) fn abandon_create(&self, token: &str) {
        lock(&self.abandoned_creates).insert(token.to_owned());
    }

    pub(crate) fn is_abandoned_create(&self, token: &str) -> bool {
        lock(&self.abandoned_creates).contains(token)
    }
}

// What the engine said.
impl Store {
    /// The preview as it is remembered. `unreachable`: the engine was asked and did not answer.
    pub(crate) fn preview(&self, id: &PreviewId, unreachable: Option<&EngineError>) -> Option<Preview> {
        let entries = lock(&self.entries);
        self.snapshots.preview(id, &entries.names.of(id), entries.all.get(id)?, unreachable)
    }

    /// The container that the engine last told of.
    pub(crate) fn workload(&self, id: &PreviewId) -> Option<Workload> {
        lock(&self.entries).all.get(id)?.observation.as_ref().map(|observation| observation.workload.clone())
    }

    /// Whether it is cached or being worked on.
    pub(crate) fn is_known(&self, id: &PreviewId) -> bool {
        lock(&self.entries).all.get(id).is_some_and(CacheEntry::is_known)
    }

    /// Every preview that is cached or being worked on.
    pub(crate) fn previews(&self) -> Vec<PreviewId> {
        let entries = lock(&self.entries);
        let known = entries.all.iter().filter(|(_, entry)| entry.is_known());
        let mut ids: Vec<_> = known.map(|(id, _)| id.clone()).collect();
        ids.sort();
        ids
    }

    /// Whether the engine ever told of this preview, under its present name.
    pub(crate) fn is_remembered(&self, id: &PreviewId) -> bool {
        let entries = lock(&self.entries);
        entries.all.get(id).is_some_and(|entry| observed(entry, &entries.names.of(id)).is_some())
    }

    /// Whether what is remembered is all that can be told: the engine was asked after the event stream began, nothing
    /// happened since, and the state lasts; or the engine is known not to answer.
    pub(crate) fn is_fresh(&self, id: &PreviewId) -> bool {
        let entries = lock(&self.entries);
        let Some(entry) = entries.all.get(id) else { return false };
        let observation = observed(entry, &entries.names.of(id));
        match self.snapshots.freshness() {
            Freshness::Never => false,
            Freshness::Unreachable => observation.is_some() || entry.operation.is_some(),
            Freshness::Since(began) => observation.is_some_and(|Observation { workload, ending, .. }| {
                let lasting = !matches!(workload.state, State::Created | State::Removing);
                let whole = ending.as_ref().is_none_or(|ending| ending.complete);
                workload.asked_at > began && entry.refresh.running.is_none() && lasting && whole
            }),
        }
    }

    /// Takes in what the engine said. False: a later answer is known already, so this one tells nothing.
    pub(crate) fn observe(&self, id: &PreviewId, workload: Workload, ending: Option<Arc<Ending>>) -> bool {
        let mut entries = lock(&self.entries);
        let known = entries.all.get(id).and_then(|entry| entry.observation.as_ref());
        let latest = known.map(|known| known.workload.asked_at).or(entries.absent.get(id).copied());
        if latest.is_some_and(|latest| latest > workload.asked_at) {
            return false;
        }
        self.change_in(&mut entries, id, |entry| {
            if workload.is_dead() {
                entry.end_record(|_| true);
            }
            entry.lost_database.take_if(|lost| !lost.concerns(&workload));
            entry.observation = Some(Observation { workload, at: SystemTime::now(), ending });
        });
        true
    }

    /// Takes in that a call which began at `asked_at` found nothing.
    pub(crate) fn observe_absence(&self, id: &PreviewId, asked_at: Instant) -> bool {
        let mut entries = lock(&self.entries);
        let known = entries.all.get(id).and_then(|entry| entry.observation.as_ref());
        if known.is_some_and(|known| known.workload.asked_at > asked_at) {
            return false;
        }
        entries.absent.retain(|_, at| at.elapsed() < LONGEST_CALL);
        entries.absent.insert(id.clone(), asked_at);
        self.change_in(&mut entries, id, |entry| {
            entry.observation = None;
            entry.lost_database = None;
            entry.end_record(|_| true);
        });
        true
    }

    /// What the output of this container told at its end, if it was read whole: it is read once.
    pub(crate) fn ending_of(&self, id: &PreviewId, workload: &Workload) -> Option<Arc<Ending>> {
        let entries = lock(&self.entries);
        let known = entries.all.get(id)?.observation.as_ref()?;
        let same = known.workload.id == workload.id && known.workload.finished_at == workload.finished_at;
        known.ending.clone().filter(|ending| same && ending.complete)
    }

    /// The preview that an event is about, if it is one that is remembered here.
    pub(crate) fn find(&self, event: &EngineEvent) -> Option<PreviewId> {
        let entries = lock(&self.entries);
        let is_of = |id: &PreviewId, entry: &CacheEntry| match &entry.observation {
            Some(Observation { workload, .. }) => workload.id == event.workload_id || workload.name == event.name,
            None => entries.names.of(id) == event.name,
        };
        entries.all.iter().find(|(id, entry)| is_of(id, entry)).map(|(id, _)| id.clone())
    }

    /// Begins a refresh that an event made necessary. False: one is under way, or an operation is, and it is made then.
    pub(crate) fn begin_refresh(&self, id: &PreviewId) -> bool {
        let mut entries = lock(&self.entries);
        let Some(entry) = entries.all.get_mut(id) else { return false };
        // What an operation does to the container is asked for at its end.
        if entry.refresh.running.is_some() || entry.operation.is_some() {
            entry.refresh.again = true;
            return false;
        }
        entry.refresh.running = Some(CancellationToken::new());
        true
    }

    /// Ends it. Tells whether something happened since it began, so that another one is due.
    pub(crate) fn end_refresh(&self, id: &PreviewId) -> bool {
        self.change(id, |entry| {
            let again = entry.operation.is_none() && std::mem::take(&mut entry.refresh.again);
            if !again && let Some(running) = entry.refresh.running.take() {
                running.cancel();
            }
            again
        })
    }

    /// Waits for the refresh that is under way, but not long.
    pub(crate) async fn wait_refreshed(&self, id: &PreviewId) {
        let running = lock(&self.entries).all.get(id).and_then(|entry| entry.refresh.running.clone());
        if let Some(running) = running {
            // Too late: what is told is then the last known, with its time.
            drop(tokio::time::timeout(REFRESH_TIMEOUT, running.cancelled()).await);
        }
    }
}

// Running containers.
impl Store {
    pub(crate) fn record(&self, id: &PreviewId) -> Option<Record> {
        lock(&self.entries).all.get(id).and_then(|entry| entry.record.clone())
    }

    pub(crate) fn containers(&self) -> Vec<ContainerInfo> {
        let records: Vec<Record> = lock(&self.entries).all.values().filter_map(|entry| entry.record.clone()).collect();
        let mut infos: Vec<_> = records.iter().map(Record::info).collect();
        infos.sort_by(|one, other| one.id.cmp(&other.id));
        infos
    }

    /// The run that the engine last told of, if it is followed.
    pub(crate) fn current_run(&self, id: &PreviewId) -> Option<Arc<Run>> {
        let entries = lock(&self.entries);
        entries.all.get(id)?.current_run().map(|(_, run)| run)
    }

    /// As [`Self::current_run`], where a request to it tells something: a paused app answers nothing, and nobody is told of
    /// one that has no port outside, or that another takes the place of.
    pub(crate) fn answering_run(&self, id: &PreviewId) -> Option<Arc<Run>> {
        let entries = lock(&self.entries);
        let entry = entries.all.get(id)?;
        let (workload, run) = entry.current_run()?;
        let replaced = matches!(entry.operation, Some(Phase::Pulling | Phase::Creating));
        let told = workload.state != State::Paused && !replaced && self.snapshots.port_of(workload).is_some();
        told.then_some(run)
    }

    /// The run that follows this very container, where there is one.
    pub(crate) fn known_run(&self, info: &ContainerInfo, run: &RunId) -> Option<Arc<Run>> {
        lock(&self.entries).all.get(&info.id)?.known_run(info, run)
    }

    /// Takes a running container in, whose page is asked for at `target`. A run that is known already stays; tells the run,
    /// and whether it is new: then somebody has to follow it.
    pub(crate) fn register(
        self: &Arc<Self>,
        info: ContainerInfo,
        id: &RunId,
        target: Option<ProbeTarget>,
    ) -> (Arc<Run>, bool) {
        let preview = info.id.clone();
        // A run does not keep the state alive.
        let (store, of) = (Arc::downgrade(self), info.id.clone());
        let on_change = move || store.upgrade().into_iter().for_each(|store| store.publish(&of));
        self.change(&preview, |entry| {
            if let Some(run) = entry.known_run(&info, id) {
                return (run, false);
            }
            entry.last_port = Some(info.port);
            let run = Arc::new(Run::followed(id.clone(), target, self.snapshots.inside_port(), Box::new(on_change)));
            entry.set_record(Record { info, run: Arc::clone(&run) });
            (run, true)
        })
    }

    /// Takes an entry in by hand. Nothing follows its container yet.
    pub(crate) fn put(&self, info: ContainerInfo, target: Option<ProbeTarget>) {
        let preview = info.id.clone();
        self.change(&preview, |entry| match &mut entry.record {
            Some(record) if record.is_of(&info.container_id) => record.info = info,
            _ => {
                let run = RunId { task: info.container_id.clone(), started_at: None };
                entry.set_record(Record { info, run: Arc::new(Run::unfollowed(run, target)) });
            }
        });
    }

    /// Marks the entry as compiled.
    pub(crate) fn complete(&self, id: &PreviewId) {
        let run = self.change(id, |entry| {
            let record = entry.record.as_mut()?;
            record.info.compilation_complete = true;
            Some(Arc::clone(&record.run))
        });
        if let Some(run) = run {
            run.complete_by_logs();
        }
    }

    /// Takes an entry out and ends its run; what the engine said is forgotten, too.
    pub(crate) fn remove(&self, id: &PreviewId) {
        self.change(id, |entry| {
            entry.observation = None;
            entry.end_record(|_| true);
        });
    }

    /// Takes an entry out only if it still has this run: a newer container is another matter.
    pub(crate) fn remove_run(&self, id: &PreviewId, run: &Run) {
        self.change(id, |entry| entry.end_record(|current| std::ptr::eq(current, run)));
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        lock(&self.entries).all.is_empty()
    }
}

/// What the engine told of the container of this name.
fn observed<'a>(entry: &'a CacheEntry, name: &str) -> Option<&'a Observation> {
    entry.observation.as_ref().filter(|observation| observation.workload.name == name)
}

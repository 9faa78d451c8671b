//! The cache, and the queue of operations of each preview. Truth is in the engine: all of this can be rebuilt from it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::events::{Announced, PreviewEvent};
use super::lock;
use super::snapshot::{View, Warm};
use super::start::Started;
use super::watch::Watch;
use crate::engine::{Container, EngineEvent, State};
use crate::error::{EngineError, Error};
use crate::id::{LABEL_OWNER, LABEL_PROJECT, PreviewId};
use crate::preview::{CompileError, Phase, Preview};
use crate::probe::ProbeTarget;

/// How long a caller waits for a look that an event made necessary.
const LOOK_PATIENCE: Duration = Duration::from_secs(1);
/// No look takes longer.
const LONGEST_LOOK: Duration = Duration::from_secs(3600);
/// Events that a subscriber may be behind before it gets a gap.
const EVENTS: usize = 1024;

/// What the cache tells about one container. The Python model `ContainerInfo` has the same fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerInfo {
    /// The project's id.
    pub project_id: u64,
    /// The container's id.
    pub container_id: String,
    /// The container's name.
    pub container_name: String,
    /// The host port.
    pub port: u16,
    /// The address for people.
    pub url: String,
    /// The page was compiled and answered.
    pub compilation_complete: bool,
    /// The last probe was answered with 2xx.
    pub is_responding: bool,
}

impl ContainerInfo {
    pub(super) fn key(&self) -> PreviewId {
        PreviewId::project(self.project_id)
    }
}

/// One start, and all the callers that joined it.
pub(super) struct Flight {
    pub(super) result: watch::Sender<Option<Result<Started, Error>>>,
    /// Set under the registry's lock, once nobody waits: no one can join any more.
    abandoned: AtomicBool,
}

/// Runs a flight. Its callers get an answer even if the task that runs it panics.
pub(super) struct Pilot(Arc<Flight>);

impl Pilot {
    /// A flight that nobody can join.
    pub(super) fn alone() -> (Ticket, Self) {
        let (result, ticket) = watch::channel(None);
        (ticket, Self(Arc::new(Flight { result, abandoned: false.into() })))
    }
}

impl std::ops::Deref for Pilot {
    type Target = Flight;

    fn deref(&self) -> &Flight {
        &self.0
    }
}

impl Drop for Pilot {
    fn drop(&mut self) {
        self.result.send_if_modified(|result| {
            let unanswered = result.is_none();
            if unanswered {
                *result = Some(Err(Error::Closed { operation: "start" }));
            }
            unanswered
        });
    }
}

/// A caller's view of a flight.
pub(super) type Ticket = watch::Receiver<Option<Result<Started, Error>>>;

/// A place in the queue of a preview: its turn comes when `before` is over; `over` ends it.
pub(super) struct Turn {
    before: CancellationToken,
    over: CancellationToken,
}

impl Turn {
    pub(super) async fn come(&self) {
        self.before.cancelled().await;
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.before.is_cancelled() {
            self.over.cancel();
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            // Given up while it waited: who comes behind still waits for who is before.
            let (before, over) = (self.before.clone(), self.over.clone());
            runtime.spawn(async move {
                before.cancelled().await;
                over.cancel();
            });
        } else {
            self.over.cancel();
        }
    }
}

/// What an operation is doing, shown as the phase until it is dropped.
pub(super) struct Doing<'a> {
    registry: &'a Registry,
    key: PreviewId,
}

impl Doing<'_> {
    pub(super) fn phase(&self, phase: Phase) {
        self.registry.change(&self.key, |slot| slot.doing = Some(phase));
    }
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        self.registry.change(&self.key, |slot| slot.doing = None);
    }
}

#[derive(Clone)]
pub(super) struct Record {
    info: ContainerInfo,
    pub(super) watch: Arc<Watch>,
}

impl Record {
    /// The entry with what its watch knows.
    pub(super) fn info(&self) -> ContainerInfo {
        let state = self.watch.state();
        ContainerInfo {
            compilation_complete: self.info.compilation_complete || state.readiness.is_complete(),
            is_responding: state.last_answer.map_or(self.info.is_responding, crate::probe::Answer::is_good),
            ..self.info.clone()
        }
    }
}

/// What the last look at a preview's container found.
#[derive(Clone)]
pub(super) struct Seen {
    pub(super) container: Container,
    pub(super) at: SystemTime,
    /// What its output tells, once it ended.
    pub(super) end: Option<Arc<End>>,
}

/// What the output of a container that ended tells.
#[derive(Default)]
pub(super) struct End {
    pub(super) last_lines: Vec<String>,
    pub(super) errors: Vec<CompileError>,
    pub(super) hint: Option<String>,
    /// It was read to its end.
    pub(super) complete: bool,
}

#[derive(Default)]
pub(super) struct Slot {
    tail: Option<CancellationToken>,
    joinable: Option<Arc<Flight>>,
    /// The container's name, as the operation that came last has it.
    pub(super) name: String,
    pub(super) doing: Option<Phase>,
    pub(super) record: Option<Record>,
    pub(super) seen: Option<Seen>,
    /// The port of the last entry, which outlives it while an operation runs.
    pub(super) last_port: Option<u16>,
    /// A look that an event made necessary is under way, until the token is cancelled.
    looking: Option<CancellationToken>,
    /// Something happened since that look began, or while an operation ran.
    look_again: bool,
    announced: Announced,
}

impl Slot {
    fn known(&mut self, info: &ContainerInfo, started_at: Option<SystemTime>) -> Option<Arc<Watch>> {
        let record = self.record.as_mut()?;
        let same = record.watch.follows(&info.container_id, started_at) && record.info.port == info.port;
        same.then(|| Arc::clone(&record.watch))
    }

    fn is_busy(&self) -> bool {
        self.doing.is_some() || self.tail.as_ref().is_some_and(|tail| !tail.is_cancelled())
    }

    fn end_record(&mut self, condition: impl Fn(&Watch) -> bool) {
        if let Some(record) = self.record.take_if(|record| condition(&record.watch)) {
            record.watch.end();
        }
    }
}

#[derive(Default)]
struct Slots {
    all: HashMap<PreviewId, Slot>,
    /// When the latest looks began that found nothing: one from before must not bring a preview back.
    gone: HashMap<PreviewId, Instant>,
}

pub(super) struct Registry {
    slots: Mutex<Slots>,
    view: View,
    events: broadcast::Sender<PreviewEvent>,
}

impl Registry {
    pub(super) fn new(view: View) -> Self {
        Self { slots: Mutex::default(), view, events: broadcast::Sender::new(EVENTS) }
    }

    pub(super) fn view(&self) -> &View {
        &self.view
    }

    /// Changes a slot, tells subscribers what became of it, and gives it back when nothing is in it.
    fn change<T>(&self, key: &PreviewId, change: impl FnOnce(&mut Slot) -> T) -> T {
        let mut slots = lock(&self.slots);
        self.change_in(&mut slots, key, change)
    }

    fn change_in<T>(
        &self,
        slots: &mut MutexGuard<'_, Slots>,
        key: &PreviewId,
        change: impl FnOnce(&mut Slot) -> T,
    ) -> T {
        let slot = slots.all.entry(key.clone()).or_default();
        let result = change(slot);
        self.tell(key, slot);
        let idle = slot.record.is_none() && slot.seen.is_none() && slot.looking.is_none() && !slot.is_busy();
        if idle {
            slots.all.remove(key);
        }
        result
    }

    /// Announces what changed. Under the lock of the slots, so that events come in order.
    fn tell(&self, key: &PreviewId, slot: &mut Slot) {
        if self.is_heard() {
            let now = self.view.preview(key, slot, None);
            for event in slot.announced.next(key, now.as_ref()) {
                // Err: the last subscriber left just now.
                drop(self.events.send(event));
            }
        }
    }

    /// Something that a watch or the engine's link knows has changed.
    pub(super) fn touch(&self, key: &PreviewId) {
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.all.get_mut(key) {
            self.tell(key, slot);
        }
    }

    /// Touches every preview.
    pub(super) fn touch_all(&self) {
        let mut slots = lock(&self.slots);
        for (key, slot) in &mut slots.all {
            self.tell(key, slot);
        }
    }

    /// Whether anybody wants to hear of changes.
    pub(super) fn is_heard(&self) -> bool {
        self.events.receiver_count() > 0
    }

    /// What changes from now on.
    pub(super) fn subscribe(&self) -> broadcast::Receiver<PreviewEvent> {
        let mut slots = lock(&self.slots);
        if !self.is_heard() {
            // Nobody listened: what happened meanwhile is no news.
            for (key, slot) in &mut slots.all {
                let now = self.view.preview(key, slot, None);
                drop(slot.announced.next(key, now.as_ref()));
            }
        }
        self.events.subscribe()
    }

    /// Joins the start at the end of the queue, or opens one; the opener gets its turn and has to run it.
    pub(super) fn join_start(&self, key: &PreviewId, name: &str) -> (Ticket, Option<(Pilot, Turn)>) {
        let mut slots = lock(&self.slots);
        let slot = slots.all.entry(key.clone()).or_default();
        if let Some(flight) = &slot.joinable
            && flight.result.borrow().is_none()
            && !flight.abandoned.load(Ordering::Relaxed)
        {
            return (flight.result.subscribe(), None);
        }
        let (result, ticket) = watch::channel(None);
        let flight = Arc::new(Flight { result, abandoned: false.into() });
        slot.joinable = Some(Arc::clone(&flight));
        (ticket, Some((Pilot(flight), Self::queue(slot, name))))
    }

    /// A turn at the end of the queue, which later starts do not join past.
    pub(super) fn queue_stop(&self, key: &PreviewId, name: &str) -> Turn {
        let mut slots = lock(&self.slots);
        let slot = slots.all.entry(key.clone()).or_default();
        slot.joinable = None;
        Self::queue(slot, name)
    }

    /// Ends a turn. Tells whether something happened meanwhile, so that the container has to be looked at.
    #[must_use]
    pub(super) fn finish(&self, key: &PreviewId, turn: Turn) -> bool {
        drop(turn);
        self.change(key, |slot| std::mem::take(&mut slot.look_again))
    }

    fn queue(slot: &mut Slot, name: &str) -> Turn {
        name.clone_into(&mut slot.name);
        let over = CancellationToken::new();
        let before = slot.tail.replace(over.clone()).unwrap_or_else(|| {
            let done = CancellationToken::new();
            done.cancel();
            done
        });
        Turn { before, over }
    }

    /// Closes a flight that nobody waits for; tells whether it did.
    pub(super) fn abandon(&self, flight: &Flight) -> bool {
        let _no_one_joins_now = lock(&self.slots);
        let unwanted = flight.result.receiver_count() == 0;
        flight.abandoned.store(unwanted, Ordering::Relaxed);
        unwanted
    }

    /// Begins to show what an operation does.
    pub(super) fn doing(&self, key: &PreviewId, phase: Phase) -> Doing<'_> {
        self.change(key, |slot| slot.doing = Some(phase));
        Doing { registry: self, key: key.clone() }
    }

    pub(super) fn record(&self, key: &PreviewId) -> Option<Record> {
        lock(&self.slots).all.get(key).and_then(|slot| slot.record.clone())
    }

    /// The watch of the run that the last look found.
    pub(super) fn watch_of_run(&self, key: &PreviewId) -> Option<Arc<Watch>> {
        let slots = lock(&self.slots);
        let slot = slots.all.get(key)?;
        let (seen, record) = (slot.seen.as_ref()?, slot.record.as_ref()?);
        let running = seen.container.is_running();
        let same = record.watch.follows(&seen.container.id, seen.container.started_at);
        (running && same).then(|| Arc::clone(&record.watch))
    }

    /// The preview as it is remembered; `unreachable`: the engine was asked and did not answer.
    pub(super) fn preview(&self, key: &PreviewId, unreachable: Option<&EngineError>) -> Option<Preview> {
        let slots = lock(&self.slots);
        self.view.preview(key, slots.all.get(key)?, unreachable)
    }

    /// What is being done to a preview.
    pub(super) fn doing_now(&self, key: &PreviewId) -> Option<Phase> {
        lock(&self.slots).all.get(key).and_then(|slot| slot.doing)
    }

    /// Whether an operation on it runs or is queued.
    pub(super) fn is_busy(&self, key: &PreviewId) -> bool {
        lock(&self.slots).all.get(key).is_some_and(Slot::is_busy)
    }

    /// Waits until what is queued now is over.
    pub(super) async fn idle(&self, key: &PreviewId) {
        let tail = lock(&self.slots).all.get(key).and_then(|slot| slot.tail.clone());
        if let Some(tail) = tail {
            tail.cancelled().await;
        }
    }

    /// The container that the last look found.
    pub(super) fn container(&self, key: &PreviewId) -> Option<Container> {
        lock(&self.slots).all.get(key)?.seen.as_ref().map(|seen| seen.container.clone())
    }

    /// Every preview that is cached or being worked on, with its container's name.
    pub(super) fn previews(&self) -> Vec<(PreviewId, String)> {
        let slots = lock(&self.slots);
        let name = |slot: &Slot| {
            let seen = slot.seen.as_ref().map(|seen| seen.container.name.clone());
            let cached = seen.or_else(|| slot.record.as_ref().map(|record| record.info.container_name.clone()));
            cached.or_else(|| slot.is_busy().then(|| slot.name.clone()))
        };
        let mut previews: Vec<_> =
            slots.all.iter().filter_map(|(key, slot)| Some((key.clone(), name(slot)?))).collect();
        previews.sort();
        previews
    }

    pub(super) fn containers(&self) -> Vec<ContainerInfo> {
        let records: Vec<Record> = lock(&self.slots).all.values().filter_map(|slot| slot.record.clone()).collect();
        let mut infos: Vec<_> = records.iter().map(Record::info).collect();
        infos.sort_by_key(|info| info.project_id);
        infos
    }

    /// Whether the engine was ever heard about this preview, under this container's name.
    pub(super) fn is_remembered(&self, key: &PreviewId, name: &str) -> bool {
        self.seen_name(key).is_some_and(|seen| seen == name)
    }

    /// Whether what is remembered is all that can be told: it was looked at after the event stream began, nothing happened
    /// since, and its state lasts; or the engine is known not to answer.
    pub(super) fn is_warm(&self, key: &PreviewId, name: &str) -> bool {
        let slots = lock(&self.slots);
        let Some(slot) = slots.all.get(key) else { return false };
        let seen = slot.seen.as_ref().filter(|seen| seen.container.name == name);
        match self.view.warm_since() {
            Warm::Never => false,
            Warm::Unreachable => seen.is_some() || slot.doing.is_some(),
            Warm::Since(began) => seen.is_some_and(|seen| {
                let lasting = !matches!(seen.container.state, State::Created | State::Removing);
                let whole = seen.end.as_ref().is_none_or(|end| end.complete);
                seen.container.looked > began && slot.looking.is_none() && lasting && whole
            }),
        }
    }

    fn seen_name(&self, key: &PreviewId) -> Option<String> {
        let slots = lock(&self.slots);
        Some(slots.all.get(key)?.seen.as_ref()?.container.name.clone())
    }

    /// Takes in what a look found. False: a later look is known already, so this one tells nothing.
    pub(super) fn saw(&self, key: &PreviewId, container: Container, end: Option<Arc<End>>) -> bool {
        let mut slots = lock(&self.slots);
        let known = slots.all.get(key).and_then(|slot| slot.seen.as_ref()).map(|seen| seen.container.looked);
        if known.or(slots.gone.get(key).copied()).is_some_and(|later| later > container.looked) {
            return false;
        }
        self.change_in(&mut slots, key, |slot| {
            if container.is_dead() {
                slot.end_record(|_| true);
            }
            slot.name.clone_from(&container.name);
            slot.seen = Some(Seen { container, at: SystemTime::now(), end });
        });
        true
    }

    /// What is known to have been found at the container's end, so that its output is read once.
    pub(super) fn end_of(&self, key: &PreviewId, container: &Container) -> Option<Arc<End>> {
        let slots = lock(&self.slots);
        let seen = slots.all.get(key)?.seen.as_ref()?;
        let same = seen.container.id == container.id && seen.container.finished_at == container.finished_at;
        seen.end.clone().filter(|end| same && end.complete)
    }

    /// Takes in that a look which began at `looked` found nothing.
    pub(super) fn gone(&self, key: &PreviewId, looked: Instant) -> bool {
        let mut slots = lock(&self.slots);
        let known = slots.all.get(key).and_then(|slot| slot.seen.as_ref());
        if known.is_some_and(|seen| seen.container.looked > looked) {
            return false;
        }
        slots.gone.retain(|_, gone| gone.elapsed() < LONGEST_LOOK);
        slots.gone.insert(key.clone(), looked);
        self.change_in(&mut slots, key, |slot| {
            slot.seen = None;
            slot.end_record(|_| true);
        });
        true
    }

    /// The preview that an event is about, if it is one that is remembered here.
    pub(super) fn of_event(&self, event: &EngineEvent) -> Option<PreviewId> {
        let slots = lock(&self.slots);
        let is_of = |slot: &Slot| {
            let seen = slot.seen.as_ref().is_some_and(|seen| seen.container.id == event.container_id);
            seen || slot.name == event.name
        };
        slots.all.iter().find(|(_, slot)| is_of(slot)).map(|(key, _)| key.clone())
    }

    /// The key in our labels, if `owner` is the owner in them.
    pub(super) fn labelled(labels: &HashMap<String, String>, owner: &str) -> Option<PreviewId> {
        let ours = labels.get(LABEL_OWNER).is_some_and(|label| label == owner);
        ours.then(|| labels.get(LABEL_PROJECT)?.parse().ok()).flatten().map(PreviewId::project)
    }

    /// Begins a look that an event made necessary. None: one is under way, or an operation is, and looks afterwards.
    pub(super) fn begin_look(&self, key: &PreviewId) -> Option<String> {
        let mut slots = lock(&self.slots);
        let slot = slots.all.get_mut(key)?;
        // What an operation does to the container has its own look at its end.
        if slot.looking.is_some() || slot.doing.is_some() {
            slot.look_again = true;
            return None;
        }
        slot.looking = Some(CancellationToken::new());
        let seen = slot.seen.as_ref().map(|seen| seen.container.name.clone());
        Some(seen.unwrap_or_else(|| slot.name.clone()))
    }

    /// Ends it. Tells whether something happened since it began.
    pub(super) fn end_look(&self, key: &PreviewId) -> bool {
        self.change(key, |slot| {
            let again = slot.doing.is_none() && std::mem::take(&mut slot.look_again);
            if !again && let Some(looking) = slot.looking.take() {
                looking.cancel();
            }
            again
        })
    }

    /// Waits for the look that is under way, but not long.
    pub(super) async fn looked(&self, key: &PreviewId) {
        let looking = lock(&self.slots).all.get(key).and_then(|slot| slot.looking.clone());
        if let Some(looking) = looking {
            // Too late: what is told is then the last known, with its time.
            drop(tokio::time::timeout(LOOK_PATIENCE, looking.cancelled()).await);
        }
    }

    /// The watch that follows this very run of this container, where there is one.
    pub(super) fn known(&self, info: &ContainerInfo, started_at: Option<SystemTime>) -> Option<Arc<Watch>> {
        lock(&self.slots).all.get_mut(&info.key())?.known(info, started_at)
    }

    /// Takes the entry in. The watch of a run that is known already stays; tells the watch, and whether it is new.
    pub(super) fn register(
        &self,
        info: ContainerInfo,
        started_at: Option<SystemTime>,
        watch: impl FnOnce() -> Watch,
    ) -> (Arc<Watch>, bool) {
        let key = info.key();
        self.change(&key, |slot| {
            if let Some(watch) = slot.known(&info, started_at) {
                return (watch, false);
            }
            slot.last_port = Some(info.port);
            let watch = Arc::new(watch());
            if let Some(old) = slot.record.replace(Record { info, watch: Arc::clone(&watch) }) {
                old.watch.end();
            }
            (watch, true)
        })
    }

    /// Takes in an entry by hand. Nothing follows its container yet.
    pub(super) fn put(&self, info: ContainerInfo, target: Option<ProbeTarget>) {
        let key = info.key();
        self.change(&key, |slot| match &mut slot.record {
            Some(record) if record.watch.is_of(&info.container_id) => record.info = info,
            record => {
                let watch = Arc::new(Watch::unfollowed(info.container_id.clone(), target));
                if let Some(old) = record.replace(Record { info, watch }) {
                    old.watch.end();
                }
            }
        });
    }

    /// Marks the entry as compiled.
    pub(super) fn complete(&self, key: &PreviewId) {
        let watch = self.change(key, |slot| {
            let record = slot.record.as_mut()?;
            record.info.compilation_complete = true;
            Some(Arc::clone(&record.watch))
        });
        if let Some(watch) = watch {
            watch.complete_by_logs();
        }
    }

    /// Takes an entry out and ends its watch; what the engine said is forgotten, too.
    pub(super) fn remove(&self, key: &PreviewId) {
        self.change(key, |slot| {
            slot.seen = None;
            slot.end_record(|_| true);
        });
    }

    /// Takes an entry out only if it still has the watch that was looked at: a newer container is another matter.
    pub(super) fn remove_watch(&self, key: &PreviewId, watch: &Watch) {
        self.change(key, |slot| slot.end_record(|current| std::ptr::eq(current, watch)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(id: u64, container: &str) -> ContainerInfo {
        ContainerInfo {
            project_id: id,
            container_id: container.into(),
            container_name: format!("kosuke-preview-{id}"),
            port: 3001,
            url: "http://localhost:3001".into(),
            compilation_complete: false,
            is_responding: false,
        }
    }

    fn registry() -> Registry {
        Registry::new(View::for_tests())
    }

    fn container(id: &str, looked: Instant) -> Container {
        Container {
            id: id.into(),
            name: "kosuke-preview-1".into(),
            state: crate::engine::State::Running,
            labels: HashMap::new(),
            ports: HashMap::new(),
            networks: HashMap::new(),
            created_at: None,
            started_at: None,
            finished_at: None,
            exit_code: None,
            oom_killed: false,
            tty: false,
            looked,
        }
    }

    #[test]
    fn of_two_looks_the_later_one_is_right() {
        let (registry, key) = (registry(), PreviewId::project(1));
        let first = Instant::now();
        let later = first + Duration::from_millis(1);
        assert!(registry.saw(&key, container("b", later), None));
        assert!(!registry.saw(&key, container("a", first), None));
        assert!(!registry.gone(&key, first));
        assert!(registry.gone(&key, later + Duration::from_millis(1)));
        assert!(!registry.saw(&key, container("b", later), None), "a look from before brings it back");
        assert!(registry.preview(&key, None).is_none());
    }

    #[test]
    fn events_during_a_look_lead_to_another_one() {
        let (registry, key) = (registry(), PreviewId::project(1));
        assert!(registry.saw(&key, container("a", Instant::now()), None));
        assert_eq!(registry.begin_look(&key).as_deref(), Some("kosuke-preview-1"));
        assert_eq!(registry.begin_look(&key), None);
        assert!(registry.end_look(&key));
        assert!(!registry.end_look(&key));
    }

    #[test]
    fn events_during_an_operation_lead_to_a_look_after_it() {
        let (registry, key) = (registry(), PreviewId::project(1));
        let turn = registry.queue_stop(&key, "x");
        let doing = registry.doing(&key, Phase::Stopping);
        assert_eq!(registry.begin_look(&key), None);
        drop(doing);
        assert!(registry.finish(&key, turn));
    }

    #[test]
    fn starts_join_only_while_no_stop_stands_between() {
        let registry = registry();
        let key = PreviewId::project(1);
        let (_first, opened) = registry.join_start(&key, "x");
        assert!(opened.is_some());
        let (_second, joined) = registry.join_start(&key, "x");
        assert!(joined.is_none());
        let stop = registry.queue_stop(&key, "x");
        let (_third, opened_again) = registry.join_start(&key, "x");
        assert!(opened_again.is_some());
        assert!(!stop.before.is_cancelled());
        drop(opened);
        assert!(stop.before.is_cancelled());
    }

    #[tokio::test]
    async fn who_gives_up_a_turn_lets_nobody_pass_before_its_time() {
        let (registry, key) = (registry(), PreviewId::project(1));
        let first = registry.queue_stop(&key, "x");
        drop(registry.queue_stop(&key, "x"));
        let third = registry.queue_stop(&key, "x");
        assert!(tokio::time::timeout(Duration::from_millis(50), third.come()).await.is_err());
        drop(first);
        assert!(tokio::time::timeout(Duration::from_secs(5), third.come()).await.is_ok());
    }

    #[test]
    fn a_look_at_one_preview_says_nothing_of_another() {
        let (registry, first) = (registry(), Instant::now());
        assert!(registry.gone(&PreviewId::project(2), first + Duration::from_millis(1)));
        assert!(registry.saw(&PreviewId::project(1), container("a", first), None));
    }

    #[test]
    fn an_abandoned_flight_is_not_joined() {
        let registry = registry();
        let key = PreviewId::project(1);
        let (ticket, opened) = registry.join_start(&key, "x");
        let Some((flight, _turn)) = opened else {
            return assert!(opened.is_some());
        };
        assert!(!registry.abandon(&flight));
        drop(ticket);
        assert!(registry.abandon(&flight));
        assert!(registry.join_start(&key, "x").1.is_some());
    }

    #[test]
    fn only_the_entry_that_was_looked_at_is_taken_out() {
        let registry = registry();
        let key = PreviewId::project(1);
        registry.put(info(1, "a"), None);
        let Some(old) = registry.record(&key) else { return assert!(registry.record(&key).is_some()) };
        registry.put(info(1, "b"), None);
        registry.remove_watch(&key, &old.watch);
        assert_eq!(registry.containers().len(), 1);
        registry.remove(&key);
        assert!(registry.containers().is_empty());
    }

    #[test]
    fn callers_of_a_flight_whose_task_died_get_an_answer() {
        let registry = registry();
        let key = PreviewId::project(1);
        let (ticket, opened) = registry.join_start(&key, "x");
        drop(opened);
        assert!(matches!(*ticket.borrow(), Some(Err(Error::Closed { .. }))));
        assert!(registry.join_start(&key, "x").1.is_some());
    }

    #[test]
    fn an_idle_slot_is_given_back() {
        let registry = registry();
        let key = PreviewId::project(1);
        let turn = registry.queue_stop(&key, "x");
        drop(registry.doing(&key, Phase::Stopping));
        assert!(!registry.finish(&key, turn));
        assert!(lock(&registry.slots).all.is_empty());
    }
}

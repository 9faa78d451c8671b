//! The cache, and the queue of operations of each preview. Truth is in the engine: all of this can be rebuilt from it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::lock;
use super::monitor::Watch;
use super::start::Started;
use crate::error::Error;
use crate::preview::{Phase, PreviewKey};
use crate::probe::ProbeTarget;

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
    pub(super) fn key(&self) -> PreviewKey {
        PreviewKey::project(self.project_id)
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
        self.over.cancel();
    }
}

/// What an operation is doing, shown as the phase until it is dropped.
pub(super) struct Doing<'a> {
    registry: &'a Registry,
    key: PreviewKey,
}

impl Doing<'_> {
    pub(super) fn phase(&self, phase: Phase) {
        if let Some(slot) = lock(&self.registry.slots).get_mut(&self.key) {
            slot.doing = Some(phase);
        }
    }
}

impl Drop for Doing<'_> {
    fn drop(&mut self) {
        let mut slots = lock(&self.registry.slots);
        if let Some(slot) = slots.get_mut(&self.key) {
            slot.doing = None;
        }
        Registry::tidy(&mut slots, &self.key);
    }
}

#[derive(Clone)]
pub(super) struct Record {
    info: ContainerInfo,
    /// When the engine last said so.
    pub(super) seen: SystemTime,
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

#[derive(Default)]
struct Slot {
    tail: Option<CancellationToken>,
    joinable: Option<Arc<Flight>>,
    /// The container's name, as the operation that came last has it.
    name: String,
    doing: Option<Phase>,
    record: Option<Record>,
    /// The port of the last entry, which outlives it while an operation runs.
    last_port: Option<u16>,
}

impl Slot {
    fn known(&mut self, info: &ContainerInfo, started_at: Option<SystemTime>) -> Option<Arc<Watch>> {
        let record = self.record.as_mut()?;
        let same = record.watch.follows(&info.container_id, started_at) && record.info.port == info.port;
        if same {
            record.seen = SystemTime::now();
        }
        same.then(|| Arc::clone(&record.watch))
    }

    fn is_busy(&self) -> bool {
        self.doing.is_some() || self.tail.as_ref().is_some_and(|tail| !tail.is_cancelled())
    }
}

#[derive(Default)]
pub(super) struct Registry {
    slots: Mutex<HashMap<PreviewKey, Slot>>,
}

impl Registry {
    /// Joins the start at the end of the queue, or opens one; the opener gets its turn and has to run it.
    pub(super) fn join_start(&self, key: &PreviewKey, name: &str) -> (Ticket, Option<(Pilot, Turn)>) {
        let mut slots = lock(&self.slots);
        let slot = slots.entry(key.clone()).or_default();
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
    pub(super) fn queue_stop(&self, key: &PreviewKey, name: &str) -> Turn {
        let mut slots = lock(&self.slots);
        let slot = slots.entry(key.clone()).or_default();
        slot.joinable = None;
        Self::queue(slot, name)
    }

    /// Ends a turn.
    pub(super) fn finish(&self, key: &PreviewKey, turn: Turn) {
        drop(turn);
        Self::tidy(&mut lock(&self.slots), key);
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
    pub(super) fn doing(&self, key: &PreviewKey, phase: Phase) -> Doing<'_> {
        lock(&self.slots).entry(key.clone()).or_default().doing = Some(phase);
        Doing { registry: self, key: key.clone() }
    }

    /// What is being done to a preview.
    pub(super) fn phase(&self, key: &PreviewKey) -> Option<Phase> {
        lock(&self.slots).get(key).and_then(|slot| slot.doing)
    }

    /// The port that the preview had last.
    pub(super) fn last_port(&self, key: &PreviewKey) -> Option<u16> {
        lock(&self.slots).get(key).and_then(|slot| slot.last_port)
    }

    pub(super) fn record(&self, key: &PreviewKey) -> Option<Record> {
        lock(&self.slots).get(key).and_then(|slot| slot.record.clone())
    }

    /// Every preview that is cached or being worked on, with its container's name.
    pub(super) fn previews(&self) -> Vec<(PreviewKey, String)> {
        let slots = lock(&self.slots);
        let name = |slot: &Slot| {
            let cached = slot.record.as_ref().map(|record| record.info.container_name.clone());
            cached.or_else(|| slot.is_busy().then(|| slot.name.clone()))
        };
        let mut previews: Vec<_> = slots.iter().filter_map(|(key, slot)| Some((key.clone(), name(slot)?))).collect();
        previews.sort();
        previews
    }

    pub(super) fn containers(&self) -> Vec<ContainerInfo> {
        let records: Vec<Record> = lock(&self.slots).values().filter_map(|slot| slot.record.clone()).collect();
        let mut infos: Vec<_> = records.iter().map(Record::info).collect();
        infos.sort_by_key(|info| info.project_id);
        infos
    }

    /// The watch that follows this very run of this container, where there is one.
    pub(super) fn known(&self, info: &ContainerInfo, started_at: Option<SystemTime>) -> Option<Arc<Watch>> {
        lock(&self.slots).get_mut(&info.key())?.known(info, started_at)
    }

    /// Takes the entry in. The watch of a run that is known already stays; tells the watch, and whether it is new.
    pub(super) fn register(
        &self,
        info: ContainerInfo,
        started_at: Option<SystemTime>,
        watch: impl FnOnce() -> Watch,
    ) -> (Arc<Watch>, bool) {
        let mut slots = lock(&self.slots);
        let slot = slots.entry(info.key()).or_default();
        if let Some(watch) = slot.known(&info, started_at) {
            return (watch, false);
        }
        slot.last_port = Some(info.port);
        let watch = Arc::new(watch());
        let record = Record { info, seen: SystemTime::now(), watch: Arc::clone(&watch) };
        if let Some(old) = slot.record.replace(record) {
            old.watch.end();
        }
        (watch, true)
    }

    /// Takes in an entry by hand. Nothing follows its container yet.
    pub(super) fn put(&self, info: ContainerInfo, target: Option<ProbeTarget>) {
        let mut slots = lock(&self.slots);
        let slot = slots.entry(info.key()).or_default();
        match &mut slot.record {
            Some(record) if record.watch.is_of(&info.container_id) => record.info = info,
            record => {
                let watch = Arc::new(Watch::new(info.container_id.clone(), None, target, false));
                if let Some(old) = record.replace(Record { info, seen: SystemTime::now(), watch }) {
                    old.watch.end();
                }
            }
        }
    }

    /// Marks the entry as compiled.
    pub(super) fn complete(&self, key: &PreviewKey) {
        if let Some(record) = lock(&self.slots).get_mut(key).and_then(|slot| slot.record.as_mut()) {
            record.info.compilation_complete = true;
            record.watch.complete_by_logs();
        }
    }

    /// Takes an entry out and ends its watch.
    pub(super) fn remove(&self, key: &PreviewKey) {
        self.remove_if(key, |_| true);
    }

    /// Takes an entry out only if it still has the watch that was looked at: a newer container is another matter.
    pub(super) fn remove_watch(&self, key: &PreviewKey, watch: &Watch) {
        self.remove_if(key, |current| std::ptr::eq(current, watch));
    }

    fn remove_if(&self, key: &PreviewKey, condition: impl Fn(&Watch) -> bool) {
        let mut slots = lock(&self.slots);
        if let Some(slot) = slots.get_mut(key)
            && slot.record.as_ref().is_some_and(|record| condition(&record.watch))
            && let Some(record) = slot.record.take()
        {
            record.watch.end();
        }
        Self::tidy(&mut slots, key);
    }

    fn tidy(slots: &mut HashMap<PreviewKey, Slot>, key: &PreviewKey) {
        let idle = slots.get(key).is_some_and(|slot| slot.record.is_none() && !slot.is_busy());
        if idle {
            slots.remove(key);
        }
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

    #[test]
    fn starts_join_only_while_no_stop_stands_between() {
        let registry = Registry::default();
        let key = PreviewKey::project(1);
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

    #[test]
    fn an_abandoned_flight_is_not_joined() {
        let registry = Registry::default();
        let key = PreviewKey::project(1);
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
        let registry = Registry::default();
        let key = PreviewKey::project(1);
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
        let registry = Registry::default();
        let key = PreviewKey::project(1);
        let (ticket, opened) = registry.join_start(&key, "x");
        drop(opened);
        assert!(matches!(*ticket.borrow(), Some(Err(Error::Closed { .. }))));
        assert!(registry.join_start(&key, "x").1.is_some());
    }

    #[test]
    fn an_idle_slot_is_given_back() {
        let registry = Registry::default();
        let key = PreviewKey::project(1);
        let turn = registry.queue_stop(&key, "x");
        drop(registry.doing(&key, Phase::Stopping));
        registry.finish(&key, turn);
        assert!(lock(&registry.slots).is_empty());
    }
}

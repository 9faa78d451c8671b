//! The store as a whole.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::engine_status::{EngineStatus, Link};
use super::queue::QueuePermit;
use super::snapshot::Snapshots;
use super::store::Store;
use crate::engine::{RunId, State, Workload};
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{ContainerInfo, EventKind, Phase};

fn store() -> Store {
    store_on(Arc::default())
}

fn store_on(status: Arc<EngineStatus>) -> Store {
    Store::new(Snapshots::new(status, &crate::settings::tests::settings()), "kosuke-preview-")
}

fn info(number: u64, container: &str) -> ContainerInfo {
    ContainerInfo {
        id: PreviewId::project(number),
        container_id: container.into(),
        container_name: format!("kosuke-preview-{number}"),
        port: 3001,
        url: "http://localhost:3001".into(),
        compilation_complete: false,
        is_responding: false,
    }
}

fn workload(id: &str, asked_at: Instant) -> Workload {
    Workload {
        id: id.into(),
        name: "kosuke-preview-1".into(),
        run: RunId { task: id.into(), started_at: None },
        state: State::Running,
        labels: HashMap::new(),
        endpoints: HashMap::new(),
        networks: HashMap::new(),
        created_at: None,
        finished_at: None,
        exit_code: None,
        oom_killed: false,
        asked_at,
    }
}

#[test]
fn of_two_answers_the_later_one_is_right() {
    let (store, id) = (store(), PreviewId::project(1));
    let first = Instant::now();
    let later = first + Duration::from_millis(1);
    assert!(store.observe(&id, workload("b", later), None));
    assert!(!store.observe(&id, workload("a", first), None));
    assert!(!store.observe_absence(&id, first));
    assert!(store.observe_absence(&id, later + Duration::from_millis(1)));
    assert!(!store.observe(&id, workload("b", later), None), "an answer from before brings it back");
    assert!(store.preview(&id, None).is_none());
}

#[test]
fn events_during_a_refresh_lead_to_another_one() {
    let (store, id) = (store(), PreviewId::project(1));
    assert!(store.observe(&id, workload("a", Instant::now()), None));
    assert!(store.begin_refresh(&id));
    assert!(!store.begin_refresh(&id));
    assert!(store.end_refresh(&id));
    assert!(!store.end_refresh(&id));
}

#[test]
fn events_during_an_operation_lead_to_a_refresh_after_it() {
    let (store, id) = (store(), PreviewId::project(1));
    let permit = store.enter_queue(&id);
    let operation = store.begin_operation(&id, Phase::Stopping);
    assert!(!store.begin_refresh(&id));
    drop(operation);
    assert!(store.leave_queue(&id, permit));
}

#[test]
fn starts_join_only_while_no_stop_stands_between() {
    let (store, id) = (store(), PreviewId::project(1));
    let (_first, opened) = store.join_start(&id);
    assert!(opened.is_some());
    let (_second, joined) = store.join_start(&id);
    assert!(joined.is_none());
    let stop = store.enter_queue(&id);
    let (_third, opened_again) = store.join_start(&id);
    assert!(opened_again.is_some());
    assert!(!stop.has_come());
    drop(opened);
    assert!(stop.has_come());
}

#[tokio::test]
async fn who_gives_up_a_place_lets_nobody_pass_before_its_time() {
    let (store, id) = (store(), PreviewId::project(1));
    let first = store.enter_queue(&id);
    drop(store.enter_queue(&id));
    let third = store.enter_queue(&id);
    assert!(tokio::time::timeout(Duration::from_millis(50), third.turn()).await.is_err());
    drop(first);
    assert!(tokio::time::timeout(Duration::from_secs(5), third.turn()).await.is_ok());
}

#[test]
fn an_answer_about_one_preview_says_nothing_of_another() {
    let (store, first) = (store(), Instant::now());
    assert!(store.observe_absence(&PreviewId::project(2), first + Duration::from_millis(1)));
    assert!(store.observe(&PreviewId::project(1), workload("a", first), None));
}

#[test]
fn a_session_is_another_preview_than_its_project() {
    let store = store();
    let (project, session) = (PreviewId::project(1), PreviewId::session(1, "main"));
    let _of_project = store.enter_queue(&project);
    assert!(store.enter_queue(&session).has_come(), "its queue is its own");
    assert!(store.observe(&project, workload("a", Instant::now()), None));
    assert!(store.preview(&project, None).is_some() && store.preview(&session, None).is_none());
    assert_ne!(store.name(&project), store.name(&session));
}

#[test]
fn an_abandoned_start_is_not_joined() {
    let (store, id) = (store(), PreviewId::project(1));
    let (waiter, opened) = store.join_start(&id);
    let Some((leader, _permit)) = opened else { return assert!(opened.is_some()) };
    assert!(!leader.shared().abandon());
    drop(waiter);
    assert!(leader.shared().abandon());
    assert!(store.join_start(&id).1.is_some());
}

#[test]
fn only_the_entry_that_was_asked_about_is_taken_out() {
    let (store, id) = (store(), PreviewId::project(1));
    store.put(info(1, "a"), None);
    let Some(old) = store.record(&id) else { return assert!(store.record(&id).is_some()) };
    store.put(info(1, "b"), None);
    store.remove_run(&id, &old.run);
    assert_eq!(store.containers().len(), 1);
    store.remove(&id);
    assert!(store.containers().is_empty());
}

#[tokio::test]
async fn waiters_of_a_start_whose_task_died_get_an_answer() {
    let (store, id) = (store(), PreviewId::project(1));
    let (mut waiter, opened) = store.join_start(&id);
    drop(opened);
    assert!(matches!(waiter.result().await, Err(Error::Closed { .. })));
    assert!(store.join_start(&id).1.is_some());
}

#[test]
fn an_empty_entry_is_given_back() {
    let (store, id) = (store(), PreviewId::project(1));
    let permit = store.enter_queue(&id);
    drop(store.begin_operation(&id, Phase::Stopping));
    assert!(!store.leave_queue(&id, permit));
    assert!(store.is_empty());
}

#[test]
fn what_is_remembered_is_fresh_only_while_events_keep_it_true() {
    let status = Arc::new(EngineStatus::default());
    let (store, id) = (store_on(Arc::clone(&status)), PreviewId::project(1));
    let connected = Instant::now();
    assert!(store.observe(&id, workload("a", connected + Duration::from_millis(1)), None));
    assert!(!store.is_fresh(&id), "nobody listens");
    status.set_link(Link::Up { since: connected });
    assert!(store.is_fresh(&id));
    assert!(store.begin_refresh(&id));
    assert!(!store.is_fresh(&id), "an event told of a change");
    assert!(!store.end_refresh(&id));
    status.set_link(Link::Up { since: connected + Duration::from_millis(2) });
    assert!(!store.is_fresh(&id), "it was asked for before the stream began");
    status.set_link(Link::Down { reason: "gone".into() });
    assert!(store.is_fresh(&id), "there is nothing newer to be had");
    let phase = store.preview(&id, None).map(|preview| preview.phase);
    assert_eq!(phase, Some(Phase::EngineUnreachable));
}

#[test]
fn a_replaced_name_is_another_container() {
    let (store, id) = (store(), PreviewId::project(1));
    assert!(store.observe(&id, workload("a", Instant::now()), None));
    assert!(store.is_remembered(&id));
    store.set_name(&id, "other");
    assert!(!store.is_remembered(&id));
}

#[tokio::test]
async fn subscribers_hear_changes_in_order_and_nothing_from_before() {
    let (store, id) = (store(), PreviewId::project(1));
    assert!(store.observe(&id, workload("a", Instant::now()), None));
    let mut events = store.subscribe();
    let operation = store.begin_operation(&id, Phase::Stopping);
    assert!(store.observe_absence(&id, Instant::now()));
    drop(operation);
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push((event.kind, event.previous_phase, event.preview.map(|preview| preview.phase)));
    }
    let (starting, stopping) = (Some(Phase::Starting), Some(Phase::Stopping));
    assert_eq!(told, [(EventKind::Phase, starting, stopping), (EventKind::Removed, stopping, None)]);
}

/// What happens to a queue: an operation enters; the one at this place ends, or gives up while it waits.
#[derive(Debug, Clone)]
enum Step {
    Enter,
    Drop(prop::sample::Index),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![Just(Step::Enter), any::<prop::sample::Index>().prop_map(Step::Drop)];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// At most one place has come at any time, and it is the oldest that is left.
    #[test]
    fn operations_run_one_by_one_in_their_order(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        prop_assume!(runtime.is_ok());
        if let Ok(runtime) = runtime {
            runtime.block_on(async {
                let (store, id) = (store(), PreviewId::project(1));
                let mut left: Vec<QueuePermit> = Vec::new();
                for step in steps {
                    match step {
                        Step::Enter => left.push(store.enter_queue(&id)),
                        Step::Drop(_) if left.is_empty() => {}
                        Step::Drop(index) => drop(left.remove(index.index(left.len()))),
                    }
                    // Those that gave up pass on what they waited for in tasks of their own.
                    for _ in 0..50 {
                        tokio::task::yield_now().await;
                    }
                    let come: Vec<_> = left.iter().map(QueuePermit::has_come).collect();
                    prop_assert!(come.iter().skip(1).all(|come| !come), "{come:?}");
                    prop_assert!(come.first().is_none_or(|first| *first), "{come:?}");
                    prop_assert_eq!(store.is_busy(&id), !left.is_empty());
                }
                Ok(())
            })?;
        }
    }

    /// Whoever joins gets the leader's result, and nobody joins a start that was abandoned or has ended.
    #[test]
    fn a_shared_start_answers_all_of_its_waiters_and_no_others(joins in 1_usize..8, leave_all: bool, panics: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        prop_assume!(runtime.is_ok());
        if let Ok(runtime) = runtime {
            runtime.block_on(async {
                let (store, id) = (store(), PreviewId::project(1));
                let (first, opened) = store.join_start(&id);
                let mut waiters = vec![first];
                for _ in 1..joins {
                    let (waiter, opened) = store.join_start(&id);
                    prop_assert!(opened.is_none());
                    waiters.push(waiter);
                }
                let Some((leader, permit)) = opened else { return Err(TestCaseError::fail("not opened")) };
                if leave_all {
                    waiters.clear();
                }
                prop_assert_eq!(leader.shared().abandon(), leave_all);
                if panics {
                    drop(leader);
                } else {
                    leader.finish(Err(Error::NoPreview { operation: "start", preview: id.clone() }));
                }
                for waiter in &mut waiters {
                    let result = waiter.result().await;
                    prop_assert_eq!(matches!(result, Err(Error::Closed { .. })), panics);
                    prop_assert_eq!(matches!(result, Err(Error::NoPreview { .. })), !panics);
                }
                prop_assert!(store.join_start(&id).1.is_some(), "a start that ended is not joined");
                drop(permit);
                Ok(())
            })?;
        }
    }
}

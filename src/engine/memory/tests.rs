//! The engine in memory against what a Docker Engine does.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use futures_util::StreamExt;

use super::engine::MemoryEngine;
use super::faults::Call;
use crate::engine::api::Engine;
use crate::engine::error::EngineError;
use crate::engine::spec::{ContainerSpec, Mount, PortRange, Publish, Secrets};
use crate::engine::streams::{Change, LogStart, PullProgress};
use crate::engine::workload::State;
use crate::id::{LABEL_OWNER, PreviewId};

type Result<T = ()> = std::result::Result<T, EngineError>;

fn spec(name: &str, ports: PortRange) -> ContainerSpec {
    let bind_address = IpAddr::from([127, 0, 0, 1]);
    ContainerSpec {
        name: name.into(),
        image: "node".into(),
        labels: PreviewId::project(1).labels("me"),
        publish: vec![Publish { port: 3000, bind_address, host_ports: ports }],
        ..ContainerSpec::default()
    }
}

fn engine() -> MemoryEngine {
    let engine = MemoryEngine::new();
    engine.add_image("node");
    engine
}

async fn run(engine: &MemoryEngine, spec: &ContainerSpec) -> Result<String> {
    let id = engine.create(spec).await?;
    engine.start(&id, &Secrets::default()).await?;
    Ok(id)
}

async fn port(engine: &MemoryEngine, id: &str) -> Result<Option<u16>> {
    let found = engine.inspect(id).await?;
    Ok(found.and_then(|found| found.endpoints.get(&3000).map(|endpoint| endpoint.port)))
}

#[tokio::test]
async fn a_name_is_taken_once_and_free_again_after_the_removal() -> Result {
    let engine = engine();
    let spec = spec("a", PortRange::one(3000));
    let id = run(&engine, &spec).await?;
    assert!(matches!(engine.create(&spec).await, Err(EngineError::Conflict(_))));
    engine.remove(&id).await?;
    engine.remove(&id).await?;
    assert!(engine.inspect("a").await?.is_none());
    engine.create(&spec).await.map(drop)
}

#[tokio::test]
async fn what_is_missing_is_told_apart() -> Result {
    let engine = engine();
    let mut spec = spec("a", PortRange::one(3000));
    engine.remove_folder("/p/1".as_ref());
    spec.mounts = vec![Mount { source: "/p/1".into(), target: "/app".into() }];
    assert!(matches!(engine.create(&spec).await, Err(EngineError::MountSourceMissing { .. })));
    spec.mounts.clear();
    spec.network = Some("gone".into());
    let id = engine.create(&spec).await?;
    assert!(matches!(engine.start(&id, &Secrets::default()).await, Err(EngineError::NotFound(_))));
    spec.image = "other".into();
    assert!(matches!(engine.create(&spec).await, Err(EngineError::ImageNotFound(_))));
    Ok(())
}

#[tokio::test]
async fn ports_are_chosen_stepped_over_and_exhausted() -> Result {
    let engine = engine();
    let range = PortRange { first: 3000, last: 3002 };
    engine.hold_ports(PortRange::one(3001));
    let first = run(&engine, &spec("a", range)).await?;
    assert_eq!(port(&engine, &first).await?, Some(3000));
    let second = engine.create(&spec("b", range)).await?;
    let held = engine.start(&second, &Secrets::default()).await;
    assert!(matches!(held, Err(EngineError::PortHeld { port: Some(3001), .. })));
    engine.start(&second, &Secrets::default()).await?;
    assert_eq!(port(&engine, &second).await?, Some(3002));
    let third = engine.create(&spec("c", PortRange { first: 3000, last: 3001 })).await?;
    assert!(matches!(engine.start(&third, &Secrets::default()).await, Err(EngineError::PortHeld { .. })));
    assert!(matches!(engine.start(&third, &Secrets::default()).await, Err(EngineError::PortsExhausted(_))));
    let fourth = engine.create(&spec("d", PortRange::one(3000))).await?;
    let allocated = engine.start(&fourth, &Secrets::default()).await;
    assert!(matches!(allocated, Err(EngineError::PortHeld { port: Some(3000), .. })));
    Ok(())
}

#[tokio::test]
async fn two_published_ports_have_two_ports_of_one_range() -> Result {
    let engine = engine();
    let mut spec = spec("a", PortRange { first: 3000, last: 3001 });
    let second = Publish { port: 3001, bind_address: IpAddr::from(Ipv6Addr::LOCALHOST), ..spec.publish[0] };
    spec.publish.push(second);
    run(&engine, &spec).await?;
    let endpoints = engine.inspect("a").await?.map(|found| found.endpoints).unwrap_or_default();
    let told = |port: u16| endpoints.get(&port).map(ToString::to_string);
    assert_eq!((told(3000).as_deref(), told(3001).as_deref()), (Some("127.0.0.1:3000"), Some("[::1]:3001")));
    Ok(())
}

#[tokio::test]
async fn a_second_start_is_another_run() -> Result {
    let engine = engine();
    let id = run(&engine, &spec("a", PortRange::one(3000))).await?;
    let first = engine.inspect("a").await?.map(|found| found.run);
    engine.stop(&id, Duration::from_secs(5)).await?;
    let stopped = engine.inspect("a").await?;
    assert!(stopped.is_some_and(|found| found.state == State::Exited && found.exit_code == Some(143)));
    engine.start(&id, &Secrets::default()).await?;
    assert_ne!(engine.inspect("a").await?.map(|found| found.run), first);
    Ok(())
}

#[tokio::test]
async fn an_oom_kill_of_a_child_is_flagged_once_the_container_ended_and_ever_after() -> Result {
    let engine = engine();
    let id = run(&engine, &spec("a", PortRange::one(3000))).await?;
    engine.oom_child("a");
    let flag = async || Ok::<_, EngineError>(engine.inspect("a").await?.map(|found| found.oom_killed));
    assert_eq!(flag().await?, Some(false));
    engine.stop(&id, Duration::from_secs(5)).await?;
    assert_eq!(flag().await?, Some(true));
    engine.start(&id, &Secrets::default()).await?;
    assert_eq!(flag().await?, Some(true));
    Ok(())
}

#[tokio::test]
async fn what_does_not_run_neither_ends_nor_pauses() -> Result {
    let engine = engine();
    run(&engine, &spec("a", PortRange::one(3000))).await?;
    engine.exit("a", 3);
    let told = engine.events(None, Some(engine.now())).count().await;
    for act in [MemoryEngine::kill, MemoryEngine::pause, MemoryEngine::unpause, MemoryEngine::oom_exit] {
        act(&engine, "a");
    }
    let found = engine.inspect("a").await?.map(|found| (found.state, found.exit_code));
    assert_eq!(found, Some((State::Exited, Some(3))));
    assert_eq!(engine.events(None, Some(engine.now())).count().await, told);
    Ok(())
}

#[tokio::test]
async fn a_pull_tells_its_steps_before_it_ends_or_fails() -> Result {
    let engine = MemoryEngine::new();
    let step = PullProgress { layer: None, status: "Pulling".into(), current: None, total: None };
    engine.on_pull("denied", vec![step.clone()], Err(EngineError::RegistryDenied("no".into())));
    let told: Vec<_> = engine.pull("denied", None).collect().await;
    assert_eq!(told, [Ok(step), Err(EngineError::RegistryDenied("no".into()))]);
    assert_eq!(engine.image_variables("denied").await?, None);
    let mut left = engine.pull("node", None);
    assert!(left.next().await.is_some_and(|step| step.is_ok()));
    drop(left);
    assert_eq!(engine.image_variables("node").await?, None);
    engine.fail_next_after(Call::Pull, EngineError::Unreachable("cut".into()));
    let told: Vec<_> = engine.pull("node", None).collect().await;
    assert_eq!(told.last(), Some(&Err(EngineError::Unreachable("cut".into()))));
    assert_eq!(engine.image_variables("node").await?, Some(Vec::new()));
    Ok(())
}

#[tokio::test]
async fn whoever_follows_a_run_hears_nothing_of_the_next() -> Result {
    let engine = engine();
    let id = run(&engine, &spec("a", PortRange::one(3000))).await?;
    engine.print("a", "one");
    let Some(found) = engine.inspect("a").await? else { return Err(EngineError::NotFound("a".into())) };
    let mut output = engine.logs(&found.run, LogStart::default(), true);
    assert!(output.next().await.is_some());
    engine.print("a", "two");
    engine.exit("a", 0);
    engine.start(&id, &Secrets::default()).await?;
    engine.print("a", "of the next run");
    let rest: Result<Vec<_>> =
        output.map(|chunk| chunk.map(|chunk| chunk.bytes)).collect::<Vec<_>>().await.into_iter().collect();
    assert_eq!(rest?, [b"two\n".to_vec()]);
    Ok(())
}

#[tokio::test]
async fn output_is_read_from_where_it_was_asked_for_until_the_run_ends() -> Result {
    let engine = engine();
    run(&engine, &spec("a", PortRange::one(3000))).await?;
    for line in ["one", "two"] {
        engine.print("a", line);
    }
    let Some(found) = engine.inspect("a").await? else { return Err(EngineError::NotFound("a".into())) };
    let follow = engine.logs(&found.run, LogStart { since: None, tail: Some(1) }, true);
    let told = tokio::spawn(follow.map(|chunk| chunk.map(|chunk| (chunk.stderr, chunk.bytes))).collect::<Vec<_>>());
    tokio::task::yield_now().await;
    engine.print_error("a", "three");
    engine.exit("a", 1);
    let told: Result<Vec<_>> = told.await.unwrap_or_default().into_iter().collect();
    assert_eq!(told?, [(false, b"two\n".to_vec()), (true, b"three\n".to_vec())]);
    let whole = engine.logs(&found.run, LogStart::default(), false).count().await;
    assert_eq!(whole, 3);
    Ok(())
}

#[tokio::test]
async fn events_are_remembered_and_then_told_as_they_happen() -> Result {
    let engine = engine();
    let id = run(&engine, &spec("a", PortRange::one(3000))).await?;
    let until_now = engine.events(None, Some(engine.now())).count().await;
    assert_eq!(until_now, 2);
    engine.advance(Duration::ZERO);
    let mut events = engine.events(Some(engine.now()), None);
    assert!(futures_util::poll!(events.next()).is_pending());
    engine.oom_child("a");
    engine.remove(&id).await?;
    for expected in [Change::Oom, Change::Removed] {
        let change = events.next().await.transpose()?.map(|event| event.change);
        assert_eq!(change, Some(expected));
    }
    engine.break_event_streams(EngineError::Unreachable("cut".into()));
    assert!(matches!(events.next().await, Some(Err(EngineError::Unreachable(_)))));
    assert!(events.next().await.is_none());
    Ok(())
}

#[tokio::test]
async fn calls_fail_lose_their_answer_or_wait_as_told() -> Result {
    let engine = engine();
    let spec = spec("a", PortRange::one(3000));
    engine.fail_next(Call::Create, EngineError::Refused("no".into()));
    assert!(matches!(engine.create(&spec).await, Err(EngineError::Refused(_))));
    assert!(engine.names().is_empty());
    engine.fail_next_after(Call::Create, EngineError::Timeout(Duration::from_secs(1)));
    assert!(matches!(engine.create(&spec).await, Err(EngineError::Timeout(_))));
    assert_eq!(engine.names(), ["a"]);
    let mut held = engine.hold(Call::Inspect);
    let waiting = tokio::spawn({
        let engine = engine.clone();
        async move { engine.inspect("a").await }
    });
    held.arrived().await;
    engine.remove_outside("a");
    held.release();
    assert!(matches!(waiting.await, Ok(Ok(None))));
    engine.unreachable(true);
    assert!(matches!(engine.ping().await, Err(EngineError::Unreachable(_))));
    engine.unreachable(false);
    engine.ping().await?;
    assert_eq!((engine.count(Call::Create), engine.count(Call::Ping)), (2, 2));
    engine.reset_calls();
    assert!(engine.calls().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_listing_has_one_owners_containers_only() -> Result {
    let engine = engine();
    run(&engine, &spec("a", PortRange::one(3000))).await?;
    let _id = engine.run_foreign("b", HashMap::new());
    let _no_preview = engine.run_foreign("c", HashMap::from([(LABEL_OWNER.into(), "me".into())]));
    let names =
        |found: Vec<crate::engine::workload::Workload>| found.into_iter().map(|one| one.name).collect::<Vec<_>>();
    assert_eq!(names(engine.list("me").await?), ["a"]);
    assert!(engine.list("you").await?.is_empty());
    Ok(())
}

//! Stop, restart, sweep.

use std::time::Duration;

use super::support::{NAME, Tested, World, id, request};
use crate::database::memory::Call as Asked;
use crate::engine::memory::Call;
use crate::engine::{Engine, EngineError};
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::DatabaseState;
use crate::service::{PreviewService, Previews, StartRequest};

#[tokio::test(start_paused = true)]
async fn a_stop_takes_four_calls_and_keeps_the_database() -> Tested {
    let world = World::quiet();
    world.start().await?;
    world.engine.reset_calls();
    world.service.stop(&id(), false).await?;
    // One inspect is the monitor's: its stream of output ended.
    assert_eq!(world.calls(), [(Call::Inspect, 2), (Call::Stop, 1), (Call::Remove, 1)]);
    assert!(world.engine.names().is_empty() && world.server.count(Asked::Remove) == 0);
    assert!(world.get().await?.is_none());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn no_preview_is_no_error_and_its_database_can_go() -> Tested {
    let world = World::quiet();
    world.service.stop(&id(), true).await?;
    assert_eq!(world.calls(), [(Call::Inspect, 1)]);
    assert_eq!(world.asked(), [Asked::Remove]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_the_engine_refuses_keeps_the_database() -> Tested {
    let world = World::new();
    world.start().await?;
    world.engine.fail_next(Call::Remove, EngineError::Refused("busy".into()));
    assert!(matches!(world.service.stop(&id(), true).await, Err(Error::Engine { operation: "stop", .. })));
    assert!(world.server.count(Asked::Remove) == 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn start_stop_start_run_in_the_order_of_their_calls() -> Tested {
    let world = World::new();
    let (first, stop, second) =
        (world.service.start(request()), world.service.stop(&id(), false), world.service.start(request()));
    let (second, stop, first) = tokio::join!(second, stop, first);
    stop?;
    assert_ne!(first?.container_id, second?.container_id);
    assert_eq!(world.engine.names(), [NAME]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_restart_keeps_the_container_and_its_environment() -> Tested {
    let world = World::quiet();
    world.start().await?;
    let before = world.get().await?.ok_or(Error::abandoned(&id()))?;
    world.engine.reset_calls();
    let started = world.service.restart(request()).await?;
    assert_eq!(Some(started.container_id), before.container_id);
    // Two inspects are the monitor's, of the first run's end: one as its stream of output ended, one to take it in.
    assert_eq!(world.calls(), [(Call::EnsureNetwork, 1), (Call::Inspect, 4), (Call::Start, 1), (Call::Stop, 1)]);
    // Whether the database is still there is asked; its password is left alone.
    assert_eq!(world.asked(), [Asked::Ensure, Asked::SetPassword, Asked::Missing]);
    let after = world.get().await?.ok_or(Error::abandoned(&id()))?;
    assert_ne!(after.started_at, before.started_at);
    Ok(())
}

/// The state of the preview's database, and why.
async fn database(service: &PreviewService) -> Result<(Option<DatabaseState>, String), Error> {
    let preview = service.get(&id(), None).await?;
    Ok(preview.map(|preview| (preview.database, preview.database_detail.unwrap_or_default())).unwrap_or_default())
}

fn with_variable() -> StartRequest {
    StartRequest { variables: vec![("MINE".into(), "yes".into())], ..request() }
}

#[tokio::test(start_paused = true)]
async fn a_restart_gives_a_database_to_a_preview_that_started_without() -> Tested {
    let world = World::quiet();
    world.fail_database(Asked::Ensure);
    let first = world.service.start(with_variable()).await?;
    let (state, detail) = database(&world.service).await?;
    assert!(state == Some(DatabaseState::Unavailable) && detail.contains("restart_preview()"), "{detail}");
    // Still away: it is restarted as it is.
    world.fail_database(Asked::Ensure);
    assert_eq!(world.service.restart(request()).await?.container_id, first.container_id);
    assert_eq!(database(&world.service).await?, (state, detail));
    let started = world.service.restart(request()).await?;
    assert!(started.fresh && started.container_id != first.container_id);
    assert_eq!(database(&world.service).await?.0, Some(DatabaseState::Ready));
    let environment = world.engine.environment(&started.container_id).await.ok().flatten().unwrap_or_default();
    let value = |name: &str| environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
    assert_eq!(value("MINE"), Some("yes"));
    assert!(value("DATABASE_URL").is_some_and(|url| world.server.accepts(url)));
    assert_eq!(world.engine.names(), [NAME]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_dropped_database_is_told_and_a_restart_makes_another() -> Tested {
    let world = World::quiet();
    let other = world.other_process();
    let first = world.service.start(with_variable()).await?;
    world.service.common().databases().drop(&id()).await?;
    let (state, detail) = database(&world.service).await?;
    assert!(state == Some(DatabaseState::Unavailable) && detail.contains("restart_preview()"), "{detail}");
    // Another process sees the label, until a sweep asks the server.
    assert_eq!(database(&other).await?.0, Some(DatabaseState::Ready));
    other.sweep(false).await?;
    assert_eq!(database(&other).await?, (state, detail));
    let started = world.service.restart(request()).await?;
    assert_ne!(started.container_id, first.container_id);
    for service in [&world.service, &other] {
        service.sweep(false).await?;
        assert_eq!(database(service).await?.0, Some(DatabaseState::Ready));
    }
    other.common().abandon();
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_restart_finds_out_that_another_process_dropped_the_database() -> Tested {
    let world = World::quiet();
    let other = world.other_process();
    world.start().await?;
    // It never heard of the preview.
    other.common().databases().drop(&id()).await?;
    assert_eq!(database(&other).await?.0, Some(DatabaseState::Unavailable));
    assert!(world.service.restart(request()).await?.fresh);
    assert_eq!(database(&world.service).await?.0, Some(DatabaseState::Ready));
    let asked = world.asked();
    assert_eq!(asked.iter().filter(|call| **call == Asked::SetPassword).count(), 2);
    other.common().abandon();
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_restart_without_a_container_starts_one() -> Tested {
    let world = World::new();
    let started = world.service.restart(request()).await?;
    assert!(started.fresh);
    assert_eq!(world.engine.names(), [NAME]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn all_previews_of_the_owner_are_stopped_and_no_others() -> Tested {
    let world = World::new();
    let other = world.other_process();
    other.start(request()).await?;
    let _theirs = world.engine.run_foreign("theirs", PreviewId::project(7).labels("somebody"));
    world.service.stop_all().await?;
    assert_eq!(world.engine.names(), ["theirs"]);
    other.common().abandon();
    Ok(())
}

#[tokio::test]
async fn a_sweep_removes_what_ended_or_was_never_started() -> Tested {
    let world = World::new();
    world.start().await?;
    let owner = "kosuke-preview";
    let _ended = world.engine.run_foreign("ended", PreviewId::project(2).labels(owner));
    world.engine.exit("ended", 1);
    let _left = world.engine.create_foreign("left", PreviewId::project(3).labels(owner));
    let _theirs = world.engine.create_foreign("theirs", PreviewId::project(4).labels("somebody"));
    // Longer than another process may take between creating and starting.
    world.engine.advance(Duration::from_secs(60));
    let swept = world.service.sweep(false).await?;
    assert_eq!(swept.running, [id()]);
    assert_eq!(swept.removed, [PreviewId::project(2), PreviewId::project(3)]);
    assert!(swept.problems.is_empty(), "{:?}", swept.problems);
    assert_eq!(world.engine.names(), [NAME, "theirs"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_another_process_stopped_starts_anew() -> Tested {
    let world = World::quiet();
    world.start().await?;
    let mut starting = world.engine.hold(Call::Start);
    let restart = tokio::spawn(world.service.restart(request()));
    starting.arrived().await;
    let mut looking = world.engine.hold(Call::Inspect);
    starting.release();
    looking.arrived().await;
    world.engine.exit(NAME, 143);
    looking.release();
    let restarted = restart.await;
    assert!(matches!(restarted, Ok(Ok(_))), "{restarted:?}");
    Ok(())
}

//! Status, list, wait, events, logs.

use std::time::Duration;

use super::support::{NAME, Tested, World, id, request, wait};
use crate::engine::EngineError;
use crate::engine::memory::Call;
use crate::error::Error;
use crate::preview::{EventKind, LogSource, Phase};
use crate::probe::Answer;
use crate::service::{Previews, WaitOptions};

#[tokio::test(start_paused = true)]
async fn a_remembered_preview_costs_no_call() -> Tested {
    let world = World::new();
    world.start().await?;
    world.until(Phase::Ready).await?;
    world.engine.reset_calls();
    for _ in 0..100 {
        assert_eq!(world.phase().await?, Some(Phase::Ready));
    }
    assert_eq!(world.calls(), []);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn phases_follow_what_happens_to_the_container() -> Tested {
    let world = World::new();
    assert_eq!(world.phase().await?, None);
    world.start().await?;
    world.until(Phase::Ready).await?;
    world.engine.pause(NAME);
    world.until(Phase::Paused).await?;
    world.engine.unpause(NAME);
    world.until(Phase::Ready).await?;
    world.engine.oom_child(NAME);
    world.until(Phase::OomKilled).await?;
    let recovered = world.until(Phase::Ready).await?;
    assert_eq!(recovered.oom_count, 1);
    world.engine.print(NAME, "the last words");
    world.engine.exit(NAME, 3);
    let exited = world.until(Phase::Exited).await?;
    assert_eq!((exited.exit_code, exited.running), (Some(3), false));
    assert_eq!(exited.last_lines, ["the last words"]);
    world.engine.remove_outside(NAME);
    let mut events = world.service.events(Some(id()), false).await?;
    while world.get().await?.is_some() {
        drop(events.next().await);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_oom_is_told_from_a_kill() -> Tested {
    for (oom, phase) in [(true, Phase::OomKilled), (false, Phase::Exited)] {
        let world = World::new();
        world.start().await?;
        world.until(Phase::Ready).await?;
        if oom {
            world.engine.oom_exit(NAME);
        } else {
            world.engine.kill(NAME);
        }
        let ended = world.until(phase).await?;
        assert_eq!((ended.running, ended.exit_code), (false, Some(137)));
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_is_away_is_told_with_what_was_known() -> Tested {
    let world = World::new();
    world.start().await?;
    let known = world.until(Phase::Ready).await?;
    world.engine.unreachable(true);
    let away = world.until(Phase::EngineUnreachable).await?;
    assert_eq!((away.url, away.running), (known.url, true));
    world.engine.unreachable(false);
    world.until(Phase::Ready).await?;
    world.engine.unreachable(true);
    let unknown = world.other_process();
    assert!(matches!(unknown.get(&id(), None).await, Err(Error::DockerUnavailable { .. })));
    unknown.common().abandon();
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_broken_event_stream_loses_nothing() -> Tested {
    let world = World::new();
    world.start().await?;
    world.until(Phase::Ready).await?;
    world.engine.break_event_streams(EngineError::Unreachable("cut".into()));
    world.engine.oom_child(NAME);
    world.engine.exit(NAME, 0);
    world.until(Phase::Exited).await?;
    // What the stream missed comes when it is opened anew.
    while world.get().await?.is_none_or(|preview| preview.oom_count == 0) {
        // The clock is paused: it moves on while nothing else is to be done.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_listing_has_what_others_made_and_what_is_being_made_here() -> Tested {
    let world = World::new();
    let other = world.other_process();
    other.start(request()).await?;
    let listed = world.service.list().await?;
    assert_eq!(listed.iter().map(|preview| preview.id.clone()).collect::<Vec<_>>(), [id()]);
    assert!(world.service.is_running(&id()).await?);
    other.common().abandon();
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_at_once_when_it_cannot_become_ready() -> Tested {
    let world = World::new();
    let none = world.service.wait_until_ready(&id(), wait(60)).await;
    assert!(matches!(none, Err(Error::PreviewFailed { last: None, .. })), "{none:?}");
    world.prober.answer("/", Answer::NoServer);
    world.start().await?;
    let waiting = tokio::spawn({
        let service = std::sync::Arc::clone(&world.service);
        async move { service.wait_until_ready(&id(), wait(3600)).await }
    });
    tokio::task::yield_now().await;
    world.engine.exit(NAME, 1);
    assert!(matches!(waiting.await, Ok(Err(Error::PreviewFailed { exit_code: Some(1), .. }))));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_wait_is_for_what_was_queued_before_it() -> Tested {
    let world = World::new();
    world.start().await?;
    let first = world.until(Phase::Ready).await?;
    // None of these tasks has run yet when the wait looks: the page of the old container is still ready.
    let stop = world.service.stop(&id(), false);
    let start = world.service.start(request());
    let waited = world.service.wait_until_ready(&id(), wait(60)).await?;
    stop.await?;
    let started = start.await?;
    assert_ne!(Some(&started.container_id), first.container_id.as_ref());
    assert_eq!(waited.container_id, Some(started.container_id));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_wait_tells_the_time_in_each_phase() -> Tested {
    let world = World::new();
    world.prober.answer("/", Answer::NoServer);
    world.start().await?;
    let late = world.service.wait_until_ready(&id(), wait(20)).await;
    let Err(Error::NotReady { stages, timeout, .. }) = late else { return late.map(drop) };
    assert_eq!(timeout, Duration::from_secs(20));
    assert!(stages.iter().any(|(phase, spent)| *phase == Phase::Starting && *spent > Duration::from_secs(15)));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_compile_error_ends_a_wait_only_where_that_was_asked_for() -> Tested {
    let world = World::new();
    world.prober.answer("/", Answer::Status(500));
    world.start().await?;
    world.engine.print(NAME, "⨯ ./app/page.js:5:1\nParsing ecmascript source code failed\nExpected '>', got ';'\n");
    let options = WaitOptions { timeout: Some(Duration::from_secs(60)), fail_on_compile_error: true };
    let broken = world.service.wait_until_ready(&id(), options).await;
    assert!(matches!(broken, Err(Error::PreviewFailed { .. })), "{broken:?}");
    let patient = world.service.wait_until_ready(&id(), wait(5)).await;
    assert!(matches!(patient, Err(Error::NotReady { .. })), "{patient:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn subscribers_hear_of_what_other_processes_do() -> Tested {
    let world = World::new();
    let mut events = world.service.events(None, false).await?;
    let other = world.other_process();
    other.start(request()).await?;
    let mut kinds = Vec::new();
    while kinds.last() != Some(&EventKind::Removed) {
        let Some(event) = events.next().await else { break };
        if event.preview.as_ref().is_some_and(|preview| preview.phase == Phase::Ready) {
            world.engine.remove_outside(NAME);
        }
        kinds.push(event.kind);
    }
    assert!(kinds.len() > 1 && kinds[..kinds.len() - 1].iter().all(|kind| *kind == EventKind::Phase), "{kinds:?}");
    other.common().abandon();
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn output_goes_on_over_a_restart_and_ends_with_the_container() -> Tested {
    let world = World::new();
    world.start().await?;
    world.engine.print(NAME, "one");
    let reader = world.service.logs(&id(), true, None);
    let mut told = Vec::new();
    let mut take = async |count: usize| -> Tested {
        while told.len() < count {
            let Some(lines) = reader.next().await else { break };
            told.extend(lines?.into_iter().map(|line| (line.stream, line.text)));
        }
        Ok(())
    };
    take(1).await?;
    world.service.restart(request()).await?;
    world.engine.print_error(NAME, "two");
    take(2).await?;
    world.engine.exit(NAME, 0);
    take(9).await?;
    assert_eq!(told, [(LogSource::Stdout, "one".to_owned()), (LogSource::Stderr, "two".to_owned())]);
    assert!(reader.has_ended());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn events_of_one_container_are_asked_about_once() -> Tested {
    let world = World::new();
    world.start().await?;
    world.until(Phase::Ready).await?;
    world.engine.reset_calls();
    let mut held = world.engine.hold(Call::Inspect);
    world.engine.oom_child(NAME);
    held.arrived().await;
    for _ in 0..50 {
        world.engine.oom_child(NAME);
    }
    held.release();
    while world.get().await?.is_none_or(|preview| preview.oom_count < 51) {
        tokio::task::yield_now().await;
    }
    world.until(Phase::Ready).await?;
    assert!(world.engine.count(Call::Inspect) <= 4, "{}", world.engine.count(Call::Inspect));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_host_name_that_the_server_refuses_is_told() -> Tested {
    let host = "previews.example.com";
    let world = World::with(|settings| host.clone_into(&mut settings.preview_public_host));
    world.prober.refuse_host(host);
    world.start().await?;
    world.until(Phase::Ready).await?;
    while world.get().await?.and_then(|preview| preview.detail).is_none_or(|detail| !detail.contains(host)) {
        // The clock is paused: it moves on while nothing else is to be done.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_wait_does_not_answer_from_memory() -> Tested {
    let world = World::new();
    world.start().await?;
    world.until(Phase::Ready).await?;
    world.prober.answer("/", Answer::TooLate);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let hanging = world.service.wait_until_ready(&id(), wait(5)).await;
    let Err(Error::NotReady { last: Some(last), .. }) = hanging else { return hanging.map(drop) };
    assert_eq!(last.phase, Phase::Unresponsive);
    let id = id();
    let waiting = world.service.wait_until_ready(&id, wait(60));
    let mending = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        world.prober.answer("/", Answer::Status(200));
    };
    let (ready, ()) = tokio::join!(waiting, mending);
    assert_eq!(ready?.phase, Phase::Ready);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_app_that_hangs_is_told_without_being_asked_about() -> Tested {
    let world = World::new();
    world.start().await?;
    world.until(Phase::Ready).await?;
    let mut events = world.service.events(Some(id()), false).await?;
    let mut next = async || events.next().await.and_then(|event| event.preview).map(|preview| preview.phase);
    let asked = world.prober.asked().len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!((5..=7).contains(&(world.prober.asked().len() - asked)), "one request in 10 s while somebody listens");
    let hung = tokio::time::Instant::now();
    world.prober.answer("/", Answer::TooLate);
    assert_eq!(next().await, Some(Phase::Unresponsive));
    assert!(hung.elapsed() <= Duration::from_secs(10));
    // For hours, too.
    tokio::time::sleep(Duration::from_secs(7200)).await;
    world.prober.answer("/", Answer::Status(200));
    assert_eq!(next().await, Some(Phase::Ready));
    // Nobody listens any more: nobody asks.
    drop(events);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = world.prober.asked().len();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(world.prober.asked().len(), asked);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_paused_app_is_not_asked_for_its_page() -> Tested {
    let world = World::new();
    world.start().await?;
    world.until(Phase::Ready).await?;
    let _events = world.service.events(Some(id()), false).await?;
    world.engine.pause(NAME);
    world.until(Phase::Paused).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let asked = world.prober.asked().len();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.prober.asked().len(), asked);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_frozen_engine_is_told_within_the_heartbeats_time_out() -> Tested {
    let world = World::quiet();
    let _held = world.engine.hold(Call::Ping);
    let _more = world.engine.hold(Call::Ping);
    let asked = tokio::time::Instant::now();
    assert!(matches!(world.service.ping().await, Err(Error::Timeout { .. })));
    assert!(asked.elapsed() <= Duration::from_secs(5), "{:?}", asked.elapsed());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_told_is_not_older_than_its_parts() -> Tested {
    let world = World::new();
    world.start().await?;
    let ready = world.until(Phase::Ready).await?;
    assert!(ready.ready_at.is_some_and(|at| at <= ready.as_of), "{:?} {:?}", ready.ready_at, ready.as_of);
    Ok(())
}

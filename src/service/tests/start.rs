//! Start: adopt, a taken name, lost races, cancelled, the database late, the image missing.

use std::time::Duration;

use super::support::{NAME, Tested, World, id, request, wait};
use crate::database::memory::Call as Asked;
use crate::engine::memory::Call;
use crate::engine::{EngineError, PortRange};
use crate::error::Error;
use crate::id::{LABEL_DATABASE, LABEL_DATABASE_DETAIL, LABEL_START, PreviewId};
use crate::preview::{DatabaseState, NetworkIsolation, Phase};
use crate::service::{Previews, StartRequest};
use crate::settings::PullPolicy;

#[tokio::test(start_paused = true)]
async fn a_first_start_makes_one_container_with_these_calls() -> Tested {
    let world = World::quiet();
    assert_eq!(world.start().await?, "http://localhost:3000");
    let expected =
        [(Call::ImageVariables, 1), (Call::EnsureNetwork, 1), (Call::Inspect, 2), (Call::Create, 1), (Call::Start, 1)];
    assert_eq!(world.calls(), expected);
    assert_eq!(world.asked(), [Asked::Ensure, Asked::SetPassword]);
    let Some(spec) = world.engine.spec(NAME) else { return Err(Error::abandoned(&id())) };
    assert_eq!((spec.working_dir.as_deref(), spec.init), (Some("/app"), true));
    let url = spec.environment.iter().find(|(name, _)| name == "DATABASE_URL");
    assert!(url.is_some_and(|(_, url)| world.server.accepts(url)), "the password that was set stands in it");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn previews_have_a_network_of_their_own_unless_that_is_off() -> Tested {
    for (isolated, expected) in [(true, NetworkIsolation::Full), (false, NetworkIsolation::Off)] {
        let world = World::with(|settings| settings.preview_network_isolation = isolated);
        world.start().await?;
        let told = world.get().await?.and_then(|preview| preview.network_isolation);
        assert_eq!(told, Some(expected));
        assert_eq!(world.engine.networks(), [if isolated { "kosuke-preview-isolated" } else { "kosuke_default" }]);
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_running_container_is_adopted_for_one_call_and_its_password_stays() -> Tested {
    let world = World::quiet();
    let url = world.start().await?;
    let other = world.other_process();
    world.engine.reset_calls();
    let started = other.start(request()).await?;
    assert_eq!((started.url, started.fresh), (url, false));
    assert_eq!(world.calls(), [(Call::Inspect, 1)]);
    assert_eq!(world.asked(), [Asked::Ensure, Asked::SetPassword]);
    other.common().abandon();
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn who_starts_at_once_shares_one_start() -> Tested {
    let world = World::new();
    let mut held = world.engine.hold(Call::Create);
    let first = tokio::spawn(world.service.start(request()));
    held.arrived().await;
    let second = tokio::spawn(world.service.start(request()));
    held.release();
    for start in [first, second] {
        assert!(matches!(start.await, Ok(Ok(_))));
    }
    assert_eq!(world.engine.count(Call::Create), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_start_that_another_process_stopped_looks_again() -> Tested {
    for code in [143, 137] {
        let world = World::quiet();
        let mut starting = world.engine.hold(Call::Start);
        let start = tokio::spawn(world.service.start(request()));
        starting.arrived().await;
        let mut looking = world.engine.hold(Call::Inspect);
        starting.release();
        looking.arrived().await;
        world.engine.exit(NAME, code);
        looking.release();
        let started = start.await;
        assert!(matches!(started, Ok(Ok(_))), "{code}: {started:?}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_loser_of_a_race_for_the_name_adopts_the_winner() -> Tested {
    let world = World::new();
    let mut held = world.engine.hold(Call::Create);
    let losing = tokio::spawn(world.service.start(request()));
    held.arrived().await;
    let other = world.other_process();
    let won = other.start(request()).await?;
    held.release();
    let lost = losing.await.map_err(|_| Error::abandoned(&id()))??;
    assert_eq!((lost.url, lost.container_id, lost.fresh), (won.url, won.container_id, false));
    assert_eq!(world.engine.names(), [NAME]);
    // Only who won the name set a password.
    assert_eq!(world.server.count(Asked::SetPassword), 1);
    other.common().abandon();
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_name_that_is_always_taken_and_never_seen_ends_with_an_error() -> Tested {
    let world = World::new();
    for _ in 0..20 {
        world.engine.fail_next(Call::Create, EngineError::Conflict("taken".into()));
    }
    let failed = world.start().await;
    assert!(matches!(failed, Err(Error::ContainerStart { step: "create", .. })), "{failed:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_start_that_nobody_waits_for_is_undone() -> Tested {
    let world = World::new();
    let mut held = world.engine.hold(Call::Create);
    let leaving = tokio::spawn(world.service.start(request()));
    held.arrived().await;
    leaving.abort();
    drop(leaving.await);
    held.release();
    // It stands before this one in the queue.
    world.service.stop(&id(), false).await?;
    assert!(world.engine.names().is_empty());
    assert_eq!(world.engine.count(Call::Start), 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_late_database_holds_the_start_and_a_failed_one_is_told() -> Tested {
    let world = World::new();
    let late = world.server.hold(Asked::Ensure);
    world.fail_database(Asked::SetPassword);
    let starting = tokio::spawn(world.service.start(request()));
    let early = tokio::time::timeout(Duration::from_secs(30), world.service.wait_until_ready(&id(), wait(5))).await;
    assert!(matches!(early, Ok(Err(Error::NotReady { .. }))), "{early:?}");
    assert!(world.engine.names().is_empty());
    late.release();
    assert!(matches!(starting.await, Ok(Ok(_))));
    let preview = world.get().await?;
    let told = preview.map(|preview| (preview.database, preview.database_detail));
    let (state, detail) = told.unwrap_or_default();
    assert_eq!(state, Some(DatabaseState::Unavailable));
    assert!(detail.is_some_and(|detail| detail.contains("the server is away")));
    // The label would have told a lie: the container was made once more.
    assert_eq!((world.engine.count(Call::Create), world.engine.names().len()), (2, 1));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_required_database_fails_the_start_and_nothing_is_left() -> Tested {
    for step in [Asked::Ensure, Asked::SetPassword] {
        let world = World::with(|settings| settings.postgres_required = true);
        world.fail_database(step);
        assert!(matches!(world.start().await, Err(Error::Database { .. })), "{step:?}");
        assert!(world.engine.names().is_empty(), "{step:?}");
        assert!(world.phase().await?.is_none());
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_missing_image_is_pulled_or_told_as_the_policy_says() -> Tested {
    let world = World::with(|settings| "other".clone_into(&mut settings.preview_default_image));
    assert!(matches!(world.start().await, Err(Error::ImageNotFound { .. })));
    assert_eq!(world.engine.count(Call::Pull), 0);
    let world = World::with(|settings| {
        "other".clone_into(&mut settings.preview_default_image);
        settings.preview_pull_policy = PullPolicy::Missing;
    });
    world.start().await?;
    assert_eq!(world.engine.count(Call::Pull), 1);
    let world = World::with(|settings| {
        "other".clone_into(&mut settings.preview_default_image);
        settings.preview_pull_policy = PullPolicy::Missing;
    });
    world.engine.on_pull("other", Vec::new(), Err(EngineError::RegistryDenied("denied".into())));
    assert!(matches!(world.start().await, Err(Error::ImageNotFound { .. })));
    assert_eq!(world.engine.count(Call::Create), 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn two_previews_share_one_pull() -> Tested {
    let world = World::with(|settings| {
        "other".clone_into(&mut settings.preview_default_image);
        settings.preview_pull_policy = PullPolicy::Missing;
    });
    let mut held = world.engine.hold(Call::Pull);
    let first = tokio::spawn(world.service.start(request()));
    held.arrived().await;
    let second = StartRequest { id: crate::id::PreviewId::project(2), ..request() };
    let second = tokio::spawn(world.service.start(second));
    let calls = world.engine.clone();
    while calls.count(Call::ImageVariables) < 2 {
        tokio::task::yield_now().await;
    }
    held.release();
    for start in [first, second] {
        assert!(matches!(start.await, Ok(Ok(_))));
    }
    assert_eq!(world.engine.count(Call::Pull), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn held_ports_are_stepped_over_and_a_held_range_is_told_at_once() -> Tested {
    let world = World::with(|settings| settings.preview_port_range_end = 3003);
    world.engine.hold_ports(PortRange { first: 3000, last: 3001 });
    assert_eq!(world.start().await?, "http://localhost:3002");
    assert_eq!(world.engine.count(Call::Start), 3);
    world.service.stop(&id(), false).await?;
    world.engine.reset_calls();
    world.engine.hold_ports(PortRange { first: 3000, last: 3003 });
    let failed = world.start().await;
    assert!(matches!(failed, Err(Error::PortRangeExhausted { first: 3000, last: 3003, .. })), "{failed:?}");
    assert_eq!((world.engine.count(Call::Start), world.engine.names().len()), (1, 0));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_is_lost_leaves_nothing() -> Tested {
    let world = World::new();
    world.engine.fail_next_after(Call::Create, EngineError::Timeout(Duration::from_secs(60)));
    assert!(matches!(world.start().await, Err(Error::Timeout { operation: "create", .. })));
    assert!(world.engine.names().is_empty(), "it has the start's token");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_engines_words_never_repeat_the_environment() -> Tested {
    let world = World::new();
    let secret = "s3cr3t-value";
    let mut request = request();
    request.variables.push(("KEY".into(), secret.into()));
    for call in [Call::Create, Call::Start, Call::Inspect] {
        if call == Call::Inspect {
            // The first one looks for the container, before there is an environment.
            drop(world.engine.hold(call));
        }
        world.engine.fail_next(call, EngineError::Refused(format!("bad variable {secret}")));
        let words = world.service.start(request.clone()).await.err().map(|error| error.to_string());
        assert!(words.as_ref().is_some_and(|words| words.contains("***") && !words.contains(secret)), "{words:?}");
        assert!(world.engine.names().is_empty(), "{call:?}");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ours_is_adopted_only_while_it_runs() -> Tested {
    let world = World::new();
    let _running = world.engine.run_foreign(NAME, std::collections::HashMap::new());
    assert_eq!(world.start().await?, "http://localhost:3000");
    world.engine.exit(NAME, 0);
    let refused = world.start().await;
    assert!(matches!(refused, Err(Error::ContainerConflict { .. })), "{refused:?}");
    assert_eq!(world.engine.names(), [NAME]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_dead_container_of_ours_is_replaced() -> Tested {
    let world = World::new();
    world.start().await?;
    let first = world.engine.spec(NAME).and_then(|spec| spec.labels.get(LABEL_START).cloned());
    world.engine.exit(NAME, 1);
    world.start().await?;
    let spec = world.engine.spec(NAME).unwrap_or_default();
    assert_ne!(spec.labels.get(LABEL_START).cloned(), first);
    assert_eq!(spec.labels.get(LABEL_DATABASE).map(String::as_str), Some("ready"));
    assert!(!spec.labels.contains_key(LABEL_DATABASE_DETAIL));
    assert_eq!(world.until(Phase::Ready).await?.oom_count, 0);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_missing_folder_is_told_before_anything_is_made() -> Tested {
    let world = World::quiet();
    let request = StartRequest { id: crate::id::PreviewId::project(9), ..request() };
    assert!(matches!(world.service.start(request).await, Err(Error::ProjectFolder { .. })));
    assert_eq!(world.calls(), [(Call::Inspect, 1)]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_failed_start_leaves_no_network_that_it_made() -> Tested {
    let refused = || EngineError::Refused("no".into());
    for call in [Call::Create, Call::Start] {
        let world = World::new();
        world.engine.fail_next(call, refused());
        assert!(world.start().await.is_err());
        assert!(world.engine.networks().is_empty(), "{call:?}");
        world.start().await?;
        world.engine.fail_next(call, refused());
        let other = StartRequest { id: PreviewId::project(2), ..request() };
        assert!(world.service.start(other).await.is_err());
        assert_eq!(world.engine.networks().len(), 1, "another preview uses it");
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_beside_another_leaves_the_network() -> Tested {
    let world = World::new();
    let mut held = world.engine.hold(Call::Create);
    let first = tokio::spawn(world.service.start(request()));
    held.arrived().await;
    world.engine.fail_next(Call::Create, EngineError::Refused("no".into()));
    let other = StartRequest { id: PreviewId::project(2), ..request() };
    assert!(world.service.start(other).await.is_err());
    assert_eq!(world.engine.networks().len(), 1);
    held.release();
    assert!(matches!(first.await, Ok(Ok(_))));
    assert_eq!(world.engine.networks().len(), 1);
    Ok(())
}

fn with(variables: &[(&str, &str)], recreate: bool) -> StartRequest {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    StartRequest { variables, recreate, ..request() }
}

#[tokio::test(start_paused = true)]
async fn variables_that_the_running_container_lacks_are_named() -> Tested {
    let world = World::new();
    let started = world.service.start(with(&[("SAME", "1"), ("OTHER", "1"), ("GONE", "1")], false)).await?;
    world.until(Phase::Ready).await?;
    let drift = async || Ok::<_, Error>(world.get().await?.map(|preview| preview.drift).unwrap_or_default());
    assert!(drift().await?.is_empty());
    let wanted = [("SAME", "1"), ("OTHER", "2"), ("NEW", "1")];
    let found = world.service.start(with(&wanted, false)).await?;
    assert_eq!(found.container_id, started.container_id);
    assert_eq!(drift().await?, ["GONE", "NEW", "OTHER"]);
    // Who gives none has no wish.
    world.start().await?;
    assert_eq!(drift().await?, ["GONE", "NEW", "OTHER"]);
    let made = world.service.start(with(&wanted, true)).await?;
    assert_ne!(made.container_id, started.container_id);
    assert!(drift().await?.is_empty());
    let kept = world.service.start(with(&wanted, true)).await?;
    assert_eq!(kept.container_id, made.container_id, "without drift it stays");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn who_joins_a_start_with_other_variables_is_told_or_gets_its_own() -> Tested {
    let world = World::new();
    let mut held = world.engine.hold(Call::Create);
    let first = tokio::spawn(world.service.start(with(&[("A", "1")], false)));
    held.arrived().await;
    let told = tokio::spawn(world.service.start(with(&[("A", "2")], false)));
    held.release();
    let (first, told) = (first.await, told.await);
    let (Ok(Ok(first)), Ok(Ok(told))) = (first, told) else { return Err(Error::abandoned(&id())) };
    assert_eq!(first.container_id, told.container_id);
    assert_eq!(world.get().await?.map(|preview| preview.drift), Some(vec!["A".to_owned()]));
    let mut held = world.engine.hold(Call::Create);
    let first = tokio::spawn(world.service.start(with(&[("A", "3")], true)));
    held.arrived().await;
    let second = tokio::spawn(world.service.start(with(&[("A", "4")], true)));
    held.release();
    let (Ok(Ok(_)), Ok(Ok(second))) = (first.await, second.await) else { return Err(Error::abandoned(&id())) };
    let made = world.engine.spec(NAME).map(|spec| spec.environment).unwrap_or_default();
    assert!(made.contains(&("A".to_owned(), "4".to_owned())));
    assert_eq!(world.get().await?.and_then(|preview| preview.container_id), Some(second.container_id));
    Ok(())
}

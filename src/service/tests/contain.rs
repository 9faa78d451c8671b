//! What holds a preview in, as the engine is asked for it.

use super::support::{NAME, Tested, World, id, request};
use crate::containment::{Limits, User};
use crate::engine::memory::Call;
use crate::engine::{ContainerSpec, EngineError};
use crate::error::Error;
use crate::service::{Previews, StartRequest};

fn spec(world: &World) -> Result<ContainerSpec, Error> {
    world.engine.spec(NAME).ok_or_else(|| Error::abandoned(&id()))
}

fn variable(spec: &ContainerSpec, name: &str) -> Option<String> {
    spec.environment.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

#[tokio::test(start_paused = true)]
async fn the_settings_hold_and_a_start_changes_what_it_names() -> Tested {
    let world = World::with(|settings| {
        settings.containment.memory = 1 << 30;
        settings.containment.pids = 100;
        settings.containment.cpu_shares = 512;
        settings.containment.capabilities = Some(vec!["KILL".into()]);
    });
    let limits = Limits { memory: Some(100 << 20), pids: Some(0), ..Limits::default() };
    world.service.start(StartRequest { limits, ..request() }).await?;
    let spec = spec(&world)?;
    assert_eq!((spec.resources.memory_bytes, spec.resources.pids), (Some(100 << 20), None));
    assert_eq!((spec.resources.cpu_shares, spec.resources.cpu_millis), (Some(512), None));
    assert_eq!(variable(&spec, "NODE_OPTIONS").as_deref(), Some("--max-old-space-size=75"));
    assert_eq!(spec.security.drop_capabilities, ["ALL"]);
    assert_eq!(spec.security.add_capabilities, ["KILL"]);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn node_options_of_the_caller_win() -> Tested {
    let world = World::with(|settings| settings.containment.memory = 1 << 30);
    let variables = vec![("NODE_OPTIONS".to_owned(), "--no-warnings".to_owned())];
    world.service.start(StartRequest { variables, ..request() }).await?;
    assert_eq!(variable(&spec(&world)?, "NODE_OPTIONS").as_deref(), Some("--no-warnings"));
    assert_eq!(world.engine.count(Call::ImageVariables), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn an_image_that_cannot_be_asked_about_fails_the_start_and_leaves_nothing() -> Tested {
    let world = World::with(|settings| settings.containment.memory = 1 << 30);
    world.engine.fail_next(Call::ImageVariables, EngineError::Refused("broken".into()));
    assert!(matches!(world.start().await, Err(Error::Engine { operation: "image", .. })));
    assert_eq!(world.engine.names(), Vec::<String>::new());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_user_that_is_a_number_has_a_home_in_tmp_unless_it_is_given_one() -> Tested {
    for (user, given, home) in [
        ("1000:1000", None, Some("/tmp")),
        ("1000", Some("/app/home"), Some("/app/home")),
        ("root", None, None),
        ("node", None, None),
    ] {
        let world = World::with(|settings| settings.containment.user = User::from_setting(user));
        let variables = given.map(|home: &str| ("HOME".to_owned(), home.to_owned())).into_iter().collect();
        world.service.start(StartRequest { variables, ..request() }).await?;
        assert_eq!(variable(&spec(&world)?, "HOME").as_deref(), home, "{user}");
    }
    Ok(())
}

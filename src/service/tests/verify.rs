//! Verify: a verdict rests on what came after the edit.

use std::time::{Duration, SystemTime};

use serde_json::json;

use super::support::{NAME, Tested, World, id};
use crate::error::Error;
use crate::preview::Phase;
use crate::probe::{Answer, NextTool};
use crate::service::{Previews, Verdict, VerifyRequest};

async fn verify(world: &World, since: Option<SystemTime>) -> Result<Verdict, Error> {
    let request = VerifyRequest { since, path: "/".to_owned(), timeout: Duration::from_secs(10) };
    world.service.verify(&id(), request).await
}

fn told(verdict: &Verdict) -> Vec<(&'static str, Option<bool>)> {
    verdict.checks.iter().map(|check| (check.name, check.ok)).collect()
}

/// Verifies while the dev server prints this.
async fn verify_while(world: &World, lines: &[&str]) -> Result<Verdict, Error> {
    let printed = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        for line in lines {
            world.engine.print(NAME, line);
        }
    };
    tokio::join!(verify(world, None), printed).0
}

#[tokio::test(start_paused = true)]
async fn without_a_preview_there_is_nothing_to_verify() {
    let world = World::new();
    assert!(matches!(verify(&world, None).await, Err(Error::NoPreview { operation: "verify", .. })));
}

#[tokio::test(start_paused = true)]
async fn a_build_after_the_edit_shows_that_it_was_taken_in() -> Tested {
    let world = World::ready("▲ Next.js 16.4.6 (Turbopack)").await?;
    world.prober.answer_tool(NextTool::List, json!({ "tools": [{ "name": "get_compilation_issues" }] }));
    world.prober.answer_tool(NextTool::CompilationIssues, json!({ "issues": [] }));
    world.write("app/page.js", "");
    let before = world.prober.asked().len();
    let verdict = verify_while(&world, &[" ✓ Compiled in 4ms"]).await?;
    let expected =
        [("taken_in", Some(true)), ("compiles", Some(true)), ("answers", Some(true)), ("browser_errors", None)];
    assert_eq!(told(&verdict), expected, "{verdict:?}");
    assert_eq!(world.prober.asked()[before], "/", "asked anew");
    assert!(verdict.edited_at.is_some());
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn what_nothing_tells_is_not_told() -> Tested {
    let world = World::ready("  VITE v8.3.8  ready in 301 ms").await?;
    world.write("src/App.jsx", "");
    let before = world.prober.asked().len();
    let verdict = verify(&world, None).await?;
    let expected = [("taken_in", None), ("compiles", None), ("answers", Some(true)), ("browser_errors", None)];
    assert_eq!(told(&verdict), expected, "{verdict:?}");
    assert!(world.prober.asked().len() >= before + 2, "a page that answered too early is asked for again");
    let later = verify(&world, Some(SystemTime::now() + Duration::from_secs(60))).await?;
    assert!(later.checks[0].detail.contains("no file of the project was changed"), "{later:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn modules_that_vite_sent_anew_are_asked_for() -> Tested {
    let world = World::ready("  VITE v8.3.8  ready in 301 ms").await?;
    world.write("src/App.jsx", "");
    let lines = ["6:10:49 PM [vite] (client) hmr update /src/App.jsx"];
    world.prober.answer("/src/App.jsx", Answer::Status(200));
    let verdict = verify_while(&world, &lines).await?;
    assert_eq!(told(&verdict)[..2], [("taken_in", Some(true)), ("compiles", Some(true))], "{verdict:?}");
    world.prober.answer("/src/App.jsx", Answer::Status(500));
    world.write("src/App.jsx", "broken");
    let verdict = verify_while(&world, &lines).await?;
    assert_eq!(told(&verdict)[..2], [("taken_in", Some(true)), ("compiles", Some(false))], "{verdict:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_page_that_fails_is_not_verified() -> Tested {
    let world = World::ready("▲ Next.js 15.5.29").await?;
    world.write("app/page.js", "");
    world.prober.answer("/", Answer::Status(500));
    let lines = [" ⨯ ./app/page.js:2:23", "Error: Expected '>', got ';'", "> 2 |   return <h1>Hello</h1;", ""];
    let verdict = verify_while(&world, &lines).await?;
    let expected =
        [("taken_in", Some(true)), ("compiles", Some(false)), ("answers", Some(false)), ("browser_errors", None)];
    assert_eq!(told(&verdict), expected, "{verdict:?}");
    assert_eq!(verdict.errors.len(), 1);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn paths_lead_nowhere_else_and_what_does_not_run_is_not_asked() -> Tested {
    let world = World::ready("▲ Next.js 15.5.29").await?;
    let away = VerifyRequest { since: None, path: "//x".to_owned(), timeout: Duration::from_secs(1) };
    assert!(matches!(world.service.verify(&id(), away).await, Err(Error::InvalidInput { .. })));
    let address = world.service.page_address(&id(), "/").await?;
    assert_eq!((address.url.as_str(), address.port), ("http://localhost:3000", 3000));
    world.engine.exit(NAME, 1);
    world.until(Phase::Exited).await?;
    let verdict = verify(&world, None).await?;
    let expected = [("taken_in", None), ("compiles", None), ("answers", Some(false)), ("browser_errors", None)];
    assert_eq!(told(&verdict), expected, "{verdict:?}");
    assert!(matches!(world.service.page_address(&id(), "/").await, Err(Error::NoPreview { .. })));
    Ok(())
}

//! Check: what compiles, by whom it is told, and what could not be looked at.

use std::time::Duration;

use serde_json::json;

use super::support::{NAME, Tested, World, id};
use crate::engine::ExecResult;
use crate::engine::memory::Call;
use crate::error::Error;
use crate::preview::{ErrorKind, Phase};
use crate::probe::{Answer, NextTool};
use crate::service::{CheckRequest, CheckResult, Previews, Routes};

async fn check(world: &World, routes: Routes, types: bool) -> Result<CheckResult, Error> {
    world.service.check(&id(), CheckRequest { routes, types, timeout: Duration::from_secs(30) }).await
}

fn told(result: &CheckResult) -> Vec<(&str, Option<bool>, Option<u16>)> {
    result.routes.iter().map(|route| (route.path.as_str(), route.compiled, route.status)).collect()
}

fn names(result: &CheckResult, words: &str) -> bool {
    result.not_looked_at.iter().any(|sentence| sentence.contains(words))
}

#[tokio::test(start_paused = true)]
async fn without_a_preview_there_is_nothing_to_check() {
    let world = World::new();
    assert!(matches!(check(&world, Routes::None, false).await, Err(Error::NoPreview { operation: "check", .. })));
}

#[tokio::test(start_paused = true)]
async fn next_16_tells_of_all_routes() -> Tested {
    let world = World::ready("▲ Next.js 16.4.6 (Turbopack)").await?;
    let tools = json!({ "tools": [{ "name": "get_routes" }, { "name": "get_compilation_issues" }] });
    world.prober.answer_tool(NextTool::List, tools);
    world.prober.answer_tool(NextTool::Routes, json!({ "appRouter": ["/", "/a", "/b/[id]"] }));
    let issue = json!({ "severity": "error", "filePath": "[project]/app/a/page.js", "title": "Expected '>'",
        "description": "Parsing ecmascript source code failed", "source": { "range": { "start": { "line": 3 } } } });
    world.prober.answer_tool(NextTool::CompilationIssues, json!({ "issues": [issue] }));
    let result = check(&world, Routes::Known, false).await?;
    assert_eq!(told(&result), [("/", Some(true), Some(200)), ("/a", Some(false), None), ("/b/[id]", Some(true), None)]);
    let [error] = result.errors.as_slice() else { return Err(Error::abandoned(&id())) };
    assert_eq!((error.file.as_deref(), error.line, error.kind), (Some("app/a/page.js"), Some(3), ErrorKind::Syntax));
    assert_eq!(result.compiled, Some(false));
    world.prober.answer_tool(NextTool::CompilationIssues, json!({ "issues": [] }));
    assert_eq!(check(&world, Routes::None, false).await?.compiled, Some(true));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn older_ones_and_others_are_never_asked_for_tools() -> Tested {
    for banner in ["   ▲ Next.js 15.5.29", "  VITE v8.3.8  ready in 301 ms"] {
        let world = World::ready(banner).await?;
        let result = check(&world, Routes::None, false).await?;
        assert_eq!((told(&result), result.compiled), (vec![("/", Some(true), Some(200))], Some(true)));
        assert!(names(&result, "only / was looked at") && names(&result, "types:"), "{result:?}");
        assert!(world.prober.asked().iter().all(|asked| asked == "/"), "{:?}", world.prober.asked());
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn known_routes_are_asked_for_one_by_one() -> Tested {
    let world = World::ready("▲ Next.js 15.5.29").await?;
    for page in ["app/page.js", "app/a/page.js", "app/b/page.js", "app/c/page.js", "app/d/[id]/page.js"] {
        world.write(page, "");
    }
    world.prober.answer("/a", Answer::Status(404));
    world.prober.answer("/b", Answer::Status(500));
    world.prober.answer("/c", Answer::TooLate);
    let result = check(&world, Routes::Known, false).await?;
    assert_eq!(
        told(&result),
        [("/", Some(true), Some(200)), ("/a", Some(true), Some(404)), ("/b", Some(false), Some(500))]
    );
    assert!(names(&result, "/c: no answer") && names(&result, "/d/[id]: their parts"), "{result:?}");
    assert_eq!(result.compiled, Some(false));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn one_check_asks_for_a_bounded_number_of_paths_of_the_preview() -> Tested {
    let world = World::ready("▲ Next.js 15.5.29").await?;
    for wrong in ["a", "//elsewhere", "/\\elsewhere", "/a\nb"] {
        let refused = check(&world, Routes::Paths(vec![wrong.to_owned()]), false).await;
        assert!(matches!(refused, Err(Error::InvalidInput { .. })), "{wrong}");
    }
    let before = world.prober.asked().len();
    let many = (0..40).map(|number| format!("/{number}")).collect();
    let result = check(&world, Routes::Paths(many), false).await?;
    assert!(names(&result, "one check asks for 30"), "{result:?}");
    assert!(world.prober.asked().len() <= before + 32);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_type_checker_tells_or_says_why_not() -> Tested {
    let world = World::ready("▲ Next.js 15.5.29").await?;
    let ended =
        |exit_code, output: &str| ExecResult { output: output.into(), is_cut: false, exit_code: Some(exit_code) };
    for (code, output, expected) in [
        (0, "", Ok(0)),
        (2, "src/a.ts(3,5): error TS2322: Type 'string' is not assignable to type 'number'.\n", Ok(1)),
        (1, "Segmentation fault\n", Err("types: the type checker failed: Segmentation fault")),
        (124, "", Err("types: the type checker was ended after 28 s")),
        (126, "", Err("types: the project has no tsconfig.json")),
        (127, "", Err("types: the project has no node_modules/.bin/tsc")),
    ] {
        world.engine.on_exec(ended(code, output));
        let result = check(&world, Routes::None, true).await?;
        match expected {
            Ok(count) => assert_eq!(result.type_errors.as_ref().map(Vec::len), Some(count)),
            Err(words) => assert!(result.type_errors.is_none() && names(&result, words), "{words}: {result:?}"),
        }
        assert_eq!(result.compiled, Some(expected != Ok(1)));
    }
    assert_eq!(world.engine.count(Call::Exec), 6);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ended_is_not_looked_at() -> Tested {
    let world = World::ready("▲ Next.js 16.4.6").await?;
    world.engine.exit(NAME, 1);
    world.until(Phase::Exited).await?;
    let result = check(&world, Routes::Known, true).await?;
    assert!(result.compiled.is_none() && names(&result, "does not run"), "{result:?}");
    Ok(())
}

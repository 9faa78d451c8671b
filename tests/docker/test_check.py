"""Check and verify on a real engine, with a dev server and a type checker of the tests' own."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from kosuke_docker import (
    CheckResult,
    DockerService,
    InvalidInputError,
    PreviewNotFoundError,
    RouteCheck,
    Verdict,
    VerdictCheck,
)

TSC = """#!/usr/bin/env node
require("fs").writeFileSync("who", String(process.getuid()));
console.log("src/a.ts(3,5): error TS2322: Type 'string' is not assignable to type 'number'.");
process.exit(2);
"""
HANGS = """#!/usr/bin/env node
require("child_process").spawn(process.execPath, ["-e", "setTimeout(() => {}, 600000, 'of the checker')"]);
for (;;) {}
"""


def checker(project: Path, text: str) -> None:
    """The project's own type checker."""
    program = project / "node_modules" / ".bin" / "tsc"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(text)
    program.chmod(0o755)
    (project / "tsconfig.json").write_text("{}")


def found(verdict: Verdict) -> dict[str, bool | None]:
    return {check.name: check.ok for check in verdict.checks}


async def test_routes_are_asked_for_where_that_is_wanted(world: Any) -> None:
    world.project(1)
    service = world.service()
    await service.start_preview(1, wait="ready")
    result = await service.check(1)
    assert [(route.path, route.compiled) for route in result.routes] == [("/", True)]
    assert result.compiled is True
    assert any("only / was looked at" in sentence for sentence in result.not_looked_at)
    asked = await service.check(1, routes=["/status", "/a/[id]"])
    assert [route.path for route in asked.routes] == ["/", "/status"]
    assert any("/a/[id]: their parts" in sentence for sentence in asked.not_looked_at)


async def test_the_type_checker_runs_as_the_container_does(world: Any) -> None:
    project = world.project(1)
    service = world.service()
    await service.start_preview(1, wait="ready")
    missing = await service.check(1, types=True)
    assert missing.type_errors is None
    assert "types: the project has no node_modules/.bin/tsc" in missing.not_looked_at
    checker(project, TSC)
    result = await service.check(1, types=True)
    assert result.type_errors is not None
    [error] = result.type_errors
    assert (error.file, error.line, error.column, error.kind) == ("src/a.ts", 3, 5, "type")
    assert result.compiled is False
    assert (project / "who").read_text() == world.container(1).exec_run(["id", "-u"]).output.decode().strip() or "0"


async def test_the_native_results_have_the_models_fields(world: Any) -> None:
    world.project(1)
    service = world.service()
    await service.start_preview(1, wait="ready")
    core, name = service._attach().core, service._get_container_name(1)
    checked = json.loads(await core.check(1, name, False, None, False, 10.0))
    assert set(checked) == set(CheckResult.model_fields)
    assert set(checked["routes"][0]) == set(RouteCheck.model_fields)
    verified = json.loads(await core.verify(1, name, None, "/", 10.0))
    assert set(verified) == set(Verdict.model_fields) - {"ok", "screenshot"}
    assert set(verified["checks"][0]) == set(VerdictCheck.model_fields)


async def test_a_type_checker_that_hangs_is_ended_with_its_children(world: Any) -> None:
    checker(world.project(1), HANGS)
    service = world.service()
    await service.start_preview(1, wait="ready")
    began = time.monotonic()
    result = await service.check(1, types=True, timeout=4)
    assert time.monotonic() - began < 8
    assert result.type_errors is None
    assert any("was ended after 2 s" in sentence for sentence in result.not_looked_at), result.not_looked_at
    processes = str(world.container(1).top()["Processes"])
    assert "of the checker" not in processes
    assert "bin/tsc" not in processes


async def test_a_verdict_rests_on_what_came_after_the_edit(world: Any) -> None:
    project = world.project(1)
    (project / "page.js").write_text("as it was")
    service = world.service()
    await service.start_preview(1, {"PAGE": "page.js"}, wait="ready")
    (project / "page.js").write_text("fine")
    verdict = await service.verify(1)
    assert verdict.edited_at is not None
    assert found(verdict)["answers"] is True, verdict
    assert verdict.errors == []
    (project / "page.js").write_text("BROKEN")
    broken = await service.verify(1)
    assert broken.ok is False
    assert found(broken)["taken_in"] is True, broken
    assert found(broken)["compiles"] is False, broken
    later = await service.verify(1, since=datetime.now(UTC) + timedelta(hours=1))
    assert found(later)["taken_in"] is None


async def test_without_a_preview_and_with_wrong_arguments(world: Any) -> None:
    service: DockerService = world.service()
    for call in (service.check, service.verify, service.screenshot):
        with pytest.raises(PreviewNotFoundError):
            await call(1)
    wrong: list[Any] = [
        service.check(1, routes="all"),
        service.check(1, routes=["//elsewhere"]),
        service.check(1, types="yes"),  # type: ignore[arg-type]
        service.verify(1, since=datetime(2026, 1, 1)),
        service.verify(1, path="elsewhere"),
        service.screenshot(1, "//elsewhere"),
    ]
    for call in wrong:
        with pytest.raises(InvalidInputError):
            await call


async def test_a_call_that_is_cancelled_leaves_nothing(world: Any) -> None:
    world.project(1)
    service = world.service()
    await service.start_preview(1, wait="ready")
    for call in (service.check(1, routes=["/hang"]), service.verify(1)):
        task = asyncio.ensure_future(call)
        await asyncio.sleep(0.1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert isinstance(await service.check(1), CheckResult)

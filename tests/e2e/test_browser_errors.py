"""What goes wrong in a real browser, as real dev servers pass it on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import browser
import pytest
import stacks
from kosuke_docker import BrowserError, DockerService
from waiting import SECONDS

pytestmark = [pytest.mark.alone, pytest.mark.timeout(300)]

COMMAND = "cd /app && npm run dev"
NAMES = ("next16", "vite8", *(("next15",) if os.environ.get("KOSUKE_SOAK") else ()))
TELLS = {"next16", "vite8"}
"""Next.js 15 and older tell nothing."""

GOOD = """'use client';
import { useEffect } from 'react';
export default function Page() {
  useEffect(() => {
    document.title = 'Hello';
  }, []);
  return <h1>Hello</h1>;
}
"""
FAULTS = {
    "uncaught": ("document.title = 'Hello';", "throw new Error('thrown in an effect');", "thrown in an effect", 5),
    "unhandled_rejection": (
        "document.title = 'Hello';",
        "Promise.reject(new Error('nobody took this'));",
        "nobody took this",
        5,
    ),
    "console": (
        "document.title = 'Hello';",
        "console.error('an error was logged', { id: 7 });",
        "an error was logged",
        5,
    ),
    "hydration": ("<h1>Hello</h1>", "<h1>{typeof window === 'undefined' ? 1 : 2}</h1>", "Hydration failed", 7),
}


@pytest.fixture
async def chromium(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[browser.Browser]:
    async with browser.running(tmp_path_factory.mktemp("browser") / "profile") as made:
        yield made


def git(project: Path, *arguments: str) -> str:
    who = ("-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "safe.directory=*")
    command = ["git", *who, *arguments]
    return subprocess.run(command, cwd=project, check=True, capture_output=True, text=True).stdout


def committed(project: Path) -> None:
    (project / ".gitignore").write_text("node_modules\n.next\n")
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-q", "-m", "x")


async def told(service: DockerService, message: str) -> list[BrowserError]:
    preview = await service.get_preview(1)
    assert preview is not None
    # What happens in a browser is no compile error.
    assert preview.errors == []
    return [error for error in preview.browser_errors if message in error.message]


async def until(
    service: DockerService, message: str, holds: Callable[[list[BrowserError]], bool]
) -> list[BrowserError]:
    """What is told of the message, once that holds."""
    async with asyncio.timeout(SECONDS):
        while not holds(errors := await told(service, message)):  # noqa: ASYNC110 - pulled, as an agent does
            await asyncio.sleep(0.05)
    return errors


@pytest.mark.parametrize("name", NAMES)
async def test_what_goes_wrong_in_the_browser_is_told_until_it_is_mended(
    world: Any, chromium: browser.Browser, name: str, record_property: Any
) -> None:
    project = world.folder / "1"
    page = project / stacks.copy(name, project).page
    page.write_text(GOOD)
    committed(project)
    service = world.service(preview_command=COMMAND)
    url = await service.start_preview(1, wait="ready", timeout=90)
    for kind, (piece, fault, message, line) in FAULTS.items():
        if kind == "hydration" and name == "vite8":
            continue  # Nothing is rendered on the server there.
        page.write_text(GOOD.replace(piece, fault))
        began = time.monotonic()
        tab = await chromium.visit(url)
        if name not in TELLS:
            assert await told(service, message) == []
            continue
        [error] = await until(service, message, lambda errors: len(errors) == 1)
        record_property(f"seconds until {kind} was told", f"{time.monotonic() - began:.2f}")
        place = (error.file, error.line)
        # Vite tells no place of what was logged.
        known = (None, None) if (name, kind) == ("vite8", "console") else (str(page.relative_to(project)), line)
        assert (error.kind, place) == (kind, known), error
        page.write_text(GOOD)
        await until(service, message, lambda errors: errors == [])
        await tab.call("Page.navigate", url="about:blank")
        assert (await service.get_preview(1)).phase == "ready"
    assert git(project, "status", "--porcelain") == ""


async def test_a_page_may_say_what_it_likes_ten_thousand_times(world: Any, chromium: browser.Browser) -> None:
    project = world.folder / "1"
    page = project / stacks.copy("vite8", project).page
    shouts = "for (let i = 0; i < 10000; i++) console.error('postgres://me:s3cret@db/x ' + (i % 100));"
    page.write_text(GOOD.replace("document.title = 'Hello';", shouts))
    service = world.service(preview_command=COMMAND)
    url = await service.start_preview(1, wait="ready", timeout=90)
    async with service.events(1) as quiet, service.events(1, browser_errors=True) as events:
        await chromium.visit(url)
        async for event in events:
            if event.kind == "browser_errors":
                break
        preview = await service.get_preview(1)
        assert preview is not None
        assert 0 < len(preview.browser_errors) <= 32
        assert not any("s3cret" in error.message for error in preview.browser_errors)
        assert (preview.phase, preview.compilation_complete) == ("ready", True)
        # Who did not ask hears of none of it.
        await service.stop_preview(1)
        kinds = {event.kind async for event in until_removed(quiet)}
    assert "browser_errors" not in kinds


async def until_removed(events: Any) -> AsyncIterator[Any]:
    async for event in events:
        yield event
        if event.kind == "removed":
            return

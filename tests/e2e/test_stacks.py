"""Every stack of tools/stacks.py, for real: its page breaks in front of a browser, is told, and is mended."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import browser
import pytest
import stacks
from kosuke_docker import Preview

SOAK = bool(os.environ.get("KOSUKE_SOAK"))
START_SECONDS = 90
TELL_SECONDS = 30

pytestmark = [
    pytest.mark.timeout(600),  # The first time of a stack installs it.
    # 9 minutes with their installs: beside all other tests they do not fit the 15 that CI may take. It has Next.js in
    # the browser (test_browser.py), and every stack's output (tests/readiness.rs).
    pytest.mark.skipif(not SOAK, reason="installs every stack, 9 minutes: `make soak` runs them"),
]


@pytest.fixture
async def chromium(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[browser.Browser]:
    async with browser.running(tmp_path_factory.mktemp("browser") / "profile") as made:
        yield made


@pytest.mark.parametrize("name", stacks.STACKS)
async def test_a_stack_starts_breaks_and_is_mended(world: Any, chromium: browser.Browser, name: str) -> None:
    stack = await asyncio.to_thread(stacks.copy, name, world.folder / "1")
    page = world.folder / "1" / stack.page
    service = world.service(preview_command="cd /app && npm run dev")
    url = await service.start_preview(1, wait="ready", timeout=START_SECONDS)
    shown = await chromium.visit(url)
    await shown.until("document.querySelector('h1').innerText === 'Hello'")
    await shown.hot()

    # Nobody but the browser asks for the page: what happens is listened to.
    async with service.events(1) as events:
        began = time.monotonic()
        page.write_text(stack.broken())
        preview = await phase(events, "compile_error")
        told = time.monotonic()
        [error] = preview.errors
        assert (error.file, error.line, error.kind) == (stack.page, stack.line, "syntax"), preview.errors
        page.write_text(stack.files[stack.page].replace("Hello", "Mended"))
        mended = await phase(events, "ready")
        assert mended.errors == []
    print(f"{name}: told after {told - began:.1f} s, mended after {time.monotonic() - told:.1f} s")
    # Some stacks leave an error's page without hot reload.
    shown = await chromium.visit(url)
    await shown.until("document.querySelector('h1').innerText === 'Mended'")


async def phase(events: Any, wanted: str) -> Preview:
    """Waits for the phase."""
    seen = []
    try:
        async with asyncio.timeout(TELL_SECONDS):
            async for event in events:
                seen.append((event.kind, event.preview and event.preview.phase))
                if event.preview is not None and event.preview.phase == wanted:
                    return Preview.model_validate(event.preview)
    except TimeoutError:
        pass
    pytest.fail(f"not {wanted} within {TELL_SECONDS} s: {seen}")

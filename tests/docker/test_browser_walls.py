"""A page is code that nobody reviewed, in a browser beside the agent: what it reaches, and how long it lasts."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kosuke_docker import BrowserUnavailableError, DockerService, PageUnavailableError
from kosuke_docker import browser as module

PAGES = Path(__file__).resolve().parent.parent / "apps" / "pages.js"

pytestmark = pytest.mark.usefixtures("chromium_program")


@pytest.fixture
async def reached() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A service of this machine: its port, and who came to it."""
    came: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.readline())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], came
    server.close()


@pytest.fixture
async def service(world: Any, reached: tuple[int, list[bytes]]) -> DockerService:
    project = world.folder / "1"
    project.mkdir()
    shutil.copy(PAGES, project / "dev.js")
    made: DockerService = world.service()
    await made.start_preview(1, {"TARGET": f"127.0.0.1:{reached[0]}"}, wait="ready")
    await made.screenshot(1)
    return made


async def test_a_page_reaches_nothing_beside_the_agent(
    service: DockerService, reached: tuple[int, list[bytes]]
) -> None:
    assert (await service.screenshot(1, "/attack")).startswith(b"\x89PNG")
    verdict = await service.verify(1, path="/attack")
    assert verdict.screenshot is not None
    with pytest.raises(PageUnavailableError):
        await service.screenshot(1, "/away")
    assert reached[1] == []


async def test_a_page_cannot_hold_its_browser(service: DockerService) -> None:
    assert (await service.screenshot(1, "/dialogs")).startswith(b"\x89PNG")
    with pytest.raises(PageUnavailableError):
        await service.screenshot(1, "/download", timeout=5)
    began = time.monotonic()
    with pytest.raises(PageUnavailableError):
        await service.screenshot(1, "/loop", timeout=3)
    assert time.monotonic() - began < 10
    # The next page is shown.
    assert (await service.screenshot(1)).startswith(b"\x89PNG")


async def test_what_a_page_says_is_bounded(service: DockerService) -> None:
    verdict = await service.verify(1, path="/noise", timeout=30)
    assert 0 < len(verdict.browser_errors) <= 20, verdict.checks
    assert all(len(error.message) <= 500 for error in verdict.browser_errors)
    blank = await service.verify(1, path="/empty")
    assert {check.name: check.ok for check in blank.checks}["visible"] is False


async def test_a_browser_that_crashed_is_started_again_and_ends_with_the_service(service: DockerService) -> None:
    assert service._browser is not None
    first = await service._browser.start()
    await first.close()
    assert (await service.screenshot(1)).startswith(b"\x89PNG")
    second = await service._browser.start()
    await service.aclose()
    assert not second.is_connected()
    assert (await service.screenshot(1)).startswith(b"\x89PNG"), "a closed service begins anew"


async def test_without_a_chromium_the_error_says_what_to_install(
    service: DockerService, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.aclose()
    monkeypatch.setattr(module, "_program", lambda _: None)
    with pytest.raises(BrowserUnavailableError, match="playwright install chromium"):
        await service.screenshot(1)
    verdict = await service.verify(1)
    assert "playwright install chromium" in verdict.checks[-1].detail

"""Waiting until a preview is ready."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from dev_app import requests, tell
from kosuke_docker import Preview, PreviewFailedError, PreviewTimeoutError, ServiceClosedError
from waiting import SECONDS, eventually

AT_ONCE_SECONDS = 2
FOREVER = {"READY": "none", "LISTEN_MS": "3600000"}
"""An app that never listens."""


@pytest.mark.alone
async def test_it_gives_the_preview(world: Any) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, {"COMPILE_MS": "700"})
    preview = await service.wait_until_ready(7)
    assert (preview.phase, preview.url, preview.compilation_complete) == ("ready", url, True)
    assert isinstance(preview, Preview)
    # One that is ready is not waited for.
    began = time.monotonic()
    assert (await service.wait_until_ready(7)).phase == "ready"
    assert time.monotonic() - began < 1
    assert await requests(url) == 1


async def test_another_service_waits_for_what_the_first_one_began(world: Any) -> None:
    world.project(7)
    await world.service().start_preview(7, {"COMPILE_MS": "700"})
    other = world.service(preview_probe_ttl=2.0)  # Another core.
    assert (await other.wait_until_ready(7, timeout=SECONDS)).phase == "ready"


async def test_starting_and_waiting_in_one(world: Any) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, {"COMPILE_MS": "700"}, wait="ready")
    assert (await service.get_preview(7)).phase == "ready"
    # A start that finds it running waits, too.
    assert await service.start_preview(7, wait="ready") == url


@pytest.mark.alone
@pytest.mark.parametrize("how", ["wait", "start"])
async def test_a_container_that_ends_ends_the_wait_at_once(world: Any, how: str) -> None:
    world.project(7)
    service = world.service()
    environment = {"EXIT_CODE": "3", "EXIT_MS": "1000", "PRINT": "on my way"}

    async def wait() -> None:
        if how == "start":
            await service.start_preview(7, environment, wait="ready", timeout=None)
        else:
            await service.start_preview(7, environment)
            await service.wait_until_ready(7, timeout=None)

    with pytest.raises(PreviewFailedError) as caught:
        await asyncio.wait_for(wait(), SECONDS)
    finished = datetime.fromisoformat(world.container(7).attrs["State"]["FinishedAt"])
    assert (datetime.now(UTC) - finished).total_seconds() < AT_ONCE_SECONDS
    error = caught.value
    assert (error.preview, error.exit_code, error.last_lines) == (7, 3, ["on my way", "Error: it did not work"])
    assert error.last_known is not None
    assert (error.last_known.phase, error.last_known.running) == ("exited", False)
    assert isinstance(error.last_known, Preview)


@pytest.mark.alone
async def test_one_that_ended_before_is_no_wait(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"EXIT_CODE": "3", "EXIT_MS": "300"})
    await until(service, 7, "exited")
    for waiting in (service, world.service(preview_probe_ttl=2.0)):
        began = time.monotonic()
        with pytest.raises(PreviewFailedError) as caught:
            await waiting.wait_until_ready(7)
        assert time.monotonic() - began < AT_ONCE_SECONDS
        assert caught.value.exit_code == 3


@pytest.mark.alone
async def test_without_a_preview_it_fails_at_once(world: Any) -> None:
    began = time.monotonic()
    with pytest.raises(PreviewFailedError) as caught:
        await world.service().wait_until_ready(7)
    assert time.monotonic() - began < AT_ONCE_SECONDS
    assert (caught.value.preview, caught.value.last_known, caught.value.exit_code) == (7, None, None)


@pytest.mark.alone
@pytest.mark.parametrize("how", ["remove", "stop_preview"])
async def test_a_removed_container_ends_the_wait_at_once(world: Any, until: Any, how: str) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, FOREVER)
    waiting = asyncio.create_task(service.wait_until_ready(7, timeout=None))
    await asyncio.wait([waiting], timeout=0.3)
    assert not waiting.done()
    if how == "remove":
        await asyncio.to_thread(world.container(7).remove, force=True)
    else:
        await service.stop_preview(7)
    began = time.monotonic()
    with pytest.raises(PreviewFailedError) as caught:
        await asyncio.wait_for(waiting, SECONDS)
    assert time.monotonic() - began < AT_ONCE_SECONDS
    assert caught.value.preview == 7


@pytest.mark.alone
@pytest.mark.parametrize("timeout", [0.0, 1.5])
async def test_a_timeout_tells_where_the_time_went(world: Any, timeout: float) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"PRINT": "so far", **FOREVER})
    # It has printed by then.
    await eventually(lambda: b"so far" in world.container(7).logs())
    began = time.monotonic()
    with pytest.raises(PreviewTimeoutError) as caught:
        await service.wait_until_ready(7, timeout=timeout)
    took = time.monotonic() - began
    assert timeout <= took < timeout + AT_ONCE_SECONDS
    error = caught.value
    assert (error.preview, error.timeout, error.phase, error.last_lines) == (7, timeout, "starting", ["so far"])
    assert sum(error.stages.values()) == pytest.approx(timeout, abs=0.5)
    assert error.last_known is not None
    assert error.last_known.running
    assert isinstance(error, TimeoutError)
    # The container goes on.
    assert (await service.get_preview(7)).phase == "starting"


@pytest.mark.alone
async def test_a_timeout_has_each_phase_once(world: Any) -> None:
    world.project(7)
    service = world.service()
    with pytest.raises(PreviewTimeoutError) as caught:
        await service.start_preview(7, {"LISTEN_MS": "700", "COMPILE_MS": "3600000"}, wait="ready", timeout=2)
    error = caught.value
    assert error.phase == "compiling"
    assert set(error.stages) == {"starting", "compiling"}
    assert 0.2 < error.stages["starting"] < 1.7
    assert sum(error.stages.values()) == pytest.approx(2, abs=0.5)


async def test_a_compile_error_ends_the_wait_only_where_that_is_asked_for(world: Any) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, {"STATUS": "500", "ERROR": "1"})
    with pytest.raises(PreviewFailedError) as caught:
        await service.wait_until_ready(7, fail_on_compile_error=True)
    assert caught.value.last_known is not None
    [error] = caught.value.last_known.errors
    assert error.file == "app/page.js"
    assert "Expected '>', got ';'" in str(caught.value)
    waiting = asyncio.create_task(service.wait_until_ready(7))
    await asyncio.wait([waiting], timeout=0.5)
    assert not waiting.done()
    # Somebody mends it.
    await tell(url, "status/200", "/")
    await tell(url, "say", " GET / 200 in 12ms\n")
    assert (await asyncio.wait_for(waiting, SECONDS)).errors == []


async def test_a_start_fails_on_a_compile_error_where_that_is_asked_for(world: Any) -> None:
    world.project(7)
    service = world.service()
    with pytest.raises(PreviewFailedError) as caught:
        await service.start_preview(
            7, {"STATUS": "500", "ERROR": "1"}, wait="ready", timeout=None, fail_on_compile_error=True
        )
    assert caught.value.last_known is not None
    assert caught.value.last_known.phase == "compile_error"
    assert caught.value.last_known.running
    assert world.container(7).status == "running"


async def test_many_wait_for_one(world: Any) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, {"COMPILE_MS": "1000"})
    previews = await asyncio.gather(*(service.wait_until_ready(7) for _ in range(100)))
    assert {(preview.phase, preview.url) for preview in previews} == {("ready", url)}
    assert await requests(url) == 1


async def test_who_stops_waiting_leaves_the_others(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"COMPILE_MS": "1500"})
    waiting = [asyncio.create_task(service.wait_until_ready(7)) for _ in range(10)]
    await asyncio.wait(waiting, timeout=0.2)
    for task in waiting[:5]:
        task.cancel()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[:5])
    assert all(isinstance(result, Preview) for result in results[5:])


async def test_a_container_killed_for_memory_ends_the_wait(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, {"STATUS": "503"})
    await until(service, 7, "compiling")
    await asyncio.to_thread(world.container(7).update, mem_limit="100m", memswap_limit="100m")
    waiting = asyncio.create_task(service.wait_until_ready(7))
    await asyncio.wait([waiting], timeout=0.3)
    await tell(url, "eat")
    with pytest.raises(PreviewFailedError) as caught:
        await asyncio.wait_for(waiting, SECONDS)
    assert caught.value.exit_code == 137
    assert caught.value.last_known is not None
    assert caught.value.last_known.phase == "oom_killed"


async def test_a_wait_begun_while_a_start_is_queued_is_for_that_start(world: Any) -> None:
    world.project(7)
    service = world.service()
    first = await service.start_preview(7, wait="ready")
    stop = asyncio.create_task(service.stop_preview(7))
    start = asyncio.create_task(service.start_preview(7))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(service.wait_until_ready(7))
    stopping = await asyncio.wait_for(waiting, SECONDS)
    await stop
    url = await start
    assert first is not None
    assert stopping.url == url
    assert stopping.container_id == world.container(7).id


async def test_a_wait_begun_before_its_start_is_for_that_start(world: Any) -> None:
    world.project(7)
    service = world.service()
    start = asyncio.create_task(service.start_preview(7))
    await asyncio.sleep(0)
    preview = await asyncio.wait_for(service.wait_until_ready(7), SECONDS)
    assert preview.url == await start


async def test_a_restart_is_waited_for(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, wait="ready")
    restart = asyncio.create_task(service.restart_preview(7))
    await asyncio.sleep(0)
    before = (await service.get_preview(7)).started_at
    preview = await service.wait_until_ready(7)
    assert preview.phase == "ready"
    await restart
    assert (await service.wait_until_ready(7)).started_at > before


async def test_a_start_that_fails_ends_the_wait(world: Any) -> None:
    world.project(7)
    service = world.service(preview_default_image="kosuke-no-such-image:1")
    start = asyncio.create_task(service.start_preview(7))
    await asyncio.sleep(0)
    with pytest.raises(PreviewFailedError):
        await asyncio.wait_for(service.wait_until_ready(7, timeout=None), SECONDS)
    await asyncio.gather(start, return_exceptions=True)


async def test_closing_the_service_ends_the_wait(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, FOREVER)
    waiting = asyncio.create_task(service.wait_until_ready(7, timeout=None))
    await asyncio.wait([waiting], timeout=0.2)
    await service.aclose()
    with pytest.raises(ServiceClosedError):
        await asyncio.wait_for(waiting, SECONDS)

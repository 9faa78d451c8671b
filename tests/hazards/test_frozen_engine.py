"""A daemon that is frozen, killed and restarted: a private one, which the test started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from docker import DockerClient
from kosuke_docker import DockerService, KosukeDockerError, OperationTimeoutError, Preview
from private_engine import PrivateEngine

pytestmark = pytest.mark.alone

BOUND = 20
HEARTBEAT = {"engine_heartbeat_interval": 0.5, "engine_heartbeat_timeout": 0.5}
NOTICED = 1.0
"""The two together: by then it is known that the daemon does not answer."""
LEEWAY = 2.0
"""Seconds, for a busy machine."""


async def test_with_a_frozen_daemon_every_call_ends(world: Any, private_engine: PrivateEngine, until: Any) -> None:
    changes = {"preview_network": private_engine.network, "engine_timeout": 1.0}
    for project in (1, 2):
        world.project(project)
    service = world.service(**changes)
    url = await service.start_preview(1, wait="ready")
    # Another core, which knows nothing yet.
    new = world.service(**changes, preview_stop_timeout=1.0)
    assert await new.is_docker_available()
    private_engine.freeze()
    calls = {
        "start": new.start_preview(2),
        "start of a running one": new.start_preview(1),
        "stop": new.stop_preview(1),
        "restart": new.restart_preview(1),
        "status": new.get_preview(1),
        "list": new.list_previews(),
        "is running": new.is_container_running(1),
        "image": new.ensure_image(),
        "stop all": new.stop_all_previews(),
    }
    began = time.monotonic()
    results = dict(zip(calls, await asyncio.gather(*calls.values(), return_exceptions=True), strict=True))
    assert time.monotonic() - began < BOUND
    for name, result in results.items():
        assert isinstance(result, KosukeDockerError), (name, result)
        assert result.operation, name
    assert isinstance(results["status"], OperationTimeoutError)
    # Who knows the preview tells what it last knew.
    known = await asyncio.wait_for(service.get_preview(1), BOUND)
    assert isinstance(known, Preview)
    assert (known.phase, known.running, known.url) == ("engine_unreachable", True, url)
    assert not await asyncio.wait_for(service.is_docker_available(), BOUND)

    private_engine.thaw()
    # What stood in the socket is done now; then all is as if nothing had happened.
    for project in (1, 2):
        await service.stop_preview(project)
        await service.start_preview(project, wait="ready")
        await until(service, project, "ready")


async def test_a_daemon_that_was_killed_is_told_and_found_again(
    world: Any, private_engine: PrivateEngine, until: Any
) -> None:
    world.project(1)
    service = world.service(preview_network=private_engine.network, engine_timeout=5.0)
    url = await service.start_preview(1, wait="ready")
    await asyncio.to_thread(private_engine.kill)
    told = await until(service, 1, "engine_unreachable")
    assert (told.running, told.url) == (True, url)
    await asyncio.to_thread(private_engine.start)
    # The next daemon ends the containers that the killed one left, unless it restores them live.
    await until(service, 1, "exited")
    await service.start_preview(1, wait="ready")
    await until(service, 1, "ready")


async def told(service: DockerService, phase: str, seconds: float) -> Preview:
    """Polls until preview 1 is in that phase, and gives it."""
    ends = time.monotonic() + seconds
    while True:
        preview = await asyncio.wait_for(service.get_preview(1), BOUND)
        assert preview is not None
        if preview.phase == phase:
            return preview
        assert time.monotonic() < ends, f"not {phase} within {seconds} s: {preview}"
        await asyncio.sleep(0.01)


def main_process(engine: PrivateEngine, name: str) -> int:
    with contextlib.closing(DockerClient(engine.host)) as client:
        return int(client.containers.get(name).attrs["State"]["Pid"])


async def test_a_frozen_daemon_is_noticed_by_the_heartbeat_and_its_return_too(
    world: Any, private_engine: PrivateEngine
) -> None:
    world.project(1)
    service = world.service(preview_network=private_engine.network, **HEARTBEAT)
    url = await service.start_preview(1, wait="ready")
    private_engine.freeze()
    frozen = datetime.now(UTC)
    preview = await told(service, "engine_unreachable", NOTICED + LEEWAY)
    assert (preview.running, preview.url, preview.exit_code) == (True, url, None)
    # What is told was true when the daemon last gave a sign of life, which was not long before.
    assert frozen - timedelta(seconds=NOTICED + LEEWAY) < preview.as_of < frozen + timedelta(seconds=0.1)
    assert preview.detail is not None
    assert "does not answer" in preview.detail
    status = await service.get_preview_status(1)
    assert (status.running, status.url) == (True, url)
    # No later sign of life, so no later time; and no call waits for the engine.
    began = time.monotonic()
    for _ in range(20):
        again = await service.get_preview(1)
        assert again is not None
        assert (again.phase, again.as_of) == ("engine_unreachable", preview.as_of)
    assert time.monotonic() - began < LEEWAY
    private_engine.thaw()
    back = await told(service, "ready", LEEWAY)
    assert (back.running, back.url) == (True, url)
    assert back.as_of > preview.as_of


async def test_what_died_under_a_frozen_daemon_is_told_once_it_goes_on(
    world: Any, private_engine: PrivateEngine
) -> None:
    world.project(1)
    service = world.service(preview_network=private_engine.network, **HEARTBEAT)
    url = await service.start_preview(1, wait="ready")
    pid = main_process(private_engine, f"{world.prefix}1")
    private_engine.freeze()
    # Not by the engine, which could not.
    os.kill(pid, signal.SIGKILL)
    preview = await told(service, "engine_unreachable", NOTICED + LEEWAY)
    assert (preview.running, preview.url) == (True, url), "the last that is known"
    private_engine.thaw()
    ended = await told(service, "exited", LEEWAY)
    assert (ended.running, ended.url, ended.exit_code) == (False, None, 137)
    assert ended.finished_at is not None


async def test_what_died_while_a_killed_daemon_was_away_is_told_by_the_next(
    world: Any, private_engine: PrivateEngine
) -> None:
    world.project(1)
    service = world.service(preview_network=private_engine.network, **HEARTBEAT)
    url = await service.start_preview(1, wait="ready")
    pid = main_process(private_engine, f"{world.prefix}1")
    await asyncio.to_thread(private_engine.kill)
    # A socket that nobody listens on is noticed at once, without a heartbeat.
    preview = await told(service, "engine_unreachable", LEEWAY)
    assert (preview.running, preview.url) == (True, url)
    with contextlib.suppress(ProcessLookupError):  # It may have died with its daemon's containerd.
        os.kill(pid, signal.SIGKILL)
    await asyncio.to_thread(private_engine.start)
    ended = await told(service, "exited", LEEWAY)
    assert (ended.running, ended.url) == (False, None)
    assert ended.exit_code in (137, 255), "the next daemon may not know the code"
    assert ended.as_of > preview.as_of

"""A daemon that is frozen, killed and restarted: a private one, which the test started."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from kosuke_docker import KosukeDockerError, OperationTimeoutError, Preview
from private_engine import PrivateEngine

BOUND = 20


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

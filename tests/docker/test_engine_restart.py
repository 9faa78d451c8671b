"""An engine that restarts: a private one, which this test started."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from private_engine import PrivateEngine

FIRST, LAST = 21600, 21601


async def test_after_a_restart_of_the_engine_the_port_is_read_again(
    world: Any, private_engine: PrivateEngine, until: Any
) -> None:
    for project in (1, 2):
        world.project(project)
    service = world.service(
        preview_network=private_engine.network,
        preview_port_range_start=FIRST,
        preview_port_range_end=LAST,
    )
    first = await service.start_preview(1, wait="ready")
    other = LAST if first.endswith(str(FIRST)) else FIRST
    await asyncio.to_thread(private_engine.stop)
    preview = await service.get_preview(1)
    assert preview.phase == "engine_unreachable"
    await asyncio.to_thread(private_engine.start)

    assert (await until(service, 1, "exited")).url is None
    with socket.create_server(("127.0.0.1", int(first.rpartition(":")[2]))):
        url = await service.restart_preview(1)
    assert url == f"http://localhost:{other}"
    assert (await until(service, 1, "ready")).url == url
    assert service.containers[1].url == url
    second = await service.start_preview(2)
    assert second == first, "the only port that is left"
    assert len({preview.url for preview in await service.list_previews()}) == 2


async def test_previews_become_ready_right_after_the_engine_was_killed(
    world: Any, private_engine: PrivateEngine, count: Any, until: Any
) -> None:
    """Containers go on without their engine; the next one finds them while the first starts come."""
    running, more = range(1, count(20) + 1), range(101, 101 + count(20))
    for project in (*running, *more):
        world.project(project)
    service = world.service(
        preview_network=private_engine.network,
        preview_port_range_start=FIRST + 2,
        preview_port_range_end=FIRST + 80,
    )
    await asyncio.gather(*(service.start_preview(project, wait="ready", timeout=120) for project in running))
    await asyncio.to_thread(private_engine.kill)
    await asyncio.to_thread(private_engine.start)
    await asyncio.gather(*(service.start_preview(project, wait="ready", timeout=120) for project in more))
    # Without live-restore the engine ends those that ran.
    for project in running:
        await until(service, project, "exited")
    await asyncio.gather(*(service.start_preview(project, wait="ready", timeout=120) for project in running))
    assert {preview.phase for preview in await service.list_previews()} == {"ready"}
    await service.stop_all_previews()

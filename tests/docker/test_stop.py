"""stop_preview and stop_all_previews on the real engine."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from kosuke_docker import PreviewStatus

GONE = PreviewStatus(running=False, url=None, compilation_complete=False, is_responding=False)


async def test_a_stopped_preview_is_gone_and_its_name_is_free(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7)
    await service.stop_preview(7)
    assert world.containers() == []
    assert 7 not in service.containers
    assert await service.get_preview(7) is None
    assert await service.get_preview_status(7) == GONE
    await service.start_preview(7)


async def test_stopping_twice_and_stopping_nothing_is_harmless(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.stop_preview(99)
    await service.start_preview(7)
    await asyncio.gather(service.stop_preview(7), service.stop_preview(7))
    await service.stop_preview(7)
    assert world.containers() == []


@pytest.mark.alone
async def test_a_shell_command_stops_at_once(world: Any) -> None:
    """Without an init, `sh` as PID 1 ignores SIGTERM and a stop takes the whole grace period of 5 s."""
    world.project(7)
    service = world.service(preview_command="cd /app && node dev.js")
    await service.start_preview(7, wait="ready")
    began = time.monotonic()
    await service.stop_preview(7)
    assert time.monotonic() - began < 1.5


async def test_an_app_that_ignores_sigterm_is_killed_after_the_grace(world: Any) -> None:
    world.project(7)
    service = world.service(preview_stop_timeout=1.0)
    await service.start_preview(7, {"IGNORE_TERM": "1"}, wait="ready")
    await service.stop_preview(7)
    assert world.containers() == []


async def test_operations_on_one_preview_keep_their_order(world: Any) -> None:
    world.project(7)
    service = world.service()
    first = asyncio.create_task(service.start_preview(7))
    await asyncio.sleep(0)
    stop = asyncio.create_task(service.stop_preview(7))
    await asyncio.sleep(0)
    second = asyncio.create_task(service.start_preview(7))
    await asyncio.gather(first, stop, second)
    [container] = world.containers()
    assert container.status == "running"
    await service.stop_preview(7)
    assert world.containers() == []


async def test_stop_all_covers_this_owner_and_no_other(world: Any) -> None:
    other = world.service(preview_container_name_prefix=f"{world.prefix}other-")
    service = world.service()
    for project in range(3):
        world.project(project)
        await service.start_preview(project)
    await other.start_preview(0)
    await world.service().stop_all_previews()
    [left] = world.containers()
    assert left.name == f"{world.prefix}other-0"
    assert len(service.containers) == 0


async def test_a_removal_from_outside_is_seen(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7)
    world.container(7).remove(force=True)
    assert await service.get_preview(7) is None
    assert 7 not in service.containers
    await service.stop_preview(7)

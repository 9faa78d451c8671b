"""Cancelling at any moment leaves a whole preview or none."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from kosuke_docker import DockerService


async def settled(world: Any) -> list[Any]:
    """The containers, once none is between made and started."""
    async with asyncio.timeout(30):
        while True:
            containers = await asyncio.to_thread(world.containers)
            if all(container.status == "running" for container in containers):
                return list(containers)
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("delay_ms", [0, 2, 5, 10, 20, 40, 60, 80, 120, 160, 240, 320])
async def test_a_cancelled_start_is_undone_or_whole(world: Any, postgres: dict[str, Any], delay_ms: int) -> None:
    world.project(7)
    service = world.service(**postgres)
    start = asyncio.create_task(service.start_preview(7))
    await asyncio.sleep(delay_ms / 1000)
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    # Whatever the cancelled start made, the next one joins it or follows it, and nothing is in its way.
    url = await service.start_preview(7)
    [container] = await settled(world)
    [binding] = container.attrs["NetworkSettings"]["Ports"]["3000/tcp"]
    assert url == f"http://localhost:{binding['HostPort']}"


@pytest.mark.parametrize("delay_ms", [0, 5, 20, 60, 120])
async def test_a_start_that_nobody_waits_for_ends(world: Any, delay_ms: int) -> None:
    world.project(7)
    service = world.service()
    start = asyncio.create_task(service.start_preview(7))
    await asyncio.sleep(delay_ms / 1000)
    start.cancel()
    await asyncio.gather(start, return_exceptions=True)
    await service.stop_preview(7)
    assert await settled(world) == []


async def test_one_callers_cancel_is_not_the_others(world: Any) -> None:
    world.project(7)
    service = world.service()
    starts = [asyncio.create_task(service.start_preview(7)) for _ in range(5)]
    await asyncio.sleep(0.02)
    for start in starts[:4]:
        start.cancel()
    results = await asyncio.gather(*starts, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results[:4])
    assert results[4] == (await service.get_preview(7)).url


async def test_joined_callers_go_on_when_the_one_with_the_hooks_leaves(world: Any) -> None:
    world.project(7)
    service = world.service()
    asked = asyncio.Event()
    calls = 0

    async def environment(project_id: int) -> dict[str, str]:
        nonlocal calls
        calls += 1
        asked.set()
        if calls == 1:
            await asyncio.Event().wait()
        return {"CALL": str(calls)}

    service._get_project_environment = environment
    first = asyncio.create_task(service.start_preview(7))
    await asked.wait()
    second = asyncio.create_task(service.start_preview(7))
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.wait_for(second, 30)
    assert "CALL=2" in world.container(7).attrs["Config"]["Env"]


async def test_a_cancelled_stop_is_done_all_the_same(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7)
    stop = asyncio.create_task(service.stop_preview(7))
    await asyncio.sleep(0.01)
    stop.cancel()
    await asyncio.gather(stop, return_exceptions=True)
    await service.stop_preview(7)
    assert await settled(world) == []


async def all_known(world: Any, service: DockerService) -> None:
    """Returns when every container is a running preview that the service knows: what was cancelled may still end."""
    async with asyncio.timeout(30):
        while True:
            there = {container.id for container in await settled(world)}
            known = {preview.container_id for preview in await service.list_previews() if preview.running}
            if there == known:
                return
            await asyncio.sleep(0.05)


async def test_starts_and_stops_cancelled_at_random_moments_end_whole_or_gone(world: Any, count: Any) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    service = world.service()
    projects = range(4)
    for project in projects:
        world.project(project)
    for moment in range(count(200) // len(projects)):
        tasks = []
        for project in projects:
            call = chance.choice([service.start_preview, service.start_preview, service.stop_preview])
            tasks.append(asyncio.create_task(call(project)))
            asyncio.get_running_loop().call_later(chance.uniform(0, 0.6), tasks[-1].cancel)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        what = f"seed {seed}, moment {moment}"
        for result in results:
            assert isinstance(result, (str, type(None), asyncio.CancelledError)), (what, result)
        await all_known(world, service)
    # Queued behind all that is still being done.
    await asyncio.gather(*(service.stop_preview(project) for project in projects))
    assert world.containers() == [], f"seed {seed}"

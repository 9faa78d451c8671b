"""Processes killed in the middle of a start; then a sweep, which touches nothing but what is ours."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

START = """
import asyncio
from kosuke_docker import DockerService

async def main():
    service = DockerService()
    print("ready", flush=True)
    input()
    await asyncio.gather(*(service.start_preview(project) for project in {projects}))
    print("started", flush=True)
    input()

asyncio.run(main())
"""

SWEEP = """
import asyncio
from kosuke_docker import DockerService

async def main():
    async with DockerService() as service:
        await service.sweep()

asyncio.run(main())
"""

PROJECTS = 3
SECONDS = 60


async def killed_in_mid_start(run_python: Any, settings: Any, projects: range, seconds: float) -> None:
    process = run_python(START.format(projects=list(projects)), settings)
    assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
    process.stdin.write("\n")
    process.stdin.flush()
    # The moment is what the test is about.
    await asyncio.sleep(seconds)
    process.kill()
    await asyncio.to_thread(process.wait)


async def swept(world: Any, run_python: Any, settings: Any) -> list[Any]:
    """Sweeps in a new process until nothing unfinished is left of this owner; gives what is there."""
    ends = time.monotonic() + SECONDS
    while True:
        process = run_python(SWEEP, settings)
        output, errors = await asyncio.to_thread(process.communicate)
        assert (process.returncode, output, errors) == (0, "", "")
        containers = await asyncio.to_thread(world.containers)
        if all(container.status == "running" for container in containers):
            return list(containers)
        # One that was made a moment ago may be another process's, in the middle of its start.
        assert time.monotonic() < ends, [(container.name, container.status) for container in containers]
        await asyncio.sleep(0.5)


async def test_what_killed_processes_left_is_swept(world: Any, run_python: Any, count: Any) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    settings = world.settings()
    number = count(50)
    for project in range(number * PROJECTS):
        world.project(project)
    moments = [chance.uniform(0, 0.8) for _ in range(number)]
    for first in range(0, number, 2):
        await asyncio.gather(
            *(
                killed_in_mid_start(
                    run_python, settings, range(index * PROJECTS, (index + 1) * PROJECTS), moments[index]
                )
                for index in range(first, min(first + 2, number))
            )
        )
    left = await swept(world, run_python, settings)
    service = world.service()
    previews = {preview.container_id: preview for preview in await service.list_previews()}
    what = f"seed {seed}, moments {moments}"
    assert set(previews) == {container.id for container in left}, what
    assert all(preview.running and preview.url for preview in previews.values()), what
    # Nothing that is left is in the way of a start.
    for project in range(PROJECTS):
        await service.start_preview(project)
    await service.stop_all_previews()
    assert world.containers() == [], what


async def test_the_next_start_finishes_what_a_killed_process_began(world: Any, run_python: Any, count: Any) -> None:
    for round_ in range(count(50)):
        if round_ == 0:
            for project in range(PROJECTS):
                world.project(project)
        await killed_in_mid_start(run_python, world.settings(), range(PROJECTS), random.uniform(0, 0.8))
        service = world.service()
        await asyncio.gather(*(service.start_preview(project) for project in range(PROJECTS)))
        assert sorted(container.status for container in world.containers()) == ["running"] * PROJECTS
        await service.stop_all_previews()
        await service.aclose()
        assert world.containers() == []


async def test_a_sweep_leaves_others_alone(world: Any, run_python: Any, image: str) -> None:
    """Another owner's previews, whatever state they are in, and containers of others, even with names like ours."""
    prefix, made = world.prefix, {}
    settings = world.settings(preview_owner=f"{world.prefix}us")
    ours = {"kosuke.preview": "true", "kosuke.owner": settings.preview_owner}
    theirs = {"kosuke.preview": "true", "kosuke.project_id": "1", "kosuke.start": "1", "kosuke.owner": f"{prefix}other"}
    for name, labels in {
        f"{prefix}0": {},
        f"{prefix}1": theirs,
        f"{prefix}other": {"kosuke.owner": ours["kosuke.owner"]},
        f"{prefix}x-1": {"kosuke.preview": "true"},
    }.items():
        for state in ("created", "exited"):
            container = world.engine.containers.create(
                image, ["node", "-e", "0"], name=f"{name}-{state}", labels=labels
            )
            if state == "exited":
                container.start()
                container.wait()
            made[container.id] = state
    # Ours: one that was never started, as a killed process leaves it.
    left = world.engine.containers.create(
        image, ["node", "-e", "0"], name=f"{prefix}7", labels={**ours, "kosuke.project_id": "7", "kosuke.start": "x"}
    )
    world.project(7)
    ends = time.monotonic() + SECONDS
    while left.id in {container.id for container in world.containers() if container.status == "created"}:
        assert time.monotonic() < ends
        process = run_python(SWEEP, settings)
        output, errors = await asyncio.to_thread(process.communicate)
        assert (process.returncode, output, errors) == (0, "", "")
        await asyncio.sleep(0.5)
    there = {container.id: container.status for container in world.containers()}
    assert {container: there.get(container) for container in made} == made

"""Two processes at once. Tenths of the counts here, all of them in `make soak`."""

from __future__ import annotations

import asyncio
import secrets
import socket
import time
from typing import Any

import asyncpg
import pytest
from kosuke_docker import PortRangeExhaustedError

STARTS = """
import asyncio
from kosuke_docker import DockerService

async def main():
    service = DockerService()
    print("ready", flush=True)
    input()
    urls = await asyncio.gather(*(service.start_preview({project}) for _ in range({count})))
    print(*urls, flush=True)

asyncio.run(main())
"""

RACES = """
import asyncio, random
from kosuke_docker import DockerService

async def main():
    service = DockerService()
    print("ready", flush=True)
    input()
    for _ in range({count}):
        call = random.choice([service.start_preview, service.stop_preview, service.restart_preview])
        await call(7)
    print("done", flush=True)

asyncio.run(main())
"""

MANY = """
import asyncio
from kosuke_docker import DockerService

async def main():
    service = DockerService()
    print("ready", flush=True)
    input()
    print(*await asyncio.gather(*(service.start_preview(project) for project in {projects})), flush=True)

asyncio.run(main())
"""


async def together(run_python: Any, scripts: list[str], settings: Any) -> list[str]:
    """Runs scripts that begin at once; gives what they printed last."""
    processes = [run_python(script, settings) for script in scripts]
    for process in processes:
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [await asyncio.to_thread(process.communicate) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), ended
    assert [errors for _, errors in ended] == [""] * len(processes)
    return [output for output, _ in ended]


async def test_concurrent_starts_in_two_processes_end_in_one_of_everything(
    world: Any, run_python: Any, postgres: dict[str, Any], count: Any
) -> None:
    project = 2_000_000 + secrets.randbelow(1_000_000_000)
    world.project(project)
    for _ in range(count(10)):
        script = STARTS.format(project=project, count=25)
        outputs = await together(run_python, [script, script], world.settings(**postgres))
        urls = [url for output in outputs for url in output.split()]
        assert len(urls) == 50
        assert len(set(urls)) == 1
        [container] = world.containers()
        environment = dict(line.split("=", 1) for line in container.attrs["Config"]["Env"])
        url = environment["DATABASE_URL"].replace(postgres["postgres_container_host"], "127.0.0.1")
        connection = await asyncpg.connect(url)
        found = await connection.fetch("SELECT 1 FROM pg_database WHERE datname = $1", f"kosuke_project_{project}")
        await connection.close()
        assert len(found) == 1
        container.remove(force=True)


async def test_races_of_start_stop_and_restart_end_in_one_of_the_two_states(
    world: Any, run_python: Any, count: Any
) -> None:
    world.project(7)
    script = RACES.format(count=count(200) // 2)
    assert await together(run_python, [script, script], world.settings()) == ["done\n", "done\n"]
    service = world.service()
    containers = world.containers()
    assert [container.status for container in containers] in ([], ["running"])
    assert await service.is_container_running(7) == bool(containers)
    await service.stop_preview(7)
    await service.start_preview(7)


async def test_parallel_starts_with_the_network_missing_end_with_one_network(world: Any, run_python: Any) -> None:
    name = f"{world.prefix}net_default"
    for project in range(12):
        world.project(project)
    scripts = [MANY.format(projects=list(range(6))), MANY.format(projects=list(range(6, 12)))]
    try:
        outputs = await together(run_python, scripts, world.settings(preview_network=name))
        assert len({url for output in outputs for url in output.split()}) == 12
        [network] = [network for network in world.engine.networks.list(names=[name]) if network.name == name]
        attached = {
            container.attrs["NetworkSettings"]["Networks"][name]["NetworkID"] for container in world.containers()
        }
        assert attached == {network.id}
        labels = network.attrs["Labels"]
        assert labels["com.docker.compose.network"] == "default"
        assert labels["com.docker.compose.project"] == f"{world.prefix}net"
    finally:
        for container in world.containers():
            container.remove(force=True)
        for network in world.engine.networks.list(names=[name]):
            network.remove()


async def test_the_name_is_free_when_stop_returns(world: Any, image: str, count: Any) -> None:
    world.project(7)
    service = world.service()
    for _ in range(count(50)):
        await service.start_preview(7)
        removal = asyncio.create_task(asyncio.to_thread(world.container(7).remove, force=True))
        await service.stop_preview(7)
        taken = world.engine.containers.create(image, ["true"], name=f"{world.prefix}7")
        await asyncio.gather(removal, return_exceptions=True)
        taken.remove()


@pytest.mark.alone
async def test_a_range_that_other_programs_hold_is_exhausted_soon(world: Any) -> None:
    world.project(7)
    first, last = 21400, 21439
    held = [socket.create_server(("127.0.0.1", port)) for port in range(first, last + 1)]
    try:
        service = world.service(preview_port_range_start=first, preview_port_range_end=last)
        began = time.monotonic()
        with pytest.raises(PortRangeExhaustedError, match=f"{first}-{last}"):
            await service.start_preview(7)
        assert time.monotonic() - began < 2
        assert world.containers() == []
    finally:
        for server in held:
            server.close()


async def test_ports_that_other_programs_hold_are_skipped(world: Any) -> None:
    first = 21500
    # Engine 28 steps over ten by itself, and then fails.
    indices = [*range(12), *range(13, 20, 2)]
    held = [socket.create_server(("127.0.0.1", first + index)) for index in indices]
    try:
        for project in range(4):
            world.project(project)
        service = world.service(preview_port_range_start=first, preview_port_range_end=first + 19)
        urls = await asyncio.gather(*(service.start_preview(project) for project in range(4)))
        assert {int(url.rpartition(":")[2]) for url in urls} == {first + 12, first + 14, first + 16, first + 18}
    finally:
        for server in held:
            server.close()

"""Truth is in the engine: what one process began, another goes on with."""

from __future__ import annotations

import asyncio
from typing import Any

START_AND_HANG = """
import asyncio, sys
from kosuke_docker import DockerService

async def main():
    print(await DockerService().start_preview(7, wait=sys.stdin.readline().strip()), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""

PHASE = """
import asyncio
from kosuke_docker import DockerService

print(asyncio.run(DockerService().get_preview(7)).phase)
"""

START_MANY = """
import asyncio
from kosuke_docker import DockerService

async def main():
    service = DockerService()
    print(*await asyncio.gather(*(service.start_preview(7) for _ in range({count}))), flush=True)

asyncio.run(main())
"""


async def started_by_a_killed_process(world: Any, run_python: Any, wait: str, **changes: Any) -> str:
    process = run_python(START_AND_HANG, world.settings(**changes))
    process.stdin.write(f"{wait}\n")
    process.stdin.flush()
    url = await asyncio.to_thread(process.stdout.readline)
    process.kill()
    _, errors = await asyncio.to_thread(process.communicate)
    assert url, errors
    return str(url).strip()


async def test_the_next_process_finds_adopts_and_stops(world: Any, run_python: Any) -> None:
    world.project(7)
    url = await started_by_a_killed_process(world, run_python, "ready")
    container = world.container(7).id
    service = world.service()

    status = await service.get_preview_status(7)
    assert (status.running, status.url, status.compilation_complete, status.is_responding) == (True, url, True, True)
    assert await world.service().start_preview(7) == url
    assert [found.id for found in world.containers()] == [container]
    await world.service().stop_preview(7)
    assert world.containers() == []


async def test_compilation_is_found_again_from_the_logs(world: Any, run_python: Any, until: Any) -> None:
    world.project(7)
    await started_by_a_killed_process(world, run_python, "running")
    preview = await until(world.service(), 7, "ready")
    assert preview.compilation_complete is True


async def test_a_standing_compile_error_is_found_again_from_the_logs(world: Any, run_python: Any, until: Any) -> None:
    world.project(7)
    first = world.service()
    await first.start_preview(7, {"ERROR": "1", "STATUS": "200"})
    await asyncio.wait_for(until(first, 7, "ready"), 30)  # Answered 200 after the error line, so it does not stand.
    await first.stop_preview(7)
    await first.start_preview(7, {"ERROR": "1", "STATUS": "500"})
    await until(first, 7, "compile_error")
    output, errors = await asyncio.to_thread(run_python(PHASE, world.settings()).communicate)
    assert output.strip() == "compile_error", errors


async def test_two_processes_that_start_one_preview_make_one_container(world: Any, run_python: Any) -> None:
    world.project(7)
    processes = [run_python(START_MANY.format(count=10), world.settings()) for _ in range(2)]
    outputs = [await asyncio.to_thread(process.communicate) for process in processes]
    urls = [url for output, _ in outputs for url in output.split()]
    assert len(urls) == 20, outputs
    assert len(set(urls)) == 1
    assert len(world.containers()) == 1

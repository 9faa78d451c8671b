"""Truth is in the engine: what one process began, another goes on with."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from typing import Any

import pytest
from waiting import eventually

MANY = 50_000
FIRST_ANSWER, READY = 3.0, 6.0
"""Seconds that may pass until a preview with a long log is told, and told to be ready, on a busy machine."""

START_AND_HANG = """
import asyncio, json, sys
from kosuke_docker import DockerService

async def main():
    wait, variables = json.loads(sys.stdin.readline())
    print(await DockerService().start_preview(7, variables, wait=wait), flush=True)
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


async def started_by_a_killed_process(
    world: Any, run_python: Any, wait: str, variables: dict[str, str] | None = None
) -> str:
    process = run_python(START_AND_HANG, world.settings())
    process.stdin.write(f"{json.dumps([wait, variables])}\n")
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


@pytest.mark.alone
@pytest.mark.parametrize("where", ["LINES_BEFORE", "LINES_AFTER"])
async def test_after_a_huge_log_it_is_all_found_again_at_once(
    world: Any, run_python: Any, until: Any, where: str
) -> None:
    """Whether its words about being ready stand at the log's end, or long before."""
    world.project(7)
    url = await started_by_a_killed_process(world, run_python, "ready", {where: str(MANY)})
    if where == "LINES_AFTER":
        await eventually(lambda: f"line {MANY} ".encode() in world.container(7).logs(tail=1))
    assert len(world.container(7).logs().splitlines()) > MANY
    service = world.service()
    began = time.monotonic()
    first = await service.get_preview(7)
    answered = time.monotonic() - began
    ready = await until(service, 7, "ready")
    took = time.monotonic() - began
    print(f"first answer, {first.phase}: {answered:.3f} s, ready: {took:.3f} s")
    assert answered < FIRST_ANSWER
    assert took < READY
    assert (first.running, first.url, first.database) == (True, url, "disabled")
    assert (ready.compilation_complete, ready.is_responding, ready.url) == (True, True, url)
    # It is followed from now on: what it says next is heard.
    world.container(7).kill()
    ended = await until(service, 7, "exited")
    assert (ended.exit_code, len(ended.last_lines)) == (137, 50)


async def test_an_adopted_preview_is_followed_and_keeps_what_its_labels_say(
    world: Any, run_python: Any, until: Any
) -> None:
    world.project(7)
    url = await started_by_a_killed_process(world, run_python, "ready")
    service = world.service()
    preview = await until(service, 7, "ready")
    container = world.container(7)
    assert (preview.container_id, preview.container_name, preview.url) == (container.id, f"{world.prefix}7", url)
    assert preview.database == container.labels["kosuke.database"] == "disabled"
    assert (preview.ready_at > preview.started_at, service.containers[7].compilation_complete) == (True, True)

    def child_oom() -> None:
        container.update(mem_limit="160m", memswap_limit="160m")
        with urllib.request.urlopen(f"{url}/eat-child", timeout=30) as response:
            assert response.read() == b"SIGKILL"

    await asyncio.to_thread(child_oom)
    assert (await until(service, 7, "oom_killed")).oom_count == 1
    # Whoever comes next learns of that, too, and says so at once.
    output, errors = await asyncio.to_thread(run_python(PHASE, world.settings()).communicate)
    assert output.strip() == "oom_killed", errors
    container.restart(timeout=1)
    again = await until(service, 7, "ready")
    assert again.started_at > preview.started_at


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

"""What a service took it gives back: threads, tasks, descriptors, connections, memory."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fake_engine import FakeEngine, Hang
from waiting import eventually

pytestmark = pytest.mark.alone

MEASURE = """
import asyncio, gc, json, os
from pathlib import Path
from kosuke_docker import DockerService, KosukeDockerError

def measured():
    gc.collect()
    return {
        "threads": len(os.listdir("/proc/self/task")),
        "files": len(os.listdir("/proc/self/fd")),
        "rss": int(Path("/proc/self/statm").read_text().split()[1]) * 4096,
    }
"""

CLOSED = (
    MEASURE
    + """
async def use(service):
    await service.start_preview(7, wait="ready")
    await service.get_preview(7)
    await service.list_previews()
    await service.restart_preview(7)
    await service.stop_preview(7)

async def settled(baseline):
    # A thread that has been told to end may take a moment to be gone.
    for _ in range(200):
        now = measured()
        if now["threads"] <= baseline["threads"] and now["files"] <= baseline["files"]:
            break
        await asyncio.sleep(0.01)
    return now

async def main():
    baseline, seen = measured(), []
    for _ in range(3):
        async with DockerService() as service:
            await use(service)
            during = measured()
        seen.append(await settled(baseline))
        service = DockerService()
        await use(service)
        await service.aclose()
        # Closed once more, and with another one open.
        await service.aclose()
        seen.append(await settled(baseline))
    tasks = len(asyncio.all_tasks())
    print(json.dumps({"baseline": baseline, "during": during, "seen": seen, "tasks": tasks}), flush=True)
    input()

asyncio.run(main())
"""
)

CYCLES = (
    MEASURE
    + """
async def cycle(service, project):
    await service.start_preview(project)
    assert (await service.get_preview(project)).running
    await service.stop_preview(project)

async def cycles(service, number):
    async def some(project):
        for _ in range(number // 5):
            # A service per request, as the agent has it, beside one that stays.
            await cycle(DockerService(), project)
    await asyncio.gather(*(some(project) for project in range(5)))

async def main():
    service = DockerService()
    await service.is_docker_available()
    await cycles(service, WARM_UP)
    before = measured()
    await cycles(service, NUMBER)
    print(json.dumps({"before": before, "after": measured()}), flush=True)
    input()

asyncio.run(main())
"""
)


async def last_line(process: Any) -> dict[str, Any]:
    line = await asyncio.to_thread(process.stdout.readline)
    if not line:
        _, errors = await asyncio.to_thread(process.communicate)
        pytest.fail(errors)
    values: dict[str, Any] = json.loads(line)
    return values


async def end(process: Any) -> None:
    _, errors = await asyncio.to_thread(process.communicate, "\n")
    assert (process.returncode, errors) == (0, "")


async def test_aclose_gives_back_every_thread_task_and_connection(
    fake: Any, fake_engine: FakeEngine, run_python: Any
) -> None:
    fake.project(7)
    fake.use()
    process = run_python(CLOSED, fake.settings())
    told = await last_line(process)
    baseline = told["baseline"]
    assert told["during"]["threads"] > baseline["threads"]
    for seen in told["seen"]:
        assert seen["threads"] <= baseline["threads"], told
        assert seen["files"] <= baseline["files"], told
    assert told["tasks"] == 1
    # The process lives on.
    await eventually(lambda: fake_engine.connections == 0)
    assert fake_engine.event_connections == 0
    await end(process)


async def test_aclose_ends_within_its_patience_while_the_engine_hangs(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(7)
    service = fake.service(engine_timeout=5.0)
    await service.start_preview(7, wait="ready")
    hanging = fake_engine.fail("", Hang())
    calls = [asyncio.create_task(call(7)) for call in (service.stop_preview, service.get_preview)]
    await eventually(lambda: hanging.seen >= len(calls))
    await asyncio.wait_for(service.aclose(), 10)
    results = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)
    assert all(not isinstance(result, asyncio.CancelledError) for result in results), results
    await eventually(lambda: fake_engine.connections == 0)


async def test_dropped_services_share_one_core_and_its_connections(fake: Any, fake_engine: FakeEngine) -> None:
    for project in range(10):
        fake.project(project)
    for project in range(10):
        await fake.service().start_preview(project, wait="ready")
    # A log stream each, an event stream for all, and calls that are over in a moment.
    await eventually(lambda: fake_engine.connections <= 12)
    assert fake_engine.event_connections <= 1


@pytest.mark.timeout(1800)
async def test_thousands_of_previews_leave_memory_threads_and_files_as_they_were(
    fake: Any, fake_engine: FakeEngine, run_python: Any, count: Any
) -> None:
    for project in range(5):
        fake.project(project)
    fake.use()
    number = count(10_000)
    process = run_python(f"WARM_UP, NUMBER = {number // 5}, {number}\n{CYCLES}", fake.settings())
    told = await last_line(process)
    before, after = told["before"], told["after"]
    # Blocking work has threads of its own, which wait a moment for more of it.
    assert after["threads"] <= before["threads"] + 20, told
    assert after["files"] <= before["files"] + 20, told
    # A leak of one small object for each preview would show in the full count.
    assert after["rss"] - before["rss"] < 20_000_000 + 500 * number, told
    await end(process)
    await eventually(lambda: fake_engine.connections == 0)
    assert fake.containers() == []

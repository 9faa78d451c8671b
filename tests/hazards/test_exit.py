"""A process that used previews ends at once, silently, with its own exit code."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest
from fake_engine import FakeEngine, Hang
from waiting import eventually

LEAVE = """
import asyncio
from kosuke_docker import DockerService

async def main():
    await DockerService().start_preview(7)

asyncio.run(main())
"""

LEAVE_WITHOUT_WAITING = """
import asyncio
from kosuke_docker import DockerService

async def main():
    service = DockerService()
    task = asyncio.create_task(service.start_preview(7))
    await asyncio.sleep(0.03)

asyncio.run(main())
"""

TWO_LOOPS = """
import asyncio
from kosuke_docker import DockerService

service = DockerService()
asyncio.run(service.start_preview(7))
assert asyncio.run(service.get_preview(7)).running
asyncio.run(service.stop_preview(7))
assert asyncio.run(service.get_preview(7)) is None
"""

UVLOOP = """
import uvloop
from kosuke_docker import DockerService

async def main():
    service = DockerService()
    await service.start_preview(7, wait="ready")
    await service.stop_preview(7)

uvloop.run(main())
"""

TWO_THREADS = """
import asyncio, threading
from kosuke_docker import DockerService

service = DockerService()
failures = []

def work(project):
    async def main():
        url = await service.start_preview(project, wait="ready")
        assert (await service.get_preview(project)).url == url
        assert await service.start_preview(7) == await service.start_preview(7)
        await service.stop_preview(project)
    try:
        asyncio.run(main())
    except BaseException as error:
        failures.append(error)

threads = [threading.Thread(target=work, args=(project,)) for project in (8, 9)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert not failures, failures
asyncio.run(service.stop_preview(7))
"""

THREAD_WITH_A_LOOP_THAT_GOES_ON = """
import asyncio, contextlib, threading
from kosuke_docker import DockerService, ServiceClosedError

def work():
    # The process's end closes the service, in a thread that may still run for a moment.
    with contextlib.suppress(ServiceClosedError):
        asyncio.run(DockerService().start_preview(7, {"LISTEN_MS": "60000", "READY": "none"}, wait="ready"))

threading.Thread(target=work, daemon=True).start()

async def main():
    while not (preview := await DockerService().get_preview(7)) or not preview.running:
        await asyncio.sleep(0.02)

asyncio.run(main())
"""

ABANDONED = """
import asyncio
from kosuke_docker import DockerService

async def main():
    service = DockerService()
    calls = [service.start_preview, service.get_preview, service.stop_preview, service.restart_preview]
    tasks = [asyncio.create_task(call(7)) for call in calls * 5]
    await asyncio.sleep(0.05)

for _ in range(3):
    asyncio.run(main())
"""

LOOP_CLOSED_UNDER_IT = """
import asyncio, gc
from kosuke_docker import DockerService

service = DockerService()
loop = asyncio.new_event_loop()
task = loop.create_task(service.start_preview(7))
loop.run_until_complete(asyncio.sleep(0.03))
task.cancel()
loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
loop.close()
asyncio.run(service.start_preview(7))
asyncio.run(service.stop_preview(7))
gc.collect()
"""

CLOSED_WITH_WORK_IN_FLIGHT = """
import asyncio
from kosuke_docker import DockerService, ServiceClosedError

async def main():
    async with DockerService() as service:
        task = asyncio.create_task(service.start_preview(7, {"LISTEN_MS": "60000", "READY": "none"}, wait="ready"))
        while not (preview := await service.get_preview(7)) or not preview.running:
            await asyncio.sleep(0.02)
    try:
        await asyncio.wait_for(task, 10)
    except ServiceClosedError:
        return
    raise SystemExit("the call in flight did not end")

asyncio.run(main())
"""


@pytest.mark.parametrize(
    "script",
    [
        LEAVE,
        LEAVE_WITHOUT_WAITING,
        TWO_LOOPS,
        UVLOOP,
        TWO_THREADS,
        THREAD_WITH_A_LOOP_THAT_GOES_ON,
        ABANDONED,
        LOOP_CLOSED_UNDER_IT,
        CLOSED_WITH_WORK_IN_FLIGHT,
    ],
    ids=[
        "leave",
        "leave-without-waiting",
        "two-loops",
        "uvloop",
        "two-threads",
        "thread-goes-on",
        "abandoned",
        "loop-closed",
        "closed-in-flight",
    ],
)
@pytest.mark.parametrize("development", [False, True], ids=["plain", "dev-mode"])
async def test_a_process_ends_cleanly(
    world: Any, run_python: Any, script: str, development: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In development mode (asyncio's debug mode among it) as without: nothing is said, nothing is left open."""
    if development:
        monkeypatch.setenv("PYTHONDEVMODE", "1")
    for project in (7, 8, 9):
        world.project(project)
    process = run_python(script, world.settings())
    output, errors = await asyncio.to_thread(process.communicate, timeout=30)
    assert (process.returncode, output, errors) == (0, "", "")


async def test_an_interrupt_ends_a_waiting_process(world: Any, run_python: Any) -> None:
    world.project(7)
    script = LEAVE.replace(
        "start_preview(7)", "start_preview(7, {'READY': 'none', 'LISTEN_MS': '60000'}, wait='ready')"
    )
    process = run_python(script.replace("await D", "print('on', flush=True); await D"), world.settings())
    assert await asyncio.to_thread(process.stdout.readline) == "on\n"
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.to_thread(process.communicate, timeout=15)
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert process.returncode in (1, 130, -signal.SIGINT)


HANGING = """
import asyncio
from kosuke_docker import DockerService

async def main():
    service = DockerService()
    calls = [service.start_preview, service.get_preview, service.stop_preview]
    tasks = [asyncio.create_task(call(project)) for project in range(7, 10) for call in calls]
    await asyncio.sleep(0.3)
    print("leaving", flush=True)

asyncio.run(main())
"""


@pytest.mark.alone
@pytest.mark.parametrize("pattern", ["", "/version", "/create", "/logs", "/start"])
async def test_an_end_with_calls_in_flight_that_hang_is_silent_and_soon(
    fake: Any, fake_engine: FakeEngine, run_python: Any, pattern: str
) -> None:
    for project in range(7, 10):
        fake.project(project)
    fake_engine.fail(pattern, Hang())
    fake.use()
    process = run_python(HANGING, fake.settings())
    assert await asyncio.to_thread(process.stdout.readline) == "leaving\n"
    began = time.monotonic()
    output, errors = await asyncio.to_thread(process.communicate, timeout=30)
    assert time.monotonic() - began < 2
    assert (process.returncode, output, errors) == (0, "", "")


@pytest.mark.alone
async def test_an_interrupt_ends_calls_that_hang(fake: Any, fake_engine: FakeEngine, run_python: Any) -> None:
    for project in range(7, 10):
        fake.project(project)
    fake_engine.fail("", Hang())
    fake.use()
    process = run_python(HANGING.replace("sleep(0.3)", "sleep(60)"), fake.settings())
    await eventually(lambda: fake_engine.connections > 0)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, errors = await asyncio.to_thread(process.communicate, timeout=30)
    assert time.monotonic() - began < 2
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert errors.count("Traceback") <= 2, errors

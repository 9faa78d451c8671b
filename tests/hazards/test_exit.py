"""A process that used previews ends at once, silently, with its own exit code."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

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

FORK = """
import asyncio, os
from kosuke_docker import DockerService, ServiceForkedError

service = DockerService()
asyncio.run(service.start_preview(7))
child = os.fork()
if child == 0:
    try:
        asyncio.run(asyncio.wait_for(service.get_preview(7), 10))
    except ServiceForkedError:
        pass
    assert asyncio.run(asyncio.wait_for(DockerService().get_preview(7), 10)).running
    raise SystemExit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert asyncio.run(service.get_preview(7)).running
"""


@pytest.mark.parametrize(
    "script",
    [LEAVE, LEAVE_WITHOUT_WAITING, TWO_LOOPS, UVLOOP, FORK],
    ids=["leave", "leave-without-waiting", "two-loops", "uvloop", "fork"],
)
async def test_a_process_ends_cleanly(world: Any, run_python: Any, script: str) -> None:
    world.project(7)
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

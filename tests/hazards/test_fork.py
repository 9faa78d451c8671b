"""Fork: a service that its parent used says so in the child, at once; a new one, or one that was never used, works."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

pytestmark = pytest.mark.alone

CHILD = """
import asyncio, gc, os, select, time, traceback
from kosuke_docker import DockerService

def in_child(work):
    child = os.fork()
    if child == 0:
        try:
            work()
        except SystemExit:
            raise
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        # Not os._exit: the child's own end has to work, too.
        raise SystemExit(0)
    # waitpid knows no time-out, and a child that hangs must not hang the test.
    running = os.pidfd_open(child)
    ended, _, _ = select.select([running], [], [], 20)
    os.close(running)
    if not ended:
        os.kill(child, 9)
    _, status = os.waitpid(child, 0)
    if not ended:
        raise SystemExit("the child hangs")
    assert os.waitstatus_to_exitcode(status) == 0

def bounded(awaitable):
    async def call():
        return await asyncio.wait_for(awaitable, 10)
    return asyncio.run(call())

def must_raise(call):
    from kosuke_docker import ServiceForkedError
    began = time.monotonic()
    try:
        bounded(call())
    except ServiceForkedError as error:
        assert isinstance(error, RuntimeError)
        assert "fork" in str(error), error
        assert time.monotonic() - began < 1
    else:
        raise AssertionError("it did not raise")
"""

COLD = """
service = DockerService()

def work():
    bounded(service.start_preview(7))
    assert bounded(DockerService().get_preview(7)).running

in_child(work)
assert bounded(service.get_preview(7)).running
"""

WARM_NEW = """
service = DockerService()
url = bounded(service.start_preview(7))

def work():
    new = DockerService()
    assert bounded(new.start_preview(7)) == url
    bounded(new.start_preview(8))
    bounded(new.stop_preview(8))
    bounded(new.aclose())

in_child(work)
in_child(work)
assert bounded(service.get_preview(7)).url == url
"""

WARM_UNUSED = """
unused, service = DockerService(), DockerService()
url = bounded(service.start_preview(7))
in_child(lambda: bounded(unused.get_preview(7)).url == url or 1 / 0)
"""

WARM_OLD = """
service = DockerService()
url = bounded(service.start_preview(7))

def work():
    for call in (
        lambda: service.get_preview(7),
        lambda: service.get_preview_status(7),
        lambda: service.start_preview(8),
        lambda: service.restart_preview(7),
        lambda: service.stop_preview(7),
        lambda: service.list_previews(),
        lambda: service.stop_all_previews(),
        lambda: service.is_container_running(7),
        lambda: service.ensure_image(),
    ):
        must_raise(call)
    # A new one still works beside it.
    assert bounded(DockerService().get_preview(7)).url == url

in_child(work)
assert bounded(service.get_preview(7)).url == url
"""

WARM_OLD_IS_COLLECTED = """
service = DockerService()
bounded(service.start_preview(7))

def work():
    global service
    del service
    gc.collect()
    assert bounded(DockerService().get_preview(7)).running

in_child(work)
"""

WARM_OLD_IS_CLOSED = """
service = DockerService()
bounded(service.start_preview(7))
in_child(lambda: bounded(service.aclose()))
assert bounded(service.get_preview(7)).running
"""

CLOSED_BEFORE = """
async def main():
    async with DockerService() as service:
        await service.start_preview(7)
bounded(main())
in_child(lambda: bounded(DockerService().get_preview(7)).running or 1 / 0)
"""

GRANDCHILD = """
service = DockerService()
bounded(service.start_preview(7))

def work():
    new = DockerService()
    assert bounded(new.get_preview(7)).running
    in_child(lambda: (must_raise(lambda: new.get_preview(7)), bounded(DockerService().get_preview(7)).running or 1 / 0))

in_child(work)
"""

WITH_WORK_IN_FLIGHT = """
service = DockerService()

async def main():
    start = asyncio.create_task(service.start_preview(7, wait="ready"))
    await asyncio.sleep(0.05)
    # Not within the loop's own run: a child that runs a loop under a running one is another matter.
    return start

loop = asyncio.new_event_loop()
start = loop.run_until_complete(main())

def work():
    asyncio.set_event_loop(None)
    assert bounded(DockerService().start_preview(8))

in_child(work)
loop.run_until_complete(asyncio.wait_for(start, 20))
loop.close()
"""

MULTIPROCESSING = """
import multiprocessing

service = DockerService()
url = bounded(service.start_preview(7))

def task(_):
    must_raise(lambda: service.get_preview(7))
    return bounded(DockerService().get_preview(7)).url

with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(task, range(4)).get(20) == [url] * 4
assert bounded(service.get_preview(7)).url == url
"""

PRELOADED = """
# What gunicorn does with preload_app: the app is imported and used in the arbiter, then workers are forked.
service = DockerService()
assert bounded(service.is_docker_available())

def worker():
    async def serve():
        # A service per request, as the agent has it.
        urls = await asyncio.gather(*(DockerService().start_preview(7) for _ in range(5)))
        assert len(set(urls)) == 1
        return urls[0]
    url = bounded(serve())
    assert bounded(DockerService().get_preview(7)).url == url
    must_raise(lambda: service.get_preview(7))

for _ in range(2):
    in_child(worker)
bounded(service.stop_preview(7))
"""

SCRIPTS = {
    "cold": COLD,
    "warm-new": WARM_NEW,
    "warm-unused": WARM_UNUSED,
    "warm-old": WARM_OLD,
    "warm-old-is-collected": WARM_OLD_IS_COLLECTED,
    "warm-old-is-closed": WARM_OLD_IS_CLOSED,
    "closed-before": CLOSED_BEFORE,
    "grandchild": GRANDCHILD,
    "with-work-in-flight": WITH_WORK_IN_FLIGHT,
    "multiprocessing": MULTIPROCESSING,
    "preloaded": PRELOADED,
}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.12 and newer warn of every fork of a process with threads: that is what these tests are about."""
    monkeypatch.setenv("PYTHONWARNINGS", "ignore:This process:DeprecationWarning")


@pytest.mark.parametrize("name", SCRIPTS)
async def test_fork(fake: Any, run_python: Any, name: str) -> None:
    for project in (7, 8):
        fake.project(project)
    fake.use()
    process = run_python(CHILD + SCRIPTS[name], fake.settings())
    output, errors = await asyncio.to_thread(process.communicate, timeout=60)
    assert (process.returncode, output, errors) == (0, "", "")


async def test_fork_with_a_real_engine(world: Any, run_python: Any) -> None:
    for project in (7, 8):
        world.project(project)
    process = run_python(
        CHILD + WARM_NEW + "\nin_child(lambda: must_raise(lambda: service.get_preview(7)))", world.settings()
    )
    output, errors = await asyncio.to_thread(process.communicate, timeout=60)
    assert (process.returncode, output, errors) == (0, "", "")

"""What services share, and what is left when they are dropped. The garbage collector is off: nothing waits for it."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kosuke_docker import DockerService, Settings, _cores
from pydantic import SecretStr

BURST = 1000
MOST_THREADS = 6
"""Two workers, one that hands over results, and some for what blocks. There were hundreds."""


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def threads() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


class Own(DockerService):
    """A subclass that replaces a hook."""

    async def _get_project_environment(self, project_id: int) -> dict[str, str]:
        return {"OF": str(project_id)}


async def test_a_burst_of_calls_makes_few_threads(settings: Settings) -> None:
    before, most = threads(), 0

    async def call(service: DockerService) -> None:
        nonlocal most
        await service.is_docker_available()
        most = max(most, threads())

    async with DockerService(settings) as service:
        await asyncio.gather(*(call(service) for _ in range(BURST)))
    assert most - before <= MOST_THREADS


async def test_a_dropped_service_keeps_no_core(settings: Settings) -> None:
    for other in list(_cores._all):  # Of other tests: the threads end with the last core.
        await _cores.close(other, 1)
    before = threads()
    await DockerService(settings).is_docker_available()
    async with DockerService(settings) as service:
        await service.is_docker_available()
    async with asyncio.timeout(5):
        while threads() > before:  # noqa: ASYNC110 - a thread that has ended is listed for a moment
            await asyncio.sleep(0.001)


async def test_a_dropped_service_with_hooks_ends_its_core(settings: Settings) -> None:
    alive = len(_cores._all)
    service: Any = DockerService(settings)
    service._check_container_health = None
    await service.is_docker_available()
    assert len(_cores._all) == alive + 1
    del service
    await asyncio.sleep(0)  # The loop holds the exception of the last await, and its frames, until the next step.
    assert len(_cores._all) == alive


async def test_the_services_of_a_subclass_share_one_core(settings: Settings) -> None:
    alive = len(_cores._all)
    services: list[DockerService] = []
    for _ in range(60):
        services.append(Own(settings))
        await services[-1].is_docker_available()
    assert len(_cores._all) == alive + 1
    # Their databases are the admin's where that hook is replaced: other classes have cores of their own.
    await DockerService(settings).is_docker_available()
    assert len(_cores._all) == alive + 2
    for service in services:
        await service.aclose()


async def test_a_subclass_that_is_gone_leaves_no_core(settings: Settings) -> None:
    alive = len(_cores._all)

    def of_a_request() -> DockerService:
        class OfARequest(Own):
            pass

        return OfARequest(settings)

    await of_a_request().is_docker_available()
    await asyncio.sleep(0)
    gc.collect()  # A class is a cycle by itself.
    assert len(_cores._all) == alive


def test_two_threads_get_one_core(tmp_path: Path) -> None:
    for number in range(20):
        settings = Settings(postgres_host=None, projects_dir=str(tmp_path / str(number)))
        services = [DockerService(settings) for _ in range(8)]
        together = threading.Barrier(len(services))

        def attach(service: DockerService, together: threading.Barrier = together) -> None:
            together.wait()
            assert service.containers is not None

        workers = [threading.Thread(target=attach, args=(service,)) for service in services]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert len({id(service.containers) for service in services}) == 1


def test_what_is_shared_is_found_without_a_password(tmp_path: Path) -> None:
    settings = Settings(postgres_password=SecretStr("a-plain-password"), projects_dir=str(tmp_path))
    assert DockerService(settings).containers is not None
    assert "a-plain-password" not in repr([list(cores) for cores in _cores._shared.values()])
    assert "a-plain-password" not in repr(_cores._shared)

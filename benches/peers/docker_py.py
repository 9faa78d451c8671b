"""docker-py: called straight from coroutines, as the older service did, and from threads."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import docker
from docker.errors import NotFound
from job import READY, STOP_SECONDS, BenchError, Job

from peers.pages import Pages, Status, answers, page_of, until_it_answers

TIMEOUT = 120


class Blocking(Pages):
    """The older service's way: each call of the engine holds the loop, and each status opens a session."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._client = docker.from_env(timeout=TIMEOUT)
        self._containers: dict[int, Any] = {}

    async def start(self, project: int) -> None:
        """As `containers.run(detach=True)` does it, and then the log up to the ready line."""
        self._create(project)
        self._begin(project)
        self._follow(project)
        async with aiohttp.ClientSession() as session:
            await until_it_answers(session, self.urls[project])

    async def status(self, project: int) -> bool:
        """A GET in a session of its own."""
        async with aiohttp.ClientSession() as session:
            responding = await answers(session, self.urls[project])
        return _told(self.urls[project], responding=responding)

    async def stop(self, project: int) -> None:
        """Stops and removes."""
        self._end(project)

    async def listing(self) -> int:
        """docker-py inspects each container that is listed."""
        return self._list()

    async def close(self) -> None:
        """Ends both clients."""
        await super().close()
        self._client.close()

    def _create(self, project: int) -> None:
        name = self._job.name(project)
        try:
            self._client.containers.get(name)
        except NotFound:
            made = self._client.api.create_container_from_config(self._job.body(project), name)
            self._containers[project] = self._client.containers.get(made["Id"])
        else:
            raise BenchError(f"{name} is there already")

    def _begin(self, project: int) -> None:
        container = self._containers[project]
        container.start()
        container.reload()
        self.urls[project] = page_of(container.attrs)

    def _follow(self, project: int) -> None:
        for chunk in self._containers[project].logs(stream=True, follow=True):
            if READY in chunk.decode():
                return
        raise BenchError(f"{self._job.name(project)} ended")

    def _end(self, project: int) -> None:
        container = self._client.containers.get(self._containers[project].id)
        container.stop(timeout=STOP_SECONDS)
        container.remove(force=True, v=True)

    def _list(self) -> int:
        return len(self._client.containers.list(all=True, filters={"name": self._job.prefix}))


class Threads(Blocking):
    """Each call of the engine on a thread of asyncio's own pool, and one pooled session."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._turns = asyncio.Semaphore(job.changes_at_once)

    async def start(self, project: int) -> None:
        """The same on threads."""
        await asyncio.to_thread(self._create, project)
        async with self._turns:
            await asyncio.to_thread(self._begin, project)
        await asyncio.to_thread(self._follow, project)
        await until_it_answers(self.session, self.urls[project])

    async def status(self, project: int) -> bool:
        """A GET."""
        return _told(self.urls[project], responding=await answers(self.session, self.urls[project]))

    async def stop(self, project: int) -> None:
        """The same on a thread."""
        async with self._turns:
            await asyncio.to_thread(self._end, project)

    async def listing(self) -> int:
        """The same on a thread."""
        return await asyncio.to_thread(self._list)


def _told(url: str, *, responding: bool) -> bool:
    status = Status(running=True, url=url, compilation_complete=True, is_responding=responding)
    return status.is_responding

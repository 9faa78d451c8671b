"""aiodocker, and one pooled aiohttp session for the pages."""

from __future__ import annotations

import asyncio
import json

from aiodocker import Docker
from aiodocker.containers import DockerContainer
from aiodocker.exceptions import DockerError
from job import READY, STOP_SECONDS, BenchError, Job

from peers.pages import Pages, Status, answers, page_of, until_it_answers

NOT_FOUND = 404


class Aiodocker(Pages):
    """Coroutines down to the engine's socket."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._turns = asyncio.Semaphore(job.changes_at_once)
        self._containers: dict[int, DockerContainer] = {}
        self._docker: Docker | None = None

    @property
    def _engine(self) -> Docker:
        if self._docker is None:
            raise BenchError("the peer was not opened")
        return self._docker

    async def open(self) -> None:
        """Makes both clients."""
        await super().open()
        self._docker = Docker()

    async def start(self, project: int) -> None:
        """Looks, creates, starts, inspects, reads the log up to the ready line."""
        container = await self._create(project)
        async with self._turns:
            await container.start()
        self.urls[project] = page_of(await container.show())
        await self._follow(container)
        await until_it_answers(self.session, self.urls[project])

    async def status(self, project: int) -> bool:
        """A GET."""
        url = self.urls[project]
        responding = await answers(self.session, url)
        return Status(running=True, url=url, compilation_complete=True, is_responding=responding).is_responding

    async def stop(self, project: int) -> None:
        """Looks, stops, removes."""
        container = await self._engine.containers.get(self._containers[project].id)
        async with self._turns:
            await container.stop(t=STOP_SECONDS)
            await container.delete(force=True, v=True)

    async def listing(self) -> int:
        """One call."""
        filters = json.dumps({"name": [self._job.prefix]})
        return len(await self._engine.containers.list(all="true", filters=filters))

    async def close(self) -> None:
        """Ends both clients."""
        await super().close()
        await self._engine.close()

    async def _create(self, project: int) -> DockerContainer:
        name = self._job.name(project)
        try:
            await self._engine.containers.get(name)
        except DockerError as error:
            if error.status != NOT_FOUND:
                raise
        else:
            raise BenchError(f"{name} is there already")
        made = await self._engine.containers.create(self._job.body(project), name=name)
        self._containers[project] = made
        return made

    async def _follow(self, container: DockerContainer) -> None:
        async for words in container.log(stdout=True, stderr=True, follow=True):
            if READY in words:
                return
        raise BenchError(f"container {container.id} ended")

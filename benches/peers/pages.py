"""What all peers that ask for pages with aiohttp have in common; alone it is the plain client."""

from __future__ import annotations

import asyncio
import time

import aiohttp
from job import ANSWER_SECONDS, BenchError, Job
from pydantic import BaseModel

TIMEOUT = aiohttp.ClientTimeout(total=5)
PAUSE = 0.01
"""Seconds between two requests to a page that does not answer yet."""


class Status(BaseModel):
    """As the older service answered."""

    running: bool
    url: str | None
    compilation_complete: bool
    is_responding: bool


def page_of(container: dict[str, object]) -> str:
    """Where a container's page is, from the engine's answer to an inspect."""
    ports = container["NetworkSettings"]["Ports"]  # type: ignore[index]
    binding = ports["3000/tcp"][0]
    return f"http://{binding['HostIp']}:{binding['HostPort']}/"


async def answers(session: aiohttp.ClientSession, url: str) -> bool:
    """Whether a page answers with 200."""
    try:
        async with session.get(url, timeout=TIMEOUT) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def until_it_answers(session: aiohttp.ClientSession, url: str) -> None:
    """Asks a page until it answers.

    Raises:
        BenchError: It does not in time.
    """
    deadline = time.monotonic() + ANSWER_SECONDS
    while not await answers(session, url):
        if time.monotonic() > deadline:
            raise BenchError(f"{url} does not answer within {ANSWER_SECONDS} s")
        await asyncio.sleep(PAUSE)


class Pages:
    """GETs through one pooled session, and nothing else."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.urls: dict[int, str] = {}
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """The pooled session."""
        if self._session is None:
            raise BenchError("the peer was not opened")
        return self._session

    async def open(self) -> None:
        """Makes the session."""
        self._session = aiohttp.ClientSession()

    async def find(self, project: int) -> None:
        """Takes the page's address from the job."""
        self.urls[project] = self._job.urls[project - 1]

    async def status(self, project: int) -> bool:
        """One GET."""
        return await answers(self.session, self.urls[project])

    async def close(self) -> None:
        """Ends the session."""
        await self.session.close()

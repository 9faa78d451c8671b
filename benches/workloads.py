"""The work itself, the same for every peer that is written in Python."""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from job import BenchError, Job
from peers import Peer
from ticker import Ticker
from usage import Usage, threads

SAMPLE = 0.001
"""Seconds between two looks at the number of threads."""


async def ask(peer: Peer, job: Job, calls: int) -> None:
    """Makes so many calls for statuses, as many at a time as the job says.

    Raises:
        BenchError: A preview does not answer.
    """
    numbers = iter(range(calls))

    async def take(place: int) -> None:
        for number in numbers:
            project = (place if job.apart else number) % job.previews + 1
            if not await peer.status(project):
                raise BenchError(f"{job.peer}: preview {project} does not answer")

    await asyncio.gather(*(take(place) for place in range(job.at_once)))


async def lifecycle(peer: Peer, job: Job) -> dict[str, Any]:
    """Starts previews until all of them answer, asks for statuses, stops all."""
    projects = range(1, job.previews + 1)
    ticker = Ticker()
    if job.ticker:
        await ticker.start()
    marks = [Usage.now()]
    await asyncio.gather(*(peer.start(project) for project in projects))
    marks.append(Usage.now())
    await ask(peer, job, job.calls)
    marks.append(Usage.now())
    await asyncio.gather(*(peer.stop(project) for project in projects))
    marks.append(Usage.now())
    ticks = await ticker.stop()
    start, status, stop = (later - earlier for earlier, later in itertools.pairwise(marks))
    told: dict[str, Any] = {
        "start_s": start.wall,
        "statuses_s": status.wall,
        "stop_s": stop.wall,
        "wall_s": (marks[-1] - marks[0]).wall,
        "cpu_start_s": start.cpu,
        "cpu_statuses_s": status.cpu,
        "cpu_stop_s": stop.cpu,
        "cpu_s": (marks[-1] - marks[0]).cpu,
    }
    if job.ticker:
        told |= {"marks": [mark.wall for mark in marks], "ticks": ticks}
    return told


async def stand(peer: Peer, job: Job) -> dict[str, Any]:
    """Starts previews and tells so; stops them once the standard input ends."""
    await asyncio.gather(*(peer.start(project) for project in range(1, job.previews + 1)))
    print("standing", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await asyncio.gather(*(peer.stop(project) for project in range(1, job.previews + 1)))
    return {}


async def status_live(peer: Peer, job: Job) -> dict[str, Any]:
    """Asks for live statuses of previews that run."""
    for project in range(1, job.previews + 1):
        await peer.find(project)
    await ask(peer, job, job.warm_up)
    before = Usage.now()
    await ask(peer, job, job.calls)
    return (Usage.now() - before).per(job.calls)


async def calls_in_turn(call: Callable[[], Awaitable[object]], calls: int) -> dict[str, float]:
    """Makes a call again and again."""
    for _ in range(max(1, calls // 20)):
        await call()
    before = Usage.now()
    for _ in range(calls):
        await call()
    return (Usage.now() - before).per(calls)


async def listing(peer: Peer, job: Job) -> dict[str, Any]:
    """Lists the previews that run."""
    found = await peer.listing()
    if found != job.previews:
        raise BenchError(f"{job.peer}: {found} previews are listed, not {job.previews}")
    return await calls_in_turn(peer.listing, job.calls)


async def most_threads(awaitables: Sequence[Awaitable[object]], before: int) -> dict[str, float]:
    """How many more threads than `before` there are at the most while these are awaited all at once."""
    most = threads()
    waiting = asyncio.gather(*awaitables)
    began = time.monotonic()
    while not waiting.done():
        most = max(most, threads())
        await asyncio.sleep(SAMPLE)
    await waiting
    return {"threads": max(most, threads()) - before, "calls": len(awaitables), "wall_s": time.monotonic() - began}

#!/usr/bin/env python3
"""One piece of work of one peer, in a process of its own: worker.py JOB_FILE. Prints one line of JSON."""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import workloads
from job import BenchError, Job
from usage import Usage, sockets, threads

WITH_A_PEER = {
    "lifecycle": workloads.lifecycle,
    "stand": workloads.stand,
    "status_live": workloads.status_live,
    "list": workloads.listing,
}
PEERS = {
    "kosuke_docker": ("peers.ours", "Ours"),
    "docker_py_blocking": ("peers.docker_py", "Blocking"),
    "docker_py_threads": ("peers.docker_py", "Threads"),
    "aiodocker": ("peers.aiodocker", "Aiodocker"),
    "aiohttp": ("peers.pages", "Pages"),
}


async def with_a_peer(job: Job) -> dict[str, Any]:
    """What every peer does."""
    module, name = PEERS[job.peer]
    # Only its own: what one process has loaded must not weigh on another's figures.
    peer = getattr(importlib.import_module(module), name)(job)
    await peer.open()
    try:
        return await WITH_A_PEER[job.workload](peer, job)
    finally:
        await peer.close()


async def status_cached(job: Job) -> dict[str, Any]:
    """Ours alone: answers of what is known, with the default time to live of the page's last answer."""
    from peers.ours import Ours  # noqa: PLC0415

    peer = Ours(job)
    try:
        await peer.find(1)
        status = await workloads.calls_in_turn(lambda: peer.service.get_preview_status(1), job.calls)
        preview = await workloads.calls_in_turn(lambda: peer.service.get_preview(1), job.calls)
    finally:
        await peer.close()
    return {"get_preview_status": status, "get_preview": preview}


async def threads_at_once(job: Job) -> dict[str, Any]:
    """Ours alone: threads while very many live statuses are awaited."""
    from peers.ours import Ours  # noqa: PLC0415

    before = threads()
    peer = Ours(job)
    try:
        for project in range(1, job.previews + 1):
            await peer.find(project)
        calls = [peer.service.get_preview_status(number % job.previews + 1) for number in range(job.calls)]
        return await workloads.most_threads(calls, before)
    finally:
        await peer.close()


def imports(job: Job) -> dict[str, Any]:
    """What it costs to import the package after pydantic, and to construct a service."""
    began = Usage.now()
    # By itself pydantic loads these at their first use.
    from pydantic import BaseModel, TypeAdapter  # noqa: F401, PLC0415

    between = Usage.now()
    import kosuke_docker  # noqa: PLC0415

    imported = Usage.now()
    service = kosuke_docker.DockerService
    held = (threads(), sockets())
    first = time.perf_counter()
    service()
    first = time.perf_counter() - first
    before = Usage.now()
    for _ in range(job.calls):
        service()
    each = Usage.now() - before
    package = imported - between
    return {
        "pydantic_ms": (between - began).wall * 1e3,
        "pydantic_cpu_ms": (between - began).cpu * 1e3,
        "import_ms": package.wall * 1e3,
        "import_cpu_ms": package.cpu * 1e3,
        "first_service_us": first * 1e6,
        "service_us": each.wall / job.calls * 1e6,
        "service_cpu_us": each.cpu / job.calls * 1e6,
        "threads": threads() - held[0],
        "sockets": sockets() - held[1],
    }


def main() -> None:
    """Does it."""
    job = Job.read(Path(sys.argv[1]))
    try:
        if job.workload == "import":
            told = imports(job)
        elif job.workload == "status_cached":
            told = asyncio.run(status_cached(job))
        elif job.workload == "threads":
            told = asyncio.run(threads_at_once(job))
        else:
            told = asyncio.run(with_a_peer(job))
    except BenchError as error:
        sys.exit(f"error: {error}")
    print(json.dumps(told))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Measures kosuke_docker beside others in the same run: rounds in which each peer does the same work.

`make bench` runs it. ROUNDS, QUICK and PEERS choose how much. It writes one line of JSON for each measurement.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TextIO

import docker

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import node_image  # noqa: E402 - stands in tools
import services  # noqa: E402
from job import BenchError  # noqa: E402
from lateness import summary  # noqa: E402
from place import Place, place, requests_of  # noqa: E402
from processes import control_ticker, standing, work  # noqa: E402

OURS = "kosuke_docker"
IN_PYTHON = [OURS, "docker_py_blocking", "docker_py_threads", "aiodocker"]
PEERS = [*IN_PYTHON, "floor"]
# The others' statuses are the same GETs as aiohttp's.
LIVE = [OURS, "aiohttp", "docker_py_blocking", "floor"]
LISTING = [OURS, "aiodocker", "docker_py_threads", "floor"]
AT_ONCE = 32
PACKAGES = ["docker", "aiodocker", "aiohttp", "pydantic"]


@dataclass(frozen=True)
class Counts:
    """How much is done in one measurement."""

    previews: int = 20
    statuses: int = 2_000
    live: int = 5_000
    cached: int = 20_000
    lists: int = 200
    threads: int = 3_000
    services: int = 2_000


QUICK = Counts(previews=4, statuses=200, live=500, cached=2_000, lists=20, threads=300, services=200)


@dataclass(frozen=True)
class Choice:
    """What is measured."""

    rounds: int
    peers: list[str]
    counts: Counts
    quick: bool

    @classmethod
    def of_environment(cls) -> Choice:
        """What ROUNDS, QUICK and PEERS say; our service is always there.

        Raises:
            BenchError: One of them cannot be used.
        """
        quick = bool(os.environ.get("QUICK"))
        rounds = os.environ.get("ROUNDS") or ("1" if quick else "7")
        if not rounds.isdigit() or int(rounds) < 1:
            raise BenchError(f"ROUNDS={rounds}: must be a number from 1 on")
        names = os.environ.get("PEERS", "").replace(",", " ").split() or PEERS
        if unknown := [name for name in names if name not in PEERS]:
            raise BenchError(f"PEERS: {', '.join(unknown)}: unknown, there are {', '.join(PEERS)}")
        peers = [peer for peer in PEERS if peer in names or peer == OURS]
        return cls(int(rounds), peers, QUICK if quick else Counts(), quick)


class Run:
    """All rounds of one run."""

    def __init__(self, place: Place, floor: Path, choice: Choice, out: TextIO) -> None:
        self._place = place
        self._floor = floor
        self._counts = choice.counts
        self._rounds = choice.rounds
        self._peers = choice.peers
        self._out = out
        self._began = time.monotonic()

    def all(self) -> None:
        """Every workload."""
        self.same_settings()
        for number in range(1, self._rounds + 1):
            for peer in self._turns(PEERS, number):
                self.lifecycle(number, peer)
            for peer in self._turns(IN_PYTHON, number):
                self.late(number, peer)
        self.of_running_previews()
        for number in range(self._rounds + 1):
            told = work(self._place.job(OURS, "import", calls=self._counts.services), self._floor)
            if number > 0:  # Before that, the files were not in memory.
                self._write(number, "import", OURS, told)

    def same_settings(self) -> None:
        """Takes the settings of our containers for all, and has each peer make one."""
        for peer in [OURS, *(peer for peer in self._peers if peer != OURS)]:
            with standing(self._place.job(peer, "stand"), self._floor):
                if peer == OURS:
                    self._place.take_settings()
                self._place.check_settings(peer)

    def lifecycle(self, number: int, peer: str) -> None:
        """One lifecycle without a ticker: its CPU is the peer's own."""
        job = self._place.job(peer, "lifecycle", previews=self._counts.previews, calls=self._counts.statuses)
        self._write(number, "lifecycle", peer, work(job, self._floor))

    def late(self, number: int, peer: str) -> None:
        """One lifecycle with a ticker on the loop."""
        counts = self._counts
        job = self._place.job(peer, "lifecycle", previews=counts.previews, calls=counts.statuses, ticker=True)
        with control_ticker() as control:
            told = work(job, self._floor)
        self._write(number, "lateness", peer, summary(told["ticks"], control, told["marks"]))

    def of_running_previews(self) -> None:
        """What needs previews that run all the time. Our service makes them."""
        counts, previews = self._counts, self._counts.previews
        with standing(self._place.job(OURS, "stand", previews=previews), self._floor):
            pages = self._place.pages(previews)
            for number in range(1, self._rounds + 1):
                for peer in self._turns(LIVE, number):
                    self.live(number, peer, pages, apart=False)
                    self.live(number, peer, pages, apart=True)
                for peer in self._turns(LISTING, number):
                    job = self._place.job(peer, "list", previews=previews, calls=counts.lists)
                    self._write(number, "list", peer, work(job, self._floor))
                for workload, calls in (("status_cached", counts.cached), ("threads", counts.threads)):
                    job = self._place.job(OURS, workload, previews=previews, calls=calls)
                    self._write(number, workload, OURS, work(job, self._floor))

    def live(self, number: int, peer: str, pages: list[str], *, apart: bool) -> None:
        """Live statuses, and how many requests came of them."""
        before = requests_of(pages)
        job = self._place.job(
            peer,
            "status_live",
            previews=len(pages),
            calls=self._counts.live,
            at_once=len(pages) if apart else AT_ONCE,
            apart=apart,
            urls=pages,
        )
        told = work(job, self._floor)
        requests = (requests_of(pages) - before) / (job.warm_up + job.calls)
        self._write(number, "status_apart" if apart else "status_live", peer, told | {"requests": requests})

    def _turns(self, peers: list[str], number: int) -> list[str]:
        """The chosen ones of these, in an order that is another one in each round."""
        chosen = [peer for peer in peers if peer in self._peers or peer == "aiohttp"]
        first = (number - 1) % len(chosen)
        return chosen[first:] + chosen[:first]

    def _write(self, number: int, workload: str, peer: str, told: dict[str, Any]) -> None:
        line = {"round": number, "workload": workload, "peer": peer, **told}
        self._out.write(json.dumps(line) + "\n")
        self._out.flush()
        print(f"{time.monotonic() - self._began:6.1f} s  round {number}  {workload:13}  {peer}", flush=True)


def machine(client: docker.DockerClient, wheel: Path) -> dict[str, Any]:
    """What the figures were taken on."""
    engine = client.version()
    return {
        "load": os.getloadavg()[0],
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "engine": f"{engine['Version']} (API {engine['ApiVersion']})",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "wheel_bytes": wheel.stat().st_size,
    }


def commit() -> str | None:
    """The commit that is measured; None where the sources are no checkout."""
    command = ["git", "-C", str(ROOT), "rev-parse", "--short=10", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
    except FileNotFoundError:
        return None


def main() -> None:
    """Runs everything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--floor", type=Path, required=True, help="the program of benches/peers/floor.rs")
    parser.add_argument("--wheel", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="file for the lines of JSON")
    given = parser.parse_args()
    # Ending this takes away what it made.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    try:
        choice = Choice.of_environment()
        with contextlib.closing(docker.from_env(timeout=120)) as client, given.out.open("w") as out:
            out.write(json.dumps({"machine": machine(client, given.wheel), **asdict(choice)}) + "\n")
            with (
                services.locked("bench"),
                place(client, node_image.image(client), choice.counts.previews, given.out.with_name("running")) as here,
            ):
                Run(here, given.floor, choice, out).all()
    except BenchError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

"""The processes that do the work: one at a time, each with a deadline."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from job import BenchError, Job

HERE = Path(__file__).resolve().parent
TIMEOUT = 300
"""Seconds that one piece of work may take."""


def _command(job: Job, floor: Path, file: Path) -> list[str]:
    program = [str(floor)] if job.peer == "floor" else [sys.executable, str(HERE / "worker.py")]
    return [*program, str(file)]


def work(job: Job, floor: Path) -> dict[str, Any]:
    """Has a piece of work done; gives what it told.

    Raises:
        BenchError: It failed, or took too long.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.json"
        job.write(file)
        try:
            done = subprocess.run(
                _command(job, floor, file), capture_output=True, text=True, timeout=TIMEOUT, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise BenchError(f"{job.peer}, {job.workload}: not done within {TIMEOUT} s") from error
    if done.returncode != 0:
        raise BenchError(f"{job.peer}, {job.workload}: {done.stderr.strip() or f'ended with {done.returncode}'}")
    told: dict[str, Any] = json.loads(done.stdout)
    return told


class _Companion:
    """A process that says a word once it is there, and ends with its standard input."""

    def __init__(self, name: str, command: list[str], word: str) -> None:
        self._name = name
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline().strip() != word:
            raise BenchError(f"{name}: {self.end()[1].strip()}")

    def end(self) -> tuple[str, str]:
        """Ends it; gives what it wrote."""
        try:
            return self._process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired as error:
            self._process.kill()
            raise BenchError(f"{self._name}: did not end within {TIMEOUT} s") from error

    def kill(self) -> None:
        """Ends it at once, if it still runs."""
        self._process.kill()
        self._process.communicate()


@contextlib.contextmanager
def standing(job: Job, floor: Path) -> Iterator[None]:
    """Previews of a peer, for as long as this lasts."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "job.json"
        job.write(file)
        companion = _Companion(f"{job.peer}, {job.workload}", _command(job, floor, file), "standing")
        try:
            yield
            companion.end()
        except BaseException:
            companion.kill()
            raise


@contextlib.contextmanager
def control_ticker() -> Iterator[list[tuple[float, float]]]:
    """The control, for as long as this lasts; then its ticks are in the list."""
    ticks: list[tuple[float, float]] = []
    control = _Companion("control", [sys.executable, str(HERE / "ticker.py")], "ticking")
    try:
        yield ticks
        ticks += json.loads(control.end()[0])
    except BaseException:
        control.kill()
        raise

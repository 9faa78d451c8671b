"""What this process has used."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Usage:
    """Seconds since some moment: on the clock, and of CPU of all threads of this process."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Usage:
        """As of now."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(time.monotonic(), used.ru_utime + used.ru_stime)

    def __sub__(self, earlier: Usage) -> Usage:
        return Usage(self.wall - earlier.wall, self.cpu - earlier.cpu)

    def per(self, calls: int) -> dict[str, float]:
        """Calls per second, and microseconds of CPU per call."""
        return {"calls": calls, "per_second": calls / self.wall, "cpu_us": self.cpu / calls * 1e6}


def threads() -> int:
    """The threads of this process."""
    return len(list(Path("/proc/self/task").iterdir()))


def sockets() -> int:
    """The open sockets of this process."""
    found = 0
    for file in Path("/proc/self/fd").iterdir():
        try:
            found += str(file.readlink()).startswith("socket:")
        except FileNotFoundError:  # The one that the listing itself had open.
            continue
    return found

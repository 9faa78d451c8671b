"""The lines of a run, and the numbers that are made of them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

OURS = "kosuke_docker"
Pick = Callable[[dict[str, Any]], float]


class Results:
    """What a run has measured."""

    def __init__(self, file: Path) -> None:
        head, *lines = (json.loads(line) for line in file.read_text().splitlines())
        self.head: dict[str, Any] = head
        self._lines: list[dict[str, Any]] = lines

    def rounds(self, workload: str, peer: str) -> dict[int, dict[str, Any]]:
        """What a peer told of a workload, by the round."""
        return {line["round"]: line for line in self._lines if (line["workload"], line["peer"]) == (workload, peer)}

    def peers(self, workload: str) -> list[str]:
        """Those that were measured: ours first, the others as the run names them."""
        found = {line["peer"] for line in self._lines if line["workload"] == workload}
        order = [*self.head["peers"], "aiohttp"]
        return sorted(found, key=order.index)

    def values(self, workload: str, peer: str, pick: Pick) -> list[float]:
        """One number of each round."""
        return [pick(line) for line in self.rounds(workload, peer).values()]

    def ratios(self, workload: str, peer: str, pick: Pick) -> list[float]:
        """Ours divided by the peer's, in each round."""
        ours, theirs = self.rounds(workload, OURS), self.rounds(workload, peer)
        return [pick(ours[number]) / pick(theirs[number]) for number in ours.keys() & theirs.keys()]


def spread(values: Iterable[float], digits: int = 2) -> str:
    """The median, and the least and the greatest."""
    known = sorted(values)
    if not known:
        return ""
    middle, least, most = (
        # Without the sign of a zero.
        f"{round(value, digits) + 0:,.{digits}f}"
        for value in (statistics.median(known), known[0], known[-1])
    )
    return middle if least == most else f"{middle} ({least} to {most})"

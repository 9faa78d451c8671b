"""What ticks tell of how late a loop was."""

from __future__ import annotations

import math
from typing import Any

STEP = 0.05
"""Seconds of one point of the chart."""

Ticks = list[tuple[float, float]]


def summary(ticks: Ticks, control: Ticks, marks: list[float]) -> dict[str, Any]:
    """The lateness of a loop between the first and the last mark, beside that of the control at the same time."""
    began, ended = marks[0], marks[-1]
    told: dict[str, Any] = {"marks": [mark - began for mark in marks]}
    for name, of in (("loop", ticks), ("control", control)):
        # Also the tick that was due before the end and came after it.
        within = [(at, late) for at, late in of if began <= at and at - late <= ended]
        lates = sorted(late for _, late in within)
        told[name] = {
            "max_ms": lates[-1] * 1e3,
            "p99_ms": lates[math.ceil(len(lates) * 0.99) - 1] * 1e3,
            # Of the time of the run.
            "late_share": sum(lates) / (ended - began),
            "line": _line(within, began, ended),
        }
    return told


def _line(ticks: Ticks, began: float, ended: float) -> list[float]:
    """The greatest lateness in each step, in milliseconds. A late tick counts in all the steps that it was late for."""
    line = [0.0] * (int((ended - began) / STEP) + 1)
    for at, late in ticks:
        first, last = (int((moment - began) / STEP) for moment in (at - late, at))
        for step in range(max(0, first), min(last + 1, len(line))):
            line[step] = max(line[step], late * 1e3)
    return [round(value, 3) for value in line]

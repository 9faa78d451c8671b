"""The chart: how late the loop of each peer was, over the time of a lifecycle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lateness import STEP
from matplotlib import pyplot
from results import Results

LEAST_MS = 0.1
MOST_MS = 200_000
STAGES = ("start", "statuses", "stop")


def draw(results: Results, file: Path) -> None:
    """A panel for each peer: the round whose greatest lateness is the median one."""
    peers = results.peers("lateness")
    rounds = [_middle(list(results.rounds("lateness", peer).values())) for peer in peers]
    longest = max(line["marks"][-1] for line in rounds)
    figure, panels = pyplot.subplots(len(peers), sharex=True, sharey=True, squeeze=False, figsize=(9, 1.7 * len(peers)))
    for panel, peer, line in zip(panels[:, 0], peers, rounds, strict=True):
        for name, colour in (("loop", "#c0392b"), ("control", "#7f8c8d")):
            late = [max(LEAST_MS, value) for value in line[name]["line"]]
            panel.fill_between([number * STEP for number in range(len(late))], LEAST_MS, late, color=colour, lw=0)
        for begin, end, stage in zip(line["marks"], line["marks"][1:], STAGES, strict=False):
            panel.axvline(end, color="#34495e", lw=0.6)
            panel.text((begin + end) / 2, MOST_MS / 6, stage, ha="center", fontsize=7, color="#34495e")
        panel.set_yscale("log")
        panel.set_ylim(LEAST_MS, MOST_MS)
        panel.set_yticks([1, 100, 10_000], ["1 ms", "100 ms", "10 s"], fontsize=8)
        panel.set_xlim(0, longest)
        worst = f"{line['loop']['max_ms']:,.0f} ms at the worst, the control {line['control']['max_ms']:,.0f} ms"
        panel.set_title(f"{peer}: {worst}", loc="left", fontsize=9)
        panel.grid(visible=True, axis="y", lw=0.3)
    panels[-1, 0].set_xlabel(
        "seconds; red: the peer's loop, grey: a loop in a process that does nothing else", fontsize=8
    )
    previews = results.head["counts"]["previews"]
    figure.suptitle(f"How late the event loop is while {previews} previews start, are asked, and stop", fontsize=11)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def _middle(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    return sorted(rounds, key=lambda line: float(line["loop"]["max_ms"]))[len(rounds) // 2]

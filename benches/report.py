#!/usr/bin/env python3
"""Writes RESULTS.md and the chart from the lines of a run: report.py LINES FOLDER."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import chart
from results import OURS, Pick, Results, spread

MEGABYTE = 1e6


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return ["", *(f"| {' | '.join(cells)} |" for cells in lines), ""]


def of(name: str) -> Pick:
    """Picks one number."""
    return lambda line: float(line[name])


def beyond_control(name: str) -> Pick:
    """How much greater a number of the loop is than the control's at the same time."""
    return lambda line: float(line["loop"][name] - line["control"][name])


def changes(line: dict[str, Any]) -> float:
    """The seconds of the lifecycle in which containers change."""
    return float(line["start_s"] + line["stop_s"])


def _ratio(results: Results, workload: str, peer: str, pick: Pick) -> str:
    return "" if peer == OURS else spread(results.ratios(workload, peer, pick))


def opening(results: Results) -> list[str]:
    """Where and when."""
    machine, rounds = results.head["machine"], results.head["rounds"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    lines = [
        "# Results",
        "",
        "`make bench` writes this file. [README.md](README.md) says what is measured, and what the numbers do not say.",
        "",
        f"- {machine['date']}, commit {machine['commit']}, {rounds} rounds; each number is the median of the rounds, "
        "with the least and the greatest in brackets",
        f"- {machine['cores']} cores, {machine['memory_gib']} GiB of memory, Linux {machine['kernel']}; the load "
        f"average of the minute before the run was {machine['load']:.1f}",
        f"- Docker Engine {machine['engine']}, Python {machine['python']}, {packages}",
        "- a ratio is ours divided by the peer's of the same round",
    ]
    if results.head["quick"]:
        lines.append("- **a quick run: the numbers say only that everything works**")
    return lines


def targets(results: Results) -> list[str]:
    """What is aimed at, and what it is now."""

    def row(what: str, target: str, values: Sequence[float], digits: int = 2) -> list[str]:
        return [what, target, spread(values, digits) or "not measured"]

    cached = results.rounds("status_cached", OURS).values()
    live, lifecycle, late = "status_live", "lifecycle", "lateness"
    rate, cpu = of("per_second"), of("cpu_us")
    rows = [
        row(
            "cached `get_preview_status`, per second",
            "≥ 100,000",
            [x["get_preview_status"]["per_second"] for x in cached],
            0,
        ),
        row("the same, µs of CPU", "≤ 10", [x["get_preview_status"]["cpu_us"] for x in cached], 1),
        row("cached `get_preview`, per second", "≥ 40,000", [x["get_preview"]["per_second"] for x in cached], 0),
        row("live status, per second, ours / pooled aiohttp", "≥ 1.5", results.ratios(live, "aiohttp", rate)),
        row("the same, CPU", "≤ 0.6", results.ratios(live, "aiohttp", cpu)),
        row("the same without shared answers, per second", "", results.ratios("status_apart", "aiohttp", rate)),
        row("the same without shared answers, CPU", "", results.ratios("status_apart", "aiohttp", cpu)),
        row("CPU of a lifecycle, ours / aiodocker", "≤ 0.25", results.ratios(lifecycle, "aiodocker", of("cpu_s"))),
        row("wall of start and stop, ours / floor", "≤ 1.05", results.ratios(lifecycle, "floor", changes)),
        row("worst lateness beyond the control, ms", "≤ 5", results.values(late, OURS, beyond_control("max_ms")), 1),
        row("threads while statuses are awaited at once", "≤ 6", results.values("threads", OURS, of("threads")), 0),
        row("constructing `DockerService()`, µs", "≤ 20", results.values("import", OURS, of("service_us")), 1),
        row("`import kosuke_docker` after pydantic, ms", "≤ 15", results.values("import", OURS, of("import_ms")), 1),
        row("wheel, MB", "≤ 6", [results.head["machine"]["wheel_bytes"] / MEGABYTE]),
        row("listing, wall, ours / floor", "≤ 1.2", [1 / x for x in results.ratios("list", "floor", rate)]),
    ]
    return ["", "## Targets", *table(["what", "target", "now"], rows)]


def lifecycle(results: Results) -> list[str]:
    """Start, statuses, stop."""
    counts = results.head["counts"]
    peers = results.peers("lifecycle")

    def cells(peer: str, names: Sequence[str]) -> list[str]:
        return [spread(results.values("lifecycle", peer, of(name))) for name in names]

    seconds = [
        [peer, *cells(peer, ["start_s", "statuses_s", "stop_s", "wall_s"]), _ratio(results, "lifecycle", peer, changes)]
        for peer in peers
    ]
    cpu = [
        [
            peer,
            *cells(peer, ["cpu_start_s", "cpu_statuses_s", "cpu_stop_s", "cpu_s"]),
            _ratio(results, "lifecycle", peer, of("cpu_s")),
        ]
        for peer in peers
    ]
    return [
        "",
        "## Lifecycle",
        "",
        f"{counts['previews']} previews start at once until all pages have answered; {counts['statuses']:,} live "
        "statuses, 32 at a time; all stop at once. No ticker runs.",
        "",
        "Seconds on the clock:",
        *table(["peer", "start", "statuses", "stop", "all", "ours / peer, start and stop"], seconds),
        "Seconds of CPU of the peer's process:",
        *table(["peer", "start", "statuses", "stop", "all", "ours / peer, all"], cpu),
    ]


def lateness(results: Results) -> list[str]:
    """The loop's lateness."""
    rows = []
    for peer in results.peers("lateness"):
        numbers = [results.values("lateness", peer, beyond_control(name)) for name in ("max_ms", "p99_ms")]
        share = results.values("lateness", peer, lambda line: 100 * beyond_control("late_share")(line))
        rows.append([peer, *(spread(values, 1) for values in numbers), spread(share, 1)])
    head = ["peer", "worst, ms beyond the control", "p99 of the ticks, ms beyond", "% of the time late, beyond"]
    return [
        "",
        "## Lateness of the loop",
        "",
        "The same lifecycle with a ticker of 1 ms on the loop, and such a ticker in another process at the same time.",
        "",
        "![The lateness of each peer's loop over time](lateness.png)",
        *table(head, rows),
    ]


def calls(results: Results, workload: str, title: str, words: str) -> list[str]:
    """Calls per second, and their CPU."""
    rows = []
    for peer in results.peers(workload):
        rate, cpu = (results.values(workload, peer, of(name)) for name in ("per_second", "cpu_us"))
        ratios = [_ratio(results, workload, peer, of(name)) for name in ("per_second", "cpu_us")]
        rows.append([peer, spread(rate, 0), spread(cpu, 0), *ratios])
    head = ["peer", "per second", "µs of CPU each", "ours / peer, per second", "ours / peer, CPU"]
    return ["", f"## {title}", "", words, *table(head, rows)]


def live(results: Results) -> list[str]:
    """Live statuses."""
    counts = results.head["counts"]

    def sent(workload: str) -> str:
        return spread(results.values(workload, OURS, of("requests")))

    words = (
        f"{counts['live']:,} live statuses of {counts['previews']} previews that run, 32 at a time. `aiohttp` and "
        "`floor` are plain GETs through kept connections; docker_py_blocking opens a session for each, as the older "
        f"service did. Ours sent {sent('status_live')} requests per status: who asks while a request for the same page "
        "is on its way shares its answer."
    )
    apart = (
        f"The same, but each preview is asked by one caller, {counts['previews']} at a time, so that there is nothing "
        f"to share: ours sent {sent('status_apart')} requests per status."
    )
    return [
        *calls(results, "status_live", "Live statuses", words),
        *calls(results, "status_apart", "Live statuses, one caller for each preview", apart),
    ]


def ours_alone(results: Results) -> list[str]:
    """What has no peer."""
    counts = results.head["counts"]
    cached = results.rounds("status_cached", OURS).values()
    rows = [
        [
            f"`{name}`",
            spread([line[name]["per_second"] for line in cached], 0),
            spread([line[name]["cpu_us"] for line in cached], 1),
        ]
        for name in ("get_preview_status", "get_preview")
    ]

    def value(workload: str, name: str, digits: int) -> str:
        return spread(results.values(workload, OURS, of(name)), digits)

    others = [
        [
            f"threads of ours while {counts['threads']:,} live statuses are awaited at once",
            value("threads", "threads", 0),
        ],
        ["`from pydantic import BaseModel, TypeAdapter`, ms", value("import", "pydantic_ms", 1)],
        ["`import kosuke_docker` after it, ms", value("import", "import_ms", 1)],
        ["the same, ms of CPU", value("import", "import_cpu_ms", 1)],
        ["the first `DockerService()`, µs", value("import", "first_service_us", 0)],
        ["each further one, µs", value("import", "service_us", 1)],
        ["the same, µs of CPU", value("import", "service_cpu_us", 1)],
        [
            "threads and sockets that this opened",
            f"{value('import', 'threads', 0)} and {value('import', 'sockets', 0)}",
        ],
        ["the wheel, MB", f"{results.head['machine']['wheel_bytes'] / MEGABYTE:.2f}"],
    ]
    return [
        "",
        "## Ours alone",
        "",
        f"{counts['cached']:,} calls one after the other, of a preview that is known, with the default "
        "`PREVIEW_PROBE_TTL`: once a second one of them asks for the page.",
        *table(["call", "per second", "µs of CPU each"], rows),
        *table(["what", "value"], others),
    ]


def each_round(results: Results) -> list[str]:
    """The numbers behind the medians that matter most."""
    rows = [
        [
            name,
            peer,
            " ".join(f"{round(value, digits) + 0:.{digits}f}" for value in results.values(workload, peer, pick)),
        ]
        for name, workload, pick, digits in (
            ("lifecycle, s of CPU", "lifecycle", of("cpu_s"), 2),
            ("lifecycle, s of start and stop", "lifecycle", changes, 2),
            ("worst lateness, ms beyond the control", "lateness", beyond_control("max_ms"), 1),
            ("live statuses per second", "status_live", of("per_second"), 0),
            ("live status, µs of CPU", "status_live", of("cpu_us"), 0),
        )
        for peer in results.peers(workload)
    ]
    return ["", "## Each round", *table(["what", "peer", "rounds, in their order"], rows)]


def main() -> None:
    """Writes both."""
    results, folder = Results(Path(sys.argv[1])), Path(sys.argv[2])
    listing = (
        f"{results.head['counts']['previews']} previews that run, one listing after the other. docker-py inspects each "
        "container that it lists. Ours also asks each page that has not been asked for a second."
    )
    lines = [
        *opening(results),
        *targets(results),
        *lifecycle(results),
        *lateness(results),
        *live(results),
        *calls(results, "list", "Listing", listing),
        *ours_alone(results),
        *each_round(results),
    ]
    text = "\n".join(lines).replace("\n\n\n", "\n\n").rstrip() + "\n"
    (folder / "RESULTS.md").write_text(text)
    chart.draw(results, folder / "lateness.png")
    print(f"{folder / 'RESULTS.md'}, {folder / 'lateness.png'}")


if __name__ == "__main__":
    main()

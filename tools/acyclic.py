#!/usr/bin/env python3
"""Refuses circles between the core's modules, and calls from a lower room to a higher one.

    cargo modules dependencies --lib | python3 tools/acyclic.py

Reads the graph of cargo-modules: what each item names in its imports, fields and signatures; a method counts to the
module of its type. `cargo modules --acyclic` itself refuses every type that names itself in a method, so the items are
counted to their modules here. A module and its folder may name each other: the folder only hands names on.
Standard library only.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter

CRATE = "kosuke_docker"
# Each room may name those below it, and nobody above. ARCHITECTURE.md has the table.
FLOORS = [
    {"python"},
    {"compat"},
    {"service"},
    {"sync"},
    {"state"},
    {"environment", "folder"},
    {"error"},
    {"engine", "database", "probe", "readiness", "settings"},
    {"preview", "id", "credentials", "containment", "rules", "lock", "tasks", "tls"},
]
NODE = re.compile(r'\s*"([^"]+)" \[label="([^"]*)"')
USE = re.compile(r'\s*"([^"]+)" -> "([^"]+)" \[label="uses"')


def _edges(graph: str) -> dict[str, set[str]]:
    """Which module names which."""
    modules: set[str] = set()
    uses: list[tuple[str, str]] = []
    for line in graph.splitlines():
        if use := USE.match(line):
            uses.append((use[1], use[2]))
        elif (node := NODE.match(line)) and re.search(r"(^| )(mod|crate)\|", node[2]):
            modules.add(node[1])

    def module(item: str) -> str:
        while item not in modules and "::" in item:
            item = item.rpartition("::")[0]
        return item

    edges: dict[str, set[str]] = defaultdict(set)
    for user, used in uses:
        one, other = module(user), module(used)
        nested = f"{one}::".startswith(f"{other}::") or f"{other}::".startswith(f"{one}::")
        if not nested:
            edges[one].add(other)
    return edges


def _floor(module: str) -> int | None:
    room = module.removeprefix(f"{CRATE}::").partition("::")[0]
    return next((floor for floor, rooms in enumerate(FLOORS) if room in rooms), None)


def main() -> int:
    """Checks the graph on standard input."""
    edges = _edges(sys.stdin.read())
    if not edges:
        print("error: there is no graph on standard input", file=sys.stderr)
        return 1
    problems = []
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        problems.append(f"a circle: {' -> '.join(reversed(error.args[1]))}")
    for user, used in sorted((user, used) for user, all_used in edges.items() for used in all_used):
        above, below = _floor(user), _floor(used)
        if above is None or below is None:
            # The crate's own root only names its rooms.
            if CRATE not in (user, used):
                problems.append(f"a room without a floor: {user} or {used}")
        elif above > below:
            problems.append(f"{user} names {used}, which is above it")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

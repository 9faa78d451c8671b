"""The example's lock file: `npm ci` refuses one that lacks anything that a package of it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "nextjs"


def missing(packages: dict[str, Any]) -> list[str]:
    """What packages name and the lock file lacks, also for other platforms."""
    found = []
    for place, package in packages.items():
        peers = {
            name
            for name in package.get("peerDependencies", {})
            if not package.get("peerDependenciesMeta", {}).get(name, {}).get("optional")
        }
        for name in {*package.get("dependencies", {}), *package.get("optionalDependencies", {}), *peers}:
            # As node looks for it: in the package's own folder, then in those above.
            parts = place.split("/node_modules/") if place else []
            places = ["/node_modules/".join(parts[:depth]) for depth in range(len(parts), -1, -1)]
            if not any(f"{above}/node_modules/{name}".lstrip("/") in packages for above in places):
                found.append(f"{name} of {place or 'package.json'}")
    return found


def test_npm_ci_takes_the_lock_file_of_the_example() -> None:
    package = json.loads((EXAMPLE / "package.json").read_text())
    lock = json.loads((EXAMPLE / "package-lock.json").read_text())
    assert lock["packages"][""]["dependencies"] == package["dependencies"]
    for name, version in package["dependencies"].items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
    assert missing(lock["packages"]) == []

"""Node packages for project folders: installed once into .build, then shared by every copy as hard links."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path

from node_image import BUILD, find_node
from services import locked

NEWEST = "2026-11-20"
"""Without a lock file, dependencies of dependencies are those of this day, so that later runs install the same."""


def installed(name: str, files: Mapping[str, str]) -> Path:
    """The node_modules of this package.json, and this package-lock.json if there is one.

    Args:
        name: What its folder is called, with the files' digest.
        files: The texts of package.json and package-lock.json by name.
    """
    digest = hashlib.sha256(repr((sorted(files.items()), NEWEST)).encode()).hexdigest()[:12]
    home = BUILD / f"{name}-{digest}"
    with locked(home.name):
        if home.exists():
            return home / "node_modules"
        work = home.with_suffix(".part")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        for file, text in files.items():
            (work / file).write_text(text)
        # `ci` refuses a lock file that does not fit, as it does for whoever tries the example.
        how = ("ci",) if "package-lock.json" in files else ("install", f"--before={NEWEST}")
        find_node().run_npm(*how, "--no-audit", "--no-fund", "--ignore-scripts", cwd=work)
        work.rename(home)
    return home / "node_modules"


def link(modules: Path, project: Path) -> None:
    """Gives a project's folder these node_modules."""
    shutil.copytree(modules, project / "node_modules", symlinks=True, copy_function=_link)


def _link(source: str, target: str) -> str:
    Path(target).hardlink_to(source)
    return target

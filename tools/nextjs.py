"""The example app as project folders: its dependencies are installed once, and every copy shares their files."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from node_image import BUILD, find_node

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "nextjs"
FILES = ("package.json", "package-lock.json", "app")


def _installed() -> Path:
    """The folder with the app's node_modules, made if it is missing or of another lock file."""
    digest = hashlib.sha256((EXAMPLE / "package-lock.json").read_bytes()).hexdigest()[:12]
    home = BUILD / f"nextjs-{digest}"
    if not home.exists():
        work = home.with_suffix(".part")
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(EXAMPLE / name, work)
        # Not `ci`: a registry may lack the optional packages of other platforms, and then the lock file does, too.
        find_node().run_npm("install", "--no-audit", "--no-fund", "--ignore-scripts", cwd=work)
        work.rename(home)
    return home


def copy(project: Path) -> Path:
    """Makes the example app a project's folder; node_modules are hard links."""
    modules = _installed() / "node_modules"
    shutil.rmtree(project, ignore_errors=True)
    project.mkdir(parents=True)
    for name in FILES:
        source = EXAMPLE / name
        if source.is_dir():
            shutil.copytree(source, project / name)
        else:
            shutil.copy(source, project)
    shutil.copytree(modules, project / "node_modules", symlinks=True, copy_function=_link)
    return project


def _link(source: str, target: str) -> str:
    Path(target).hardlink_to(source)
    return target

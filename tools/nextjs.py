"""The example app as a project's folder, with its own version of Next.js or another one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import npm

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "nextjs"
LOCK = "package-lock.json"
OTHERS = ("15.5.29",)
"""Other versions of Next.js that the app is tested with."""


def copy(project: Path, version: str | None = None) -> Path:
    """Copies the example app into a project's folder.

    Args:
        project: The folder; its old contents are removed.
        version: The version of Next.js; the example's own by default.
    """
    shutil.rmtree(project, ignore_errors=True)
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("node_modules", ".next"))
    if version is not None:
        package = json.loads((project / "package.json").read_text())
        package["dependencies"]["next"] = version
        (project / "package.json").write_text(json.dumps(package, indent=2))
        (project / LOCK).unlink()
    names = ("package.json", LOCK)
    files = {name: (project / name).read_text() for name in names if (project / name).exists()}
    npm.link(npm.installed("nextjs", files), project)
    return project

#!/usr/bin/env python3
"""A virtual environment on the Python of another Debian release: pythons.py SUITE VERSION FOLDER [PIP ARGUMENT ...]."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import debian
import services

PIP = "pip==25.3"


def main() -> int:
    """Makes it anew."""
    if len(sys.argv[1:]) < len(("suite", "version", "folder")):
        services.stop("usage: pythons.py SUITE VERSION FOLDER [PIP ARGUMENT ...]")
    suite, version, folder, *requirements = sys.argv[1:]
    root = debian.unpacked(suite, f"python{version}", f"python{version}-venv")
    python = debian.program(root, f"usr/bin/python{version}")
    shutil.rmtree(folder, ignore_errors=True)
    # Debian keeps the pip of ensurepip at a path of its own machine.
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    pip = services.BUILD / "pip"
    with services.locked("pip"):
        if not pip.exists():
            subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", pip, PIP], check=True)
    inside = Path(folder) / "bin" / "python"
    command = [str(inside), str(pip / "pip"), "install", "--quiet", "--disable-pip-version-check", *requirements]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

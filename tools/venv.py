#!/usr/bin/env python3
"""Makes a clean virtual environment and installs into it: venv.py FOLDER [PIP ARGUMENT ...]. Standard library only."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from services import BUILD, install, stop

OLDEST = (3, 11)


def main() -> None:
    """Makes it anew."""
    folder, requirements = Path(sys.argv[1]), sys.argv[2:]
    if sys.version_info < OLDEST:
        stop(f"Python {'.'.join(map(str, OLDEST))} or newer is needed, this is {sys.version.split()[0]}")
    BUILD.mkdir(exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    command = [sys.executable, "-m", "venv", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        # Debian and Ubuntu keep a part of venv in a package of its own.
        install(f"python{sys.version_info.major}.{sys.version_info.minor}-venv")
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(command, check=True)
    if requirements:
        pip = [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", *requirements]
        sys.exit(subprocess.run(pip, check=False).returncode)


if __name__ == "__main__":
    main()

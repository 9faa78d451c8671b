#!/usr/bin/env python3
"""A virtual environment with the wheel, on the Python of another Debian release.

    python3 tools/pythons.py SUITE VERSION FOLDER MATURIN WHEEL [PIP ARGUMENT ...]

A version such as `3.13t` is the free-threaded build. Debian does not package it: it is made of Debian's source.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import debian
import services

PIP = "pip==25.3"
LIBRARIES = ("libbz2-dev", "libffi-dev", "liblzma-dev", "libsqlite3-dev", "libssl-dev", "zlib1g-dev")


def built(suite: str, version: str) -> Path:
    """A free-threaded Python, made of its source once."""
    source = debian.source(suite, f"python{version.removesuffix('t')}")
    root = source.parent / f"python{version}"
    python = root / "bin" / f"python{version}"
    with services.locked(f"python{version}"):
        if not python.exists():
            services.install("make", *LIBRARIES)
            log = source / "build.log"
            with log.open("wb") as output:
                for command in (
                    ["./configure", "--disable-gil", "--disable-test-modules", f"--prefix={root}"],
                    ["make", f"-j{os.cpu_count()}"],
                    ["make", "install"],
                ):
                    if subprocess.run(command, cwd=source, stdout=output, stderr=output, check=False).returncode != 0:
                        services.stop(f"{' '.join(command)} failed; see {log}")
    return python


def packaged(suite: str, version: str) -> Path:
    """A Python of Debian's own."""
    root = debian.unpacked(suite, f"python{version}", f"python{version}-venv")
    return debian.program(root, f"usr/bin/python{version}")


def main() -> int:
    """Makes it anew."""
    if len(sys.argv[1:]) < len(("suite", "version", "folder", "maturin", "wheel")):
        services.stop("usage: pythons.py SUITE VERSION FOLDER MATURIN WHEEL [PIP ARGUMENT ...]")
    suite, version, folder, maturin, wheel, *requirements = sys.argv[1:]
    free_threaded = version.endswith("t")
    python = built(suite, version) if free_threaded else packaged(suite, version)
    shutil.rmtree(folder, ignore_errors=True)
    # Debian keeps the pip of ensurepip at a path of its own machine.
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    inside = Path(folder) / "bin" / "python"
    if free_threaded:
        # abi3, which the wheel for all others uses, does not cover it.
        made = Path(folder) / "dist"
        build = [maturin, "build", "--release", "--locked", "--interpreter", str(inside), "--out", str(made)]
        subprocess.run(build, check=True)
        [wheel] = map(str, made.iterdir())
    pip = services.BUILD / "pip"
    with services.locked("pip"):
        if not pip.exists():
            subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--target", pip, PIP], check=True)
    install = [inside, pip / "pip", "install", "--quiet", "--disable-pip-version-check", wheel, *requirements]
    return subprocess.run(list(map(str, install)), check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

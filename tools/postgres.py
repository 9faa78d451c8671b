#!/usr/bin/env python3
"""Runs a command for which tools/services.py takes the Postgres of another Debian release.

python3 tools/postgres.py SUITE VERSION -- COMMAND [ARG ...]
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import debian
import services

PROGRAMS = ("initdb", "pg_config", "pg_ctl", "postgres")


def prepare(suite: str, version: str) -> Path:
    """The folder with the server's programs."""
    folder = Path("usr", "lib", "postgresql", version, "bin")
    root = debian.unpacked(suite, f"postgresql-{version}")
    for name in PROGRAMS:
        debian.program(root, str(folder / name))
    return root / folder


def main() -> int:
    """Runs the command."""
    if sys.argv[3:4] != ["--"] or not sys.argv[4:]:
        services.stop("usage: postgres.py SUITE VERSION -- COMMAND [ARG ...]")
    environment = {**os.environ, "POSTGRES_PROGRAMS": str(prepare(sys.argv[1], sys.argv[2]))}
    return subprocess.run(sys.argv[4:], env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())

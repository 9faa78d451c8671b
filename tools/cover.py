#!/usr/bin/env python3
"""Measures how much of the Rust and the Python code the tests run, and prints both figures.

    python3 tools/cover.py PYTHON MATURIN TESTS ...

PYTHON belongs to an environment with the tests' requirements and coverage.py; the instrumented wheel is installed into
it. `make coverage` runs this. Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from services import BUILD, install, stop

TARGET = BUILD / "coverage-target"
"""Instrumented builds, apart from the others: other flags build everything anew."""
DATA = BUILD / "coverage.python"
TOOLS = {"LLVM_COV": "llvm-cov", "LLVM_PROFDATA": "llvm-profdata"}


def output(*command: str, env: dict[str, str] | None = None) -> str:
    """What a program prints; ends this program if it fails."""
    return subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True).stdout


def llvm() -> dict[str, str]:
    """The programs of the compiler's LLVM version, as cargo-llvm-cov's variables: rustup's or the distribution's."""
    version = output("rustc", "-vV")
    host, major = (re.search(rf"^{key}: (\w[\w-]*)", version, re.M) for key in ("host", "LLVM version"))
    if host is None or major is None:
        stop(f"rustc names no host and LLVM version: {version}")
    component = Path(output("rustc", "--print", "sysroot").strip()) / "lib" / "rustlib" / host[1] / "bin"
    folders = [component, Path(f"/usr/lib/llvm-{major[1]}/bin")]
    for folder in folders:
        if all((folder / tool).exists() for tool in TOOLS.values()):
            return {name: str(folder / tool) for name, tool in TOOLS.items()}
    install(f"llvm-{major[1]}")
    return {name: str(folders[-1] / tool) for name, tool in TOOLS.items()}


def instrumented() -> dict[str, str]:
    """The environment in which cargo builds with counters, and programs write them."""
    environment = {**os.environ, **llvm(), "CARGO_TARGET_DIR": str(TARGET)}
    lines = output("cargo", "llvm-cov", "show-env", env=environment).splitlines()
    variables = dict(shlex.split(line)[0].split("=", 1) for line in lines)
    return {**environment, **variables, "COVERAGE_FILE": str(DATA)}


def main() -> int:
    """Builds, tests, reports; the tests' own failure does not keep the figures back."""
    python, maturin, *tests = sys.argv[1:]
    environment = instrumented()
    dist = TARGET / "dist"

    def run(*command: str, check: bool = True) -> int:
        return subprocess.run(command, env=environment, check=check).returncode

    run("cargo", "llvm-cov", "clean", "--workspace")
    failed = run("cargo", "test", "--locked", "--no-default-features", check=False)
    shutil.rmtree(dist, ignore_errors=True)
    run(maturin, "build", "--locked", "--profile", "dev", "--out", str(dist))
    [wheel] = dist.glob("*.whl")
    run(
        python,
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        "--force-reinstall",
        "--no-deps",
        str(wheel),
    )
    # Not pytest-cov: pytest imports our plugin, and with it the package, before that begins to measure.
    failed |= run(python, "-m", "coverage", "run", "--source=kosuke_docker", "-m", "pytest", *tests, check=False)
    run(python, "-m", "coverage", "report", "--skip-covered")
    run("cargo", "llvm-cov", "report")
    rust = json.loads(output("cargo", "llvm-cov", "report", "--json", "--summary-only", env=environment))
    share = rust["data"][0]["totals"]["lines"]["percent"]
    total = output(python, "-m", "coverage", "report", "--format=total", "--precision=1", env=environment).strip()
    print(f"\nlines that {' '.join(tests)} and the Rust tests run: Rust {share:.1f} %, Python {total} %")
    return failed


if __name__ == "__main__":
    sys.exit(main())

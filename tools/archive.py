"""Images made of this machine's files by `docker import`, for machines without a registry."""

from __future__ import annotations

import io
import json
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import docker
import services

APPLETS = (
    "sh",
    "cat",
    "echo",
    "env",
    "id",
    "kill",
    "ls",
    "mkdir",
    "mv",
    "printf",
    "ps",
    "rm",
    "sleep",
    "touch",
    "wget",
)


class Archive:
    """The root file system of an image, made of files of this machine."""

    def __init__(self, tar: tarfile.TarFile) -> None:
        self._tar = tar
        self._names: set[str] = set()

    def folder(self, name: str, mode: int = 0o755, owner: int = 0) -> None:
        """An empty folder."""
        entry = tarfile.TarInfo(name.lstrip("/"))
        entry.type, entry.mode, entry.uid, entry.gid = tarfile.DIRTYPE, mode, owner, owner
        self._tar.addfile(entry)

    def text(self, name: str, text: str) -> None:
        """A file with this text."""
        data = text.encode()
        entry = tarfile.TarInfo(name.lstrip("/"))
        entry.size = len(data)
        self._tar.addfile(entry, io.BytesIO(data))

    def link(self, name: str, target: str) -> None:
        """A symbolic link."""
        entry = tarfile.TarInfo(name.lstrip("/"))
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, target, 0o777
        self._tar.addfile(entry)

    def add(self, source: Path, name: str, leave_out: Iterable[str] = ()) -> None:
        """A file or folder of this machine, without paths that have a part of these names. A symlink is followed."""
        if name in self._names:
            return
        self._names.add(name)
        skipped = set(leave_out)

        def keep(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
            return None if skipped & set(Path(entry.name).parts) else entry

        self._tar.add(source.resolve(), arcname=name.lstrip("/"), filter=keep)

    def libraries(self, *binaries: Path) -> None:
        """The libraries that these programs and libraries are linked against."""
        for binary in binaries:
            found = subprocess.run(["ldd", binary], capture_output=True, text=True, check=False).stdout
            for path in re.findall(r"(/\S+)", found):
                self.add(Path(path), path)

    def shell(self) -> None:
        """A shell with the common programs, and the files that every system has."""
        for name, mode in (("tmp", 0o1777), ("root", 0o700), ("app", 0o755), ("etc", 0o755)):
            self.folder(name, mode)
        self.add(_busybox(), "/bin/busybox")
        for applet in APPLETS:
            self.link(f"/bin/{applet}", "busybox")
        self.link("/usr/bin/env", "/bin/busybox")
        self.text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nworker:x:999:999::/tmp:/bin/sh\n")
        self.text("/etc/group", "root:x:0:\nworker:x:999:\n")
        self.text("/etc/nsswitch.conf", "hosts: files dns\n")


def _busybox() -> Path:
    for candidate in ("/bin/busybox", "/usr/bin/busybox"):
        path = Path(candidate)
        # A static binary: ldd fails on it.
        if path.exists() and subprocess.run(["ldd", path], capture_output=True, check=False).returncode != 0:
            return path
    services.install("busybox-static")
    return Path("/bin/busybox")


def make(client: docker.DockerClient, reference: str, fill: Callable[[Archive], None], *changes: str) -> str:
    """Makes an image of the files that `fill(archive)` adds; returns its reference."""
    repository, _, tag = reference.partition(":")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.tar"
        with tarfile.open(path, "w") as tar:
            fill(Archive(tar))
        answer = client.api.import_image_from_file(str(path), repository=repository, tag=tag, changes=list(changes))
    last = json.loads(answer.splitlines()[-1])
    if "error" in last:
        raise RuntimeError(last["error"])
    return reference

"""Where a run happens: projects, a network, a name of its own on the engine, and the containers' common settings.

All of it is taken away at the end, also of a run that failed; what a killed run left, by the next one.
"""

from __future__ import annotations

import contextlib
import secrets
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError, NotFound
from job import LABEL, BenchError, Job
from peers.pages import page_of

APP = Path(__file__).resolve().parent / "server.js"
FIRST_PORT, LAST_PORT = 21000, 21999
FIRST_WITHOUT_DEADLOCK = (1, 42)
"""The API from which on any number of containers may start at once: see `src/engine/docker/throttle.rs`."""
CHANGES_AT_ONCE = 4
MANY = 64


class Place:
    """The place of one run."""

    def __init__(self, client: DockerClient, image: str, projects: Path, previews: int) -> None:
        self._client = client
        self._image = image
        self._projects = projects
        self.token = secrets.token_hex(3)
        self.network = f"kt-bench-{self.token}"
        self.create: dict[str, Any] = {}
        version = tuple(int(part) for part in client.version()["ApiVersion"].split("."))
        self._changes_at_once = MANY if version >= FIRST_WITHOUT_DEADLOCK else CHANGES_AT_ONCE
        for project in range(1, previews + 1):
            folder = projects / str(project)
            folder.mkdir()
            shutil.copy(APP, folder)

    def job(self, peer: str, workload: str, **more: Any) -> Job:
        """A piece of work here."""
        return Job(
            peer=peer,
            workload=workload,
            token=self.token,
            image=self._image,
            projects=str(self._projects),
            network=self.network,
            first_port=FIRST_PORT,
            last_port=LAST_PORT,
            changes_at_once=self._changes_at_once,
            create={} if peer == "kosuke_docker" else self.create,
            **more,
        )

    def inspect(self, project: int) -> dict[str, Any]:
        """What the engine says of a project's container."""
        name = self.job("", "").name(project)
        found: dict[str, Any] = self._client.api.inspect_container(name)
        return found

    def take_settings(self) -> None:
        """From now on containers are made like that of project 1, which our service has made."""
        self.create = self._settings_of(self.inspect(1))

    def check_settings(self, peer: str) -> None:
        """Makes sure that a peer's container has these settings.

        Raises:
            BenchError: It has others; they are named.
        """
        made = self._settings_of(self.inspect(1))
        flat = [{**settings, **settings["HostConfig"]} for settings in (self.create, made)]
        other = [name for name in flat[0] | flat[1] if flat[0].get(name) != flat[1].get(name)]
        if other:
            raise BenchError(f"{peer} makes containers with other settings: {', '.join(other)}")

    def pages(self, previews: int) -> list[str]:
        """The addresses of the pages of previews that run."""
        return [page_of(self.inspect(project)) for project in range(1, previews + 1)]

    def _settings_of(self, found: dict[str, Any]) -> dict[str, Any]:
        config = found["Config"]
        kept = {name: config[name] for name in ("Image", "Cmd", "WorkingDir", "User", "ExposedPorts")}
        # The order of variables says nothing.
        return {
            **kept,
            "Env": sorted(config["Env"]),
            "Labels": {LABEL: self.token},
            "HostConfig": {name: value for name, value in found["HostConfig"].items() if value is not None},
        }


def requests_of(pages: list[str]) -> int:
    """How often these pages have been asked for."""
    total = 0
    for page in pages:
        with urllib.request.urlopen(f"{page}requests", timeout=30) as response:
            total += int(response.read())
    return total


def _clean(client: DockerClient, token: str) -> None:
    """Removes what a run has made on the engine."""
    for container in client.containers.list(all=True, filters={"name": f"kt-bench-{token}-"}, ignore_removed=True):
        with contextlib.suppress(NotFound, APIError):  # Being removed already.
            container.remove(force=True, v=True)
    for network in client.networks.list(names=[f"kt-bench-{token}"]):
        network.remove()


@contextlib.contextmanager
def place(client: DockerClient, image: str, previews: int, record: Path) -> Iterator[Place]:
    """A place for as long as this lasts. `record`: a file that names the run while it goes on."""
    if record.exists():
        _clean(client, record.read_text())
    projects = Path(tempfile.mkdtemp(prefix="kosuke-bench-"))
    projects.chmod(0o755)
    try:
        made = Place(client, image, projects, previews)
        record.write_text(made.token)
        try:
            client.networks.create(made.network)
            yield made
        finally:
            _clean(client, made.token)
            record.unlink()
    finally:
        shutil.rmtree(projects, ignore_errors=True)

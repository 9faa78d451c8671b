"""What tests need: a real engine, a real Postgres, an image with Node, and settings of their own.

`make test` provides the servers (tools/services.py). Without them the tests fail: they are never skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from docker import DockerClient
from docker.errors import APIError, DockerException, NotFound
from kosuke_docker import DockerService, Preview, Settings

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "support")]

import browser  # noqa: E402 - stands in tools
import nextjs  # noqa: E402
import node_image  # noqa: E402
import parallel  # noqa: E402 - stands in tests/support
import pg  # noqa: E402
from parallel import (  # noqa: E402, F401 - pytest calls them
    pytest_collection_modifyitems,
    pytest_runtest_protocol,
    pytest_xdist_make_scheduler,
)
from private_engine import PrivateEngine, running  # noqa: E402

APPS = ROOT / "tests" / "apps"
SETTLE_SECONDS = 60
PORTS = 1000
FIRST_PORT = 11000 + PORTS * parallel.worker()
"""This worker's own range: the address of a preview that is gone must not become another worker's at once."""


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    """docker-py, as a second opinion about what the engine holds."""
    try:
        client = docker.from_env(timeout=120)
        client.ping()
    except DockerException as error:
        pytest.fail(f"no Docker Engine answers, run `make test`: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session", autouse=True)
def _interrupts_work() -> None:
    """A shell's background job, as of `make test &`, ignores SIGINT, and so would each process that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def image(engine: DockerClient) -> str:
    return node_image.image(engine)


@pytest.fixture(scope="session")
def chromium_program() -> str:
    """The machine's Chromium; it is installed if it is missing."""
    return browser.program()


@pytest.fixture(scope="session")
def postgres(engine: DockerClient) -> Iterator[dict[str, Any]]:
    """The server that tools/services.py started, as settings. Further workers have servers of their own: tests count
    all that is on one."""
    if "POSTGRES_PORT" not in os.environ:
        pytest.fail("POSTGRES_PORT is not set: run `make test`, which starts a Postgres server")
    if parallel.worker() > 0:
        with pg.cluster() as made:
            yield made.settings
        return
    yield {
        "postgres_host": os.environ["POSTGRES_HOST"],
        "postgres_port": int(os.environ["POSTGRES_PORT"]),
        "postgres_password": os.environ["POSTGRES_PASSWORD"],
        "postgres_container_host": os.environ["POSTGRES_CONTAINER_HOST"],
    }


@pytest.fixture
def server(postgres: dict[str, Any]) -> pg.Server:
    return pg.Server(postgres)


@pytest.fixture
def project_id() -> int:
    """One that no other test used: databases stay."""
    return 1_000_000 + secrets.randbelow(1_000_000_000)


@pytest.fixture(scope="module")
def cluster(engine: DockerClient) -> Iterator[pg.Server]:
    """A Postgres server of this file's own, for what concerns the whole server."""
    with pg.cluster("max_prepared_transactions = 5") as made:
        yield made


@pytest.fixture(scope="session")
def network(engine: DockerClient) -> Iterator[str]:
    name = f"kosuke-test-{secrets.token_hex(3)}"
    yield name
    for found in engine.networks.list(names=[name]):
        found.remove()


class World:
    """A deployment of its own: prefix, owner, projects folder. Takes away what it made."""

    def __init__(self, engine: DockerClient, image: str, network: str, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.prefix = f"kt-{secrets.token_hex(3)}-"
        self._values: dict[str, Any] = {
            "preview_default_image": image,
            "projects_dir": str(folder),
            "preview_network": network,
            # Costs 0.5 s for each deployment. Its own tests, the demo and the agent in a container have it on.
            "preview_network_isolation": "off",
            "preview_container_name_prefix": self.prefix,
            "preview_command": ["node", "dev.js"],
            "preview_pull_policy": "never",
            "preview_port_range_start": FIRST_PORT,
            "preview_port_range_end": FIRST_PORT + PORTS - 1,
            "postgres_host": None,
        }
        self._services: list[DockerService] = []

    def settings(self, **changes: Any) -> Settings:
        # Each field: nothing of the environment's, where the tests' database server stands.
        return Settings(**{**dict(Settings.from_env({})), **self._values, **changes})

    def service(self, **changes: Any) -> DockerService:
        service = DockerService(self.settings(**changes))
        self._services.append(service)
        return service

    def project(self, project_id: int, app: str = "dev.js") -> Path:
        """A project folder with the app of tests/apps."""
        folder = self.folder / str(project_id)
        folder.mkdir(parents=True)
        shutil.copy(APPS / app, folder)
        return folder

    def next_project(self, project_id: int) -> Path:
        """A project folder with the real Next.js example."""
        return nextjs.copy(self.folder / str(project_id))

    def containers(self) -> list[Any]:
        """Every container of this world, running or not."""
        # The engine is shared: others' containers come and go meanwhile.
        found = self.engine.containers.list(all=True, filters={"name": self.prefix}, ignore_removed=True)
        return [container for container in found if str(container.name).startswith(self.prefix)]

    def container(self, project_id: int) -> Any:
        return self.engine.containers.get(f"{self.prefix}{project_id}")

    async def close(self) -> None:
        for service in self._services:
            await service.aclose()
        for container in self.containers():
            with contextlib.suppress(NotFound, APIError):  # Being removed already.
                container.remove(force=True)
        for network in self.engine.networks.list(names=[f"{self.prefix.rstrip('-')}-isolated"]):
            network.remove()


@pytest.fixture
async def world(engine: DockerClient, image: str, network: str, tmp_path: Path) -> AsyncIterator[World]:
    made = World(engine, image, network, tmp_path)
    yield made
    await made.close()


Until = Callable[..., Awaitable[Preview]]


@pytest.fixture
def until() -> Until:
    """Polls a preview until it is in the phase, and gives it."""

    async def poll(service: DockerService, project_id: int, phase: str) -> Preview:
        deadline = time.monotonic() + SETTLE_SECONDS
        preview = None
        while time.monotonic() < deadline:
            preview = await service.get_preview(project_id)
            if preview is not None and preview.phase == phase:
                return preview
            await asyncio.sleep(0.05)
        pytest.fail(f"not {phase} within {SETTLE_SECONDS} s: {preview}")

    return poll


@pytest.fixture(scope="module")
def dockerd(image: str) -> Iterator[PrivateEngine]:
    """A dockerd of this file's own, with the image that previews run in."""
    if os.geteuid() != 0:
        pytest.fail("a private dockerd needs root: run `make test` as root")
    with running() as made:
        with contextlib.closing(DockerClient(made.host)) as client, pytest.MonkeyPatch.context() as patched:
            patched.setenv("DOCKER_HOST", made.host)
            assert node_image.image(client) == image
        yield made


@pytest.fixture
def private_engine(monkeypatch: pytest.MonkeyPatch, dockerd: PrivateEngine) -> Iterator[PrivateEngine]:
    """A dockerd at DOCKER_HOST that a test may stop, kill and freeze: it runs again, and is empty, for the next one."""
    monkeypatch.setenv("DOCKER_HOST", dockerd.host)
    yield dockerd
    dockerd.empty()


@pytest.fixture(scope="session")
def count() -> Callable[[int], int]:
    """A full count in `make soak`, a tenth of it elsewhere."""
    return lambda full: full if os.environ.get("KOSUKE_SOAK") else max(1, full // 10)


@pytest.fixture
def run_python() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a script in a process of its own, with the settings in the environment; ends what a failed test left."""
    started: list[subprocess.Popen[str]] = []

    def run(script: str, settings: Settings) -> subprocess.Popen[str]:
        plain = {name.upper(): value for name, value in settings.plain().items() if value is not None}
        texts = {name: value if isinstance(value, str) else _text(value) for name, value in plain.items()}
        if settings.postgres_host is None:
            texts["POSTGRES_HOST"] = ""
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            env={**os.environ, **texts},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                # What was written to a process that had ended cannot be written any more.
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _text(value: object) -> str:
    return json.dumps(value)

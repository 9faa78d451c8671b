"""A fake engine, and a deployment of its own on it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import parallel
import pytest
from fake_engine import IMAGE, FakeContainer, FakeEngine
from kosuke_docker import DockerService, Settings

FIRST_PORT, BLOCKS, PORTS = 22000, 500, 20
"""A block of ports for each world, so that none meets another's."""


class FakeWorld:
    """Like `World`, on a fake engine: prefix, owner, projects folder."""

    def __init__(self, engine: FakeEngine, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine = engine
        self.folder = folder
        self._monkeypatch = monkeypatch
        self.prefix = f"kf-{secrets.token_hex(3)}-"
        first = FIRST_PORT + parallel.next_number() % BLOCKS * PORTS
        self._values: dict[str, Any] = {
            "preview_default_image": IMAGE,
            "projects_dir": str(folder),
            "preview_network": "kosuke-fake",
            "preview_network_isolation": "off",
            "preview_container_name_prefix": self.prefix,
            "preview_port_range_start": first,
            "preview_port_range_end": first + PORTS - 1,
            "postgres_host": None,
        }
        self._services: list[DockerService] = []

    def settings(self, **changes: Any) -> Settings:
        # Each field: nothing of the environment's, where the tests' database server stands.
        return Settings(**{**dict(Settings.from_env({})), **self._values, **changes})

    def service(self, **changes: Any) -> DockerService:
        service = DockerService(self.settings(**changes))
        self._services.append(service)
        self.use()
        # Attached now, so that it stays with this engine when another is used.
        assert service.containers is not None
        return service

    def use(self) -> None:
        """Makes it the engine of what is made from now on, and of other processes."""
        self._monkeypatch.setenv("DOCKER_HOST", self.engine.host)

    def project(self, project_id: int) -> Path:
        folder = self.folder / str(project_id)
        folder.mkdir(parents=True)
        return folder

    def name(self, project_id: int) -> str:
        return f"{self.prefix}{project_id}"

    def containers(self) -> list[FakeContainer]:
        return self.engine.containers(self.prefix)

    async def close(self) -> None:
        for service in self._services:
            await service.aclose()


@contextlib.contextmanager
def running_engine() -> Iterator[FakeEngine]:
    # Not in pytest's own folder: the path of a socket may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="kosuke-fake-"))
    engine = FakeEngine(folder / "docker.sock")
    engine.open()
    try:
        yield engine
    finally:
        engine.close()
        shutil.rmtree(folder)
    assert engine.problems == []


@pytest.fixture
def fake_engine() -> Iterator[FakeEngine]:
    with running_engine() as engine:
        yield engine


@pytest.fixture
async def fake(fake_engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeWorld]:
    made = FakeWorld(fake_engine, tmp_path, monkeypatch)
    yield made
    await made.close()


@pytest.fixture
async def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[], FakeWorld]]:
    """Makes worlds, each on an engine of its own."""
    with contextlib.ExitStack() as engines:
        worlds: list[FakeWorld] = []

        def make() -> FakeWorld:
            folder = tmp_path / str(len(worlds))
            worlds.append(FakeWorld(engines.enter_context(running_engine()), folder, monkeypatch))
            return worlds[-1]

        yield make
        for world in worlds:
            world.engine.heal()
        await asyncio.gather(*(world.close() for world in worlds))

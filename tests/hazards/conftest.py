"""A fake engine, and a deployment of its own on it."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_engine import IMAGE, FakeContainer, FakeEngine
from kosuke_docker import DockerService, Settings

PORTS = 900


class FakeWorld:
    """Like `World`, on a fake engine: prefix, owner, projects folder."""

    def __init__(self, engine: FakeEngine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.prefix = f"kf-{secrets.token_hex(3)}-"
        first = 22000 + secrets.randbelow(8) * 1000
        self._values: dict[str, Any] = {
            "preview_default_image": IMAGE,
            "projects_dir": str(folder),
            "preview_network": "kosuke-fake",
            "preview_container_name_prefix": self.prefix,
            "preview_port_range_start": first,
            "preview_port_range_end": first + PORTS - 1,
            "postgres_host": None,
        }
        self._services: list[DockerService] = []

    def settings(self, **changes: Any) -> Settings:
        return Settings(**{**self._values, **changes})

    def service(self, **changes: Any) -> DockerService:
        service = DockerService(self.settings(**changes))
        self._services.append(service)
        return service

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


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEngine]:
    # Not in pytest's own folder: the path of a socket may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="kosuke-fake-"))
    engine = FakeEngine(folder / "docker.sock")
    engine.open()
    monkeypatch.setenv("DOCKER_HOST", engine.host)
    yield engine
    engine.close()
    shutil.rmtree(folder)
    assert engine.problems == []


@pytest.fixture
async def fake(fake_engine: FakeEngine, tmp_path: Path) -> AsyncIterator[FakeWorld]:
    made = FakeWorld(fake_engine, tmp_path)
    yield made
    await made.close()

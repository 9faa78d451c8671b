"""An agent's own tests: a patched ``docker.from_env`` and a service made under it. No engine, no Postgres.

"The ticket" is the specification of the older service: the pure-Python ``DockerService`` of the Kosuke agent, which
this package replaces. These tests compare our calls of a docker-py client with that service's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from unittest.mock import MagicMock, patch

import docker.errors
import pytest
from kosuke_docker import ContainerInfo, DockerService, Settings, configure


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Default settings, without a database server: tests that want one say so."""
    configure(None)
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("POSTGRES_HOST", "")


@pytest.fixture
def made() -> MagicMock:
    """The container that ``containers.run`` gives."""
    container = MagicMock()
    container.id = "made"
    return container


@pytest.fixture
def client(made: MagicMock) -> Iterator[MagicMock]:
    """A client under a patched ``docker.from_env``; no container of any name exists."""
    with patch("docker.from_env") as from_env:
        client = from_env.return_value = MagicMock()
        client.containers.get.side_effect = docker.errors.NotFound("no such container")
        client.containers.run.return_value = made
        yield client


@pytest.fixture
def service(client: MagicMock) -> DockerService:
    return DockerService()


MakeEntry = Callable[..., ContainerInfo]


@pytest.fixture
def entry() -> MakeEntry:
    """Makes what a cache may hold. The port is one where nothing listens."""

    def make(project_id: int = 123, **changes: Any) -> ContainerInfo:
        values = {
            "project_id": project_id,
            "container_id": f"id-{project_id}",
            "container_name": f"kosuke-preview-{project_id}",
            "port": 1,
            "url": "http://localhost:1",
        }
        return ContainerInfo.model_validate({**values, **changes})

    return make


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], Awaitable[None]]:
    """Waits until something holds, 5 s at the most."""

    async def poll(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - what is waited for happens on another thread
                await asyncio.sleep(0.01)

    return poll

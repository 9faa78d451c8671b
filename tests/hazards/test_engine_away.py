"""An engine that goes away: a proxy in front of the real one is cut."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from kosuke_docker import DockerUnavailableError, OperationTimeoutError
from relay import relay


class Proxy:
    """A unix socket that leads to the engine's, until it is cut or frozen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frozen = False
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.frozen:
            self._open.add(writer)
            return
        engine = await asyncio.open_unix_connection("/var/run/docker.sock")
        self._open |= {writer, engine[1]}
        await relay((reader, writer), engine)

    def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        self.path.unlink(missing_ok=True)
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()


@pytest.fixture
async def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    made = Proxy(tmp_path / "docker.sock")
    await made.open()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{made.path}")
    yield made
    made.cut()


async def test_the_last_known_is_told_while_the_engine_is_away(world: Any, proxy: Proxy, until: Any) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, wait="ready")
    proxy.cut()
    preview = await until(service, 7, "engine_unreachable")
    assert (preview.running, preview.url) == (True, url)
    assert preview.detail is not None
    with pytest.raises(DockerUnavailableError):
        await service.stop_preview(7)
    with pytest.raises(DockerUnavailableError):
        await service.get_preview(8)

    await proxy.open()
    await until(service, 7, "ready")
    await service.stop_preview(7)
    assert world.containers() == []


async def test_a_frozen_engine_is_a_time_out(world: Any, proxy: Proxy) -> None:
    world.project(7)
    service = world.service(engine_timeout=1.0)
    assert await service.is_docker_available() is True
    proxy.frozen = True
    with pytest.raises(OperationTimeoutError) as caught:
        await service.start_preview(7)
    assert caught.value.preview == 7
    assert await service.is_docker_available() is False

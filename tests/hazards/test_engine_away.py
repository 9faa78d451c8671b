"""An engine that goes away: a proxy in front of the real one is cut."""

from __future__ import annotations

import asyncio
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import services
from kosuke_docker import DockerService, DockerUnavailableError, OperationTimeoutError
from relay import relay
from waiting import SECONDS

ENGINE = services.socket_path()


class Proxy:
    """A unix socket that leads to the engine's, until it is cut or frozen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.frozen = False
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._connected, self.path)

    async def close(self) -> None:
        """Returns when every connection has ended."""
        self.cut()
        await asyncio.gather(*self._tasks)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.frozen:
            return
        engine = await asyncio.open_unix_connection(ENGINE)
        self._open.add(engine[1])
        await relay((reader, writer), engine)

    def freeze(self) -> None:
        """Connections stay, and nothing comes through: not even what was asked before."""
        self.frozen = True
        for writer in self._open:
            writer.transport.pause_reading()  # type: ignore[attr-defined]

    def thaw(self) -> None:
        """New connections lead to the engine again; the old ones are lost."""
        self.frozen = False
        self._drop()

    def cut(self) -> None:
        if self._server is not None:
            self._server.close()
        self.path.unlink(missing_ok=True)
        self._drop()

    def _drop(self) -> None:
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()


@pytest.fixture
async def proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Proxy]:
    made = Proxy(tmp_path / "docker.sock")
    await made.open()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{made.path}")
    yield made
    await made.close()


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


@pytest.mark.parametrize("frozen", [False, True], ids=["cut", "frozen"])
async def test_what_happened_while_it_was_away_is_caught_up(world: Any, proxy: Proxy, until: Any, frozen: bool) -> None:
    """Somebody else reaches the engine: one container is killed, one removed, one restarted, a child of one is killed
    for memory, and one is left alone."""
    killed, removed, restarted, hungry, same = projects = (1, 2, 3, 4, 5)
    service = world.service(engine_heartbeat_interval=0.3, engine_heartbeat_timeout=0.3, preview_probe_ttl=0.0)
    urls = {}
    for project in projects:
        world.project(project)
        urls[project] = await service.start_preview(project, wait="ready")
    before = await service.get_preview(restarted)
    if frozen:
        proxy.freeze()
    else:
        proxy.cut()
    for project in projects:
        away = await until(service, project, "engine_unreachable")
        assert (away.running, away.url) == (True, urls[project])

    def act() -> None:
        world.container(killed).kill()
        world.container(removed).remove(force=True)
        world.container(restarted).restart(timeout=1)
        world.container(hungry).update(mem_limit="160m", memswap_limit="160m")
        with urllib.request.urlopen(f"{urls[hungry]}/eat-child", timeout=30) as response:
            assert response.read() == b"SIGKILL"

    await asyncio.to_thread(act)
    for project in projects:
        away = await service.get_preview(project)
        assert (away.phase, away.oom_count) == ("engine_unreachable", 0), "nobody told it yet"
    if frozen:
        proxy.thaw()
    else:
        await proxy.open()

    ended = await until(service, killed, "exited")
    assert (ended.exit_code, ended.url) == (137, None)
    await eventually_none(service, removed)
    again = await until(service, restarted, "ready")
    [binding] = world.container(restarted).attrs["NetworkSettings"]["Ports"]["3000/tcp"]
    assert again.url == f"http://localhost:{binding['HostPort']}"
    assert again.started_at > before.started_at
    sick = await until(service, hungry, "oom_killed")
    assert (sick.running, sick.url, sick.oom_count) == (True, urls[hungry], 1)
    assert sick.last_oom_at is not None
    assert (await until(service, same, "ready")).url == urls[same]


async def eventually_none(service: DockerService, project: int) -> None:
    async with asyncio.timeout(SECONDS):
        while await service.get_preview(project) is not None:  # noqa: ASYNC110 - it is asked, nothing tells
            await asyncio.sleep(0.02)


async def test_an_oom_is_counted_once_however_often_the_stream_breaks(world: Any, proxy: Proxy, until: Any) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, wait="ready")

    def act() -> None:
        world.container(7).update(mem_limit="160m", memswap_limit="160m")
        with urllib.request.urlopen(f"{url}/eat-child", timeout=30) as response:
            assert response.read() == b"SIGKILL"

    await asyncio.to_thread(act)
    assert (await until(service, 7, "oom_killed")).oom_count == 1
    for _ in range(3):
        proxy.cut()
        await until(service, 7, "engine_unreachable")
        await proxy.open()
        assert (await until(service, 7, "oom_killed")).oom_count == 1

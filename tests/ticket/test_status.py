"""get_preview_status through a docker-py-compatible client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from unittest.mock import AsyncMock, MagicMock, patch

import docker.errors
import pytest
from kosuke_docker import ContainerInfo, DockerService, PreviewStatus

MakeEntry = Callable[..., ContainerInfo]
NOT_RUNNING = PreviewStatus(running=False, url=None, compilation_complete=False, is_responding=False)


def exists(client: MagicMock, container: MagicMock) -> None:
    client.containers.get.side_effect = None
    client.containers.get.return_value = container


async def test_a_known_preview_of_a_mere_mock_runs(service: DockerService, client: MagicMock, entry: MakeEntry) -> None:
    exists(client, MagicMock())
    service.containers[123] = entry(compilation_complete=True, is_responding=True)
    status = await service.get_preview_status(123)
    # Nothing listens on that port, whatever the entry says.
    assert status == PreviewStatus(
        running=True, url="http://localhost:1", compilation_complete=True, is_responding=False
    )
    client.containers.get.assert_called_once_with("id-123")


@pytest.mark.parametrize("status", ["running", "paused", "restarting", "", "EXITED", 0, None], ids=repr)
async def test_what_is_not_dead_runs(
    service: DockerService, client: MagicMock, entry: MakeEntry, status: object
) -> None:
    exists(client, MagicMock(status=status))
    service.containers[123] = entry()
    assert (await service.get_preview_status(123)).running is True
    assert 123 in service.containers


@pytest.mark.parametrize("status", ["exited", "dead", "created", "removing"])
async def test_a_dead_container_does_not_run(
    service: DockerService, client: MagicMock, entry: MakeEntry, status: str
) -> None:
    exists(client, MagicMock(status=status))
    service.containers[123] = entry(compilation_complete=True)
    assert await service.get_preview_status(123) == NOT_RUNNING


async def test_a_container_that_is_gone_does_not_run(service: DockerService, entry: MakeEntry) -> None:
    service.containers[123] = entry(compilation_complete=True)
    assert await service.get_preview_status(123) == NOT_RUNNING


async def test_an_engine_that_fails_to_say_leaves_what_is_known(
    service: DockerService, client: MagicMock, entry: MakeEntry
) -> None:
    client.containers.get.side_effect = docker.errors.APIError("boom")
    service.containers[123] = entry()
    status = await service.get_preview_status(123)
    assert (status.running, status.url) == (True, "http://localhost:1")


async def test_an_unknown_preview_does_not_run(service: DockerService, client: MagicMock) -> None:
    assert await service.get_preview_status(999) == NOT_RUNNING
    assert await service.get_preview(999) is None
    client.containers.get.assert_not_called()


@pytest.mark.parametrize(("status", "running"), [("running", True), ("exited", False)])
async def test_an_unknown_preview_is_found_by_its_labels(
    service: DockerService, client: MagicMock, status: str, running: bool
) -> None:
    listed = MagicMock(status=status, ports={"3000/tcp": [{"HostPort": "3007"}]})
    listed.id, listed.name = "listed", "kosuke-preview-7"
    listed.labels = {"kosuke.preview": "true", "kosuke.project_id": "7", "kosuke.owner": "kosuke-preview"}
    client.containers.list.return_value = [listed]
    found = await service.get_preview_status(7)
    assert (found.running, found.url) == (running, "http://localhost:3007" if running else None)
    assert (await service.get_preview_status(8)) == NOT_RUNNING


async def test_compilation_marked_on_the_entry_is_seen(
    service: DockerService, client: MagicMock, entry: MakeEntry
) -> None:
    exists(client, MagicMock())
    service.containers[1] = entry(1)
    assert (await service.get_preview_status(1)).compilation_complete is False
    service.containers[1].compilation_complete = True
    assert (await service.get_preview_status(1)).compilation_complete is True
    service.containers[1].compilation_complete = False
    assert (await service.get_preview_status(1)).compilation_complete is False


@pytest.mark.parametrize("answer", [True, False])
async def test_the_health_hook_answers(
    service: DockerService, client: MagicMock, entry: MakeEntry, answer: bool
) -> None:
    exists(client, MagicMock())
    service.containers[123] = entry()
    with patch.object(service, "_check_container_health", new_callable=AsyncMock, return_value=answer) as health:
        assert (await service.get_preview_status(123)).is_responding is answer
    health.assert_awaited_once_with("http://localhost:1")


@pytest.mark.parametrize(
    ("line", "responding"),
    [("200 OK", True), ("204 No Content", True), ("404 Not Found", False), ("500 Internal Server Error", False)],
)
async def test_a_real_answer_counts_when_it_is_2xx(
    service: DockerService, client: MagicMock, entry: MakeEntry, line: str, responding: bool
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    exists(client, MagicMock())
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        service.containers[123] = entry(port=port, url=f"http://127.0.0.1:{port}")
        status = await service.get_preview_status(123)
        preview = await service.get_preview(123)
    assert status.is_responding is responding
    assert preview is not None
    assert preview.http_status == int(line.split(maxsplit=1)[0])

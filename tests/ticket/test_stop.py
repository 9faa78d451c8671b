"""stop_preview and stop_all_previews through a docker-py-compatible client."""

from __future__ import annotations

from collections.abc import Callable
from unittest.mock import MagicMock, call

import docker.errors
import pytest
from kosuke_docker import ContainerInfo, DockerService

MakeEntry = Callable[..., ContainerInfo]


async def test_a_known_preview_is_stopped_and_removed(
    service: DockerService, client: MagicMock, entry: MakeEntry
) -> None:
    container = MagicMock()
    client.containers.get.side_effect = [container]
    service.containers[123] = entry(container_id="it")
    await service.stop_preview(123)
    client.containers.get.assert_called_once_with("it")
    assert container.method_calls == [call.stop(timeout=5), call.remove(force=True)]
    assert 123 not in service.containers


async def test_stop_after_start(service: DockerService, client: MagicMock, made: MagicMock) -> None:
    await service.start_preview(123)
    client.containers.get.side_effect = None
    client.containers.get.return_value = made
    client.containers.get.reset_mock()
    await service.stop_preview(123)
    client.containers.get.assert_called_once_with("made")
    made.stop.assert_called_once_with(timeout=5)
    made.remove.assert_called_once_with(force=True)
    assert 123 not in service.containers


@pytest.mark.parametrize("step", ["get", "stop", "remove"])
async def test_a_container_that_is_gone_is_no_error(
    service: DockerService, client: MagicMock, entry: MakeEntry, caplog: pytest.LogCaptureFixture, step: str
) -> None:
    container = MagicMock()
    client.containers.get.side_effect = [container]
    gone = docker.errors.NotFound("gone")
    (client.containers.get if step == "get" else getattr(container, step)).side_effect = gone
    service.containers[123] = entry()
    await service.stop_preview(123)
    client.containers.get.assert_called_once()
    assert 123 not in service.containers
    assert "Error stopping container" not in caplog.text


@pytest.mark.parametrize("step", ["get", "stop", "remove"])
@pytest.mark.parametrize("error", [docker.errors.APIError("boom"), RuntimeError("boom"), TimeoutError("boom")])
async def test_another_error_is_logged_and_the_entry_goes(
    service: DockerService,
    entry: MakeEntry,
    caplog: pytest.LogCaptureFixture,
    step: str,
    error: Exception,
) -> None:
    client, container = service.client, MagicMock()
    client.containers.get.side_effect = [container]
    (client.containers.get if step == "get" else getattr(container, step)).side_effect = error
    service.containers[123] = entry()
    await service.stop_preview(123)
    assert 123 not in service.containers
    assert "Error stopping container for project 123" in caplog.text
    assert "boom" in caplog.text
    assert [record.levelname for record in caplog.records if "Error stopping" in record.message] == ["ERROR"]


async def test_an_unknown_preview_is_not_looked_for(service: DockerService, client: MagicMock) -> None:
    await service.stop_preview(999)
    client.containers.get.assert_not_called()


async def test_a_second_stop_does_nothing(service: DockerService, client: MagicMock, entry: MakeEntry) -> None:
    client.containers.get.side_effect = [MagicMock()]
    service.containers[123] = entry()
    await service.stop_preview(123)
    await service.stop_preview(123)
    client.containers.get.assert_called_once()


async def test_other_previews_stay(service: DockerService, client: MagicMock, entry: MakeEntry) -> None:
    client.containers.get.side_effect = [MagicMock()]
    service.containers.update({1: entry(1), 2: entry(2)})
    await service.stop_preview(1)
    assert list(service.containers) == [2]


async def test_stop_all_stops_all(service: DockerService, client: MagicMock, entry: MakeEntry) -> None:
    containers = {f"id-{project_id}": MagicMock() for project_id in (123, 456, 789)}
    client.containers.get.side_effect = containers.__getitem__
    service.containers.update({project_id: entry(project_id) for project_id in (123, 456, 789)})
    await service.stop_all_previews()
    for container in containers.values():
        assert container.method_calls == [call.stop(timeout=5), call.remove(force=True)]
    assert client.containers.get.call_count == 3
    assert len(service.containers) == 0


async def test_stop_all_goes_on_after_a_failure(
    service: DockerService, client: MagicMock, entry: MakeEntry, caplog: pytest.LogCaptureFixture
) -> None:
    containers = {"id-1": MagicMock(), "id-2": MagicMock()}
    containers["id-1"].stop.side_effect = docker.errors.APIError("boom")
    client.containers.get.side_effect = containers.__getitem__
    service.containers.update({1: entry(1), 2: entry(2)})
    await service.stop_all_previews()
    containers["id-2"].remove.assert_called_once_with(force=True)
    assert len(service.containers) == 0
    assert "Error stopping container for project 1" in caplog.text


async def test_stop_all_of_nothing(service: DockerService, client: MagicMock) -> None:
    await service.stop_all_previews()
    client.containers.get.assert_not_called()

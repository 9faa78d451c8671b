"""is_docker_available, and how a client comes to a service."""

from __future__ import annotations

from unittest.mock import MagicMock, patch

import docker.errors
import pytest
from kosuke_docker import DockerService


async def test_one_ping_tells_that_docker_is_there(service: DockerService, client: MagicMock) -> None:
    assert await service.is_docker_available() is True
    client.ping.assert_called_once_with()
    assert client.containers.method_calls == []


@pytest.mark.parametrize(
    "error", [docker.errors.APIError("boom"), docker.errors.DockerException("boom"), ConnectionError("boom")]
)
async def test_a_failing_ping_is_false_and_logged(
    service: DockerService, client: MagicMock, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    client.ping.side_effect = error
    assert await service.is_docker_available() is False
    client.ping.assert_called_once_with()
    assert "Docker not available" in caplog.text
    assert "boom" in caplog.text


async def test_docker_may_come_back(service: DockerService, client: MagicMock) -> None:
    client.ping.side_effect = [docker.errors.APIError("boom"), True]
    assert [await service.is_docker_available() for _ in range(2)] == [False, True]


def test_a_patched_from_env_is_asked_once(client: MagicMock) -> None:
    service = DockerService()
    assert service.client is client
    assert docker.from_env.call_count == 1  # type: ignore[attr-defined]  # patched by the fixture
    assert client.mock_calls == []


async def test_a_client_given_needs_no_patch() -> None:
    client = MagicMock()
    service = DockerService(client=client)
    assert service.client is client
    assert await service.is_docker_available() is True
    client.ping.assert_called_once_with()


async def test_a_client_given_wins_over_the_patched_one(client: MagicMock) -> None:
    given = MagicMock()
    assert await DockerService(client=given).is_docker_available() is True
    given.ping.assert_called_once_with()
    assert client.mock_calls == []


async def test_a_client_may_be_assigned(service: DockerService, client: MagicMock) -> None:
    assert await service.is_docker_available() is True
    service.client = other = MagicMock()
    other.ping.side_effect = docker.errors.APIError("boom")
    assert service.client is other
    assert await service.is_docker_available() is False
    client.ping.assert_called_once_with()
    other.ping.assert_called_once_with()


async def test_a_client_may_be_assigned_to_a_native_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    service = DockerService()
    assert await service.is_docker_available() is False
    service.client = MagicMock()
    assert await service.is_docker_available() is True


async def test_a_patch_that_is_over_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    with patch("docker.from_env") as from_env:
        assert await DockerService().is_docker_available() is True
    assert await DockerService().is_docker_available() is False
    assert from_env.call_count == 1

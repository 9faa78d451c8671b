"""DOCKER_HOST pointing nowhere, and an engine that goes away."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from kosuke_docker import DockerService, DockerUnavailableError, Settings


@pytest.mark.parametrize("host", ["unix:///no/such/docker.sock", "tcp://127.0.0.1:1", "ssh://nowhere"])
async def test_docker_host_pointing_nowhere(
    host: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    (tmp_path / "7").mkdir()
    service = DockerService(Settings(projects_dir=str(tmp_path), postgres_host=None))
    with caplog.at_level(logging.ERROR, "kosuke_docker"):
        assert await service.is_docker_available() is False
    assert "Docker not available" in caplog.text
    with pytest.raises(DockerUnavailableError) as caught:
        await service.start_preview(7)
    assert caught.value.preview == 7
    assert caught.value.engine_message is not None
    assert host.partition("://")[2] in caught.value.engine_message
    with pytest.raises(DockerUnavailableError):
        await service.get_preview_status(7)


async def test_a_real_engine_is_available(engine: object) -> None:
    assert await DockerService().is_docker_available() is True

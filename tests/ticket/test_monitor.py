"""Finding out that a preview compiled, through a docker-py-compatible client."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator
from unittest.mock import MagicMock

import docker.errors
import pytest
from kosuke_docker import ContainerInfo, DockerService

MakeEntry = Callable[..., ContainerInfo]
Until = Callable[[Callable[[], bool]], Awaitable[None]]


@pytest.mark.parametrize(
    "chunks",
    [
        [b"compiled successfully"],
        [b"ready started server"],
        [b"> dev\n", b"> next dev\n", b"event - compiled successfully in 2.1s (190 modules)\n"],
        [b"ready started server on 0.0.0.0:3000", b"compiled successfully"],
        [b"tail of one line\nready started server on 0.0.0.0:3000\nhead of ano"],
        [b"\xff\xfe not text, compiled successfully \x00"],
        [b"", b"compiled successfully"],
    ],
)
async def test_a_phrase_anywhere_is_enough(service: DockerService, entry: MakeEntry, chunks: list[bytes]) -> None:
    container = MagicMock()
    container.logs.return_value = chunks
    service.containers[123] = entry()
    await service._monitor_compilation(123, container)
    assert service.containers[123].compilation_complete is True
    container.logs.assert_called_once_with(stream=True, follow=True)


@pytest.mark.parametrize(
    "chunks", [[], [b"> next dev\n", b"failed to compile\n", b"ready\n", b"Compiled Successfully"]]
)
async def test_without_a_phrase_nothing_changes(
    service: DockerService, entry: MakeEntry, caplog: pytest.LogCaptureFixture, chunks: list[bytes]
) -> None:
    container = MagicMock()
    container.logs.return_value = chunks
    service.containers[123] = entry()
    await service._monitor_compilation(123, container)
    assert service.containers[123].compilation_complete is False
    assert "Error monitoring" not in caplog.text


async def test_a_container_with_an_id_is_followed_likewise(service: DockerService, entry: MakeEntry) -> None:
    container = MagicMock()
    container.id = "id-123"
    container.logs.return_value = [b"compiled successfully"]
    service.containers[123] = entry()
    await service._monitor_compilation(123, container)
    assert service.containers[123].compilation_complete is True
    container.logs.assert_called_once_with(stream=True, follow=True)


async def test_reading_ends_at_the_phrase(service: DockerService, entry: MakeEntry) -> None:
    container = MagicMock()
    container.logs.return_value = itertools.chain([b"compiled successfully"], itertools.repeat(b"x"))
    service.containers[123] = entry()
    await service._monitor_compilation(123, container)
    assert service.containers[123].compilation_complete is True


async def test_only_the_project_asked_for_is_marked(service: DockerService, entry: MakeEntry) -> None:
    container = MagicMock()
    container.logs.return_value = [b"compiled successfully"]
    service.containers.update({1: entry(1), 2: entry(2)})
    await service._monitor_compilation(1, container)
    assert {key: info.compilation_complete for key, info in service.containers.items()} == {1: True, 2: False}


async def test_a_project_without_an_entry_gets_none(service: DockerService) -> None:
    container = MagicMock()
    container.logs.return_value = [b"compiled successfully"]
    await service._monitor_compilation(123, container)
    assert 123 not in service.containers


@pytest.mark.parametrize("error", [docker.errors.APIError("boom"), docker.errors.NotFound("boom"), OSError("boom")])
async def test_logs_that_cannot_be_had_are_logged(
    service: DockerService, entry: MakeEntry, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    container = MagicMock()
    container.logs.side_effect = error
    service.containers[123] = entry()
    await service._monitor_compilation(123, container)
    assert "Error monitoring compilation for project 123" in caplog.text
    assert "boom" in caplog.text
    assert service.containers[123].compilation_complete is False


async def test_logs_that_break_are_logged(
    service: DockerService, entry: MakeEntry, caplog: pytest.LogCaptureFixture
) -> None:
    def chunks() -> Iterator[bytes]:
        yield b"> next dev\n"
        raise docker.errors.APIError("boom")

    container = MagicMock()
    container.logs.return_value = chunks()
    service.containers[123] = entry()
    await service._monitor_compilation(123, container)
    assert "Error monitoring compilation for project 123" in caplog.text
    assert service.containers[123].compilation_complete is False


async def test_a_started_preview_is_followed_in_the_background(
    service: DockerService, made: MagicMock, until: Until
) -> None:
    made.logs.return_value = [b"> next dev\n", b"event - compiled successfully\n"]
    await service.start_preview(123)
    info = service.containers[123]
    await until(lambda: service.containers[123].compilation_complete)
    assert info.compilation_complete is True
    made.logs.assert_called_once_with(stream=True, follow=True)


async def test_background_trouble_is_logged_and_the_preview_stays(
    service: DockerService, made: MagicMock, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    made.logs.side_effect = docker.errors.APIError("boom")
    await service.start_preview(123)
    await until(lambda: "Error monitoring compilation for project 123" in caplog.text)
    assert service.containers[123].compilation_complete is False

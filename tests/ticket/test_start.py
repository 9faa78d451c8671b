"""start_preview through a docker-py-compatible client."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock, patch

import docker.errors
import pytest
from kosuke_docker import (
    ContainerInfo,
    ContainerStartError,
    DockerService,
    DockerUnavailableError,
    ImageNotFoundError,
    KosukeDockerError,
    PortRangeExhaustedError,
    Settings,
)

MakeEntry = Callable[..., ContainerInfo]
PROJECTS = Path("projects").absolute()
BASE = {"PROJECT_ID": "123", "NODE_ENV": "development", "PORT": "3000", "NEXT_TELEMETRY_DISABLED": "1"}


def named(value: object) -> str:
    """The id of a parameter: mocks have an address in theirs."""
    return value if isinstance(value, str) else "mock"


def calls(client: MagicMock) -> list[str]:
    """The calls of ``client.containers``, by name."""
    return [name for name, _, _ in client.containers.method_calls]


def answering(**containers: Any) -> Callable[[str], Any]:
    """A ``containers.get`` that knows these ids and names (with '_' for '-') only."""

    def get(name: str) -> Any:
        try:
            return containers[name.replace("-", "_")]
        except KeyError:
            raise docker.errors.NotFound(name) from None

    return get


async def test_one_look_and_one_run(service: DockerService, client: MagicMock) -> None:
    with patch.object(service, "_get_random_port", return_value=3001) as port:
        url = await service.start_preview(123, {"CUSTOM_VAR": "value"})

    assert url == "http://localhost:3001"
    port.assert_called_once()
    client.containers.get.assert_called_once_with("kosuke-preview-123")
    client.containers.run.assert_called_once_with(
        image="ghcr.io/filopedraz/kosuke-template:v0.0.73",
        name="kosuke-preview-123",
        command=["sh", "-c", "cd /app && npm run dev -- -H 0.0.0.0"],
        ports={"3000/tcp": 3001},
        volumes={str(PROJECTS / "123"): {"bind": "/app", "mode": "rw"}},
        working_dir="/app",
        environment={**BASE, "CUSTOM_VAR": "value"},
        network="kosuke_default",
        detach=True,
        auto_remove=False,
    )
    assert calls(client) == ["get", "run"]


async def test_the_entry_tells_what_was_made(service: DockerService) -> None:
    with patch.object(service, "_get_random_port", return_value=3001):
        url = await service.start_preview(123)
    assert service.containers[123] == ContainerInfo(
        project_id=123, container_id="made", container_name="kosuke-preview-123", port=3001, url=url
    )


async def test_the_settings_reach_the_run(tmp_path: Path) -> None:
    client = MagicMock()
    client.containers.get.side_effect = docker.errors.NotFound("none")
    settings = Settings(
        preview_default_image="mine:1",
        projects_dir=str(tmp_path),
        preview_command=["node", "dev.js"],
        preview_port=8080,
        preview_network="other",
        preview_container_name_prefix="p-",
        preview_public_host="previews.example",
        postgres_host=None,
    )
    service = DockerService(settings, client=client)
    with patch.object(service, "_get_random_port", return_value=3001):
        url = await service.start_preview(7)

    assert url == "http://previews.example:3001"
    run = client.containers.run.call_args.kwargs
    assert (run["image"], run["name"], run["network"]) == ("mine:1", "p-7", "other")
    assert run["command"] == ["node", "dev.js"]
    assert run["ports"] == {"8080/tcp": 3001}
    assert run["volumes"] == {str(tmp_path / "7"): {"bind": "/app", "mode": "rw"}}
    assert run["environment"]["PORT"] == "8080"


async def test_the_port_is_of_the_ticket_range_by_default(service: DockerService, client: MagicMock) -> None:
    url = await service.start_preview(123)
    port = client.containers.run.call_args.kwargs["ports"]["3000/tcp"]
    assert type(port) is int
    assert 3000 <= port <= 4000
    assert url == f"http://localhost:{port}"


async def test_the_port_is_of_the_range_of_the_settings() -> None:
    client = MagicMock()
    client.containers.get.side_effect = docker.errors.NotFound("none")
    settings = Settings(preview_port_range_start=5000, preview_port_range_end=5003, postgres_host=None)
    await DockerService(settings, client=client).start_preview(1)
    assert client.containers.run.call_args.kwargs["ports"]["3000/tcp"] in range(5000, 5004)


@pytest.mark.parametrize("host_port", ["3005", 3005])
async def test_a_running_container_is_adopted(service: DockerService, client: MagicMock, host_port: object) -> None:
    found = MagicMock(status="running", ports={"3000/tcp": [{"HostIp": "0.0.0.0", "HostPort": host_port}]})
    found.id = "found"
    client.containers.get.side_effect = answering(kosuke_preview_123=found)

    assert await service.start_preview(123) == "http://localhost:3005"
    client.containers.get.assert_called_once_with("kosuke-preview-123")
    client.containers.run.assert_not_called()
    found.remove.assert_not_called()
    assert service.containers[123] == ContainerInfo(
        project_id=123,
        container_id="found",
        container_name="kosuke-preview-123",
        port=3005,
        url="http://localhost:3005",
        compilation_complete=True,
    )


@pytest.mark.parametrize(
    "ports",
    [
        MagicMock(),
        None,
        {},
        {"3000/tcp": None},
        {"3000/tcp": []},
        {"3000/udp": [{"HostPort": "3005"}]},
        {"3000/tcp": MagicMock()},
        {"3000/tcp": [MagicMock()]},
        {"3000/tcp": [{}]},
        {"3000/tcp": [{"HostPort": MagicMock()}]},
        {"3000/tcp": [{"HostPort": True}]},
        {"3000/tcp": [{"HostPort": "many"}]},
    ],
    ids=lambda value: re.sub(r"<MagicMock[^>]*>", "mock", repr(value)),
)
async def test_a_running_container_without_a_real_port_is_replaced(
    service: DockerService, client: MagicMock, ports: object
) -> None:
    found = MagicMock(status="running", ports=ports)
    client.containers.get.side_effect = answering(kosuke_preview_123=found)
    with patch.object(service, "_get_random_port", return_value=3001):
        assert await service.start_preview(123) == "http://localhost:3001"
    found.remove.assert_called_once_with(force=True)
    client.containers.run.assert_called_once()
    assert calls(client) == ["get", "run"]
    assert service.containers[123].container_id == "made"


@pytest.mark.parametrize("status", ["exited", "dead", "created", "paused", MagicMock()], ids=named)
async def test_a_container_that_does_not_run_is_replaced(
    service: DockerService, client: MagicMock, made: MagicMock, status: object
) -> None:
    order: list[str] = []
    found = MagicMock(status=status)
    found.remove.side_effect = lambda **_: order.append("remove")
    client.containers.get.side_effect = answering(kosuke_preview_123=found)

    def run(**_: object) -> MagicMock:
        order.append("run")
        return made

    client.containers.run.side_effect = run
    await service.start_preview(123)
    found.remove.assert_called_once_with(force=True)
    found.stop.assert_not_called()
    assert order == ["remove", "run"]
    assert calls(client) == ["get", "run"]


async def test_a_client_of_mere_mocks_starts_too(service: DockerService, client: MagicMock) -> None:
    client.containers.get.side_effect = None
    client.containers.run.return_value = MagicMock()
    with patch.object(service, "_get_random_port", return_value=3001):
        assert await service.start_preview(123) == "http://localhost:3001"
    client.containers.get.return_value.remove.assert_called_once_with(force=True)
    assert isinstance(service.containers[123].container_id, str)


@pytest.mark.parametrize("status", ["running", "paused", "restarting", MagicMock()], ids=named)
async def test_a_known_preview_is_not_run_again(
    service: DockerService, client: MagicMock, entry: MakeEntry, status: object
) -> None:
    client.containers.get.side_effect = answering(id_123=MagicMock(status=status))
    service.containers[123] = entry(port=3002, url="http://localhost:3002")
    assert await service.start_preview(123) == "http://localhost:3002"
    client.containers.run.assert_not_called()


@pytest.mark.parametrize("status", ["exited", "dead", "created", "removing", None])
async def test_a_known_preview_that_is_dead_is_run_anew(
    service: DockerService, client: MagicMock, entry: MakeEntry, status: str | None
) -> None:
    known = {} if status is None else {"id_123": MagicMock(status=status)}
    client.containers.get.side_effect = answering(**known)
    service.containers[123] = entry(port=3002, url="http://localhost:3002")
    with patch.object(service, "_get_random_port", return_value=3001):
        assert await service.start_preview(123) == "http://localhost:3001"
    client.containers.run.assert_called_once()
    assert service.containers[123].container_id == "made"


async def test_the_caller_wins_over_the_project_which_wins_over_the_base(
    service: DockerService, client: MagicMock
) -> None:
    project = {"NODE_ENV": "project", "PORT": "1", "OF_PROJECT": "yes"}
    with patch.object(service, "_get_project_environment", new_callable=AsyncMock, return_value=project) as hook:
        await service.start_preview(123, {"PORT": "2", "OF_CALLER": "yes", "EMPTY": ""})
    hook.assert_awaited_once_with(123)
    assert client.containers.run.call_args.kwargs["environment"] == {
        **BASE,
        "NODE_ENV": "project",
        "PORT": "2",
        "OF_PROJECT": "yes",
        "OF_CALLER": "yes",
        "EMPTY": "",
    }
    assert project == {"NODE_ENV": "project", "PORT": "1", "OF_PROJECT": "yes"}


async def test_none_is_left_out_and_the_input_is_not_changed(service: DockerService, client: MagicMock) -> None:
    given = {"A": "1", "GONE": None, "NODE_ENV": None}
    await service.start_preview(123, given)
    assert client.containers.run.call_args.kwargs["environment"] == {**BASE, "A": "1"}
    assert given == {"A": "1", "GONE": None, "NODE_ENV": None}


async def test_variables_of_one_start_do_not_reach_the_next(service: DockerService, client: MagicMock) -> None:
    await service.start_preview(1, {"A": "1"})
    await service.start_preview(2)
    first, second = (call.kwargs["environment"] for call in client.containers.run.call_args_list)
    assert first["A"] == "1"
    assert "A" not in second


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (docker.errors.APIError("boom: no such runtime"), ContainerStartError),
        (docker.errors.ContainerError(MagicMock(), 1, "x", "y", "boom"), ContainerStartError),
        (RuntimeError("boom"), ContainerStartError),
        (docker.errors.ImageNotFound("boom"), ImageNotFoundError),
        (docker.errors.APIError("boom: port is already allocated"), PortRangeExhaustedError),
        (ConnectionRefusedError("boom"), DockerUnavailableError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else value.__name__,
)
async def test_a_run_that_fails_is_told_and_leaves_no_entry(
    service: DockerService, client: MagicMock, raised: Exception, expected: type[KosukeDockerError]
) -> None:
    client.containers.run.side_effect = raised
    with pytest.raises(expected) as caught:
        await service.start_preview(123)
    assert type(caught.value) is expected
    assert caught.value.preview == 123
    assert "boom" in str(caught.value)
    client.containers.run.assert_called_once()
    assert 123 not in service.containers
    assert len(service.containers) == 0
    if isinstance(caught.value, ImageNotFoundError):
        assert caught.value.image == "ghcr.io/filopedraz/kosuke-template:v0.0.73"


async def test_after_a_run_that_failed_the_next_start_works(service: DockerService, client: MagicMock) -> None:
    container = MagicMock()
    container.id = "second"
    client.containers.run.side_effect = [docker.errors.APIError("boom"), container]
    with pytest.raises(ContainerStartError):
        await service.start_preview(123)
    await service.start_preview(123)
    assert service.containers[123].container_id == "second"


async def test_a_look_that_fails_makes_nothing(service: DockerService, client: MagicMock) -> None:
    client.containers.get.side_effect = docker.errors.APIError("boom")
    with pytest.raises(KosukeDockerError, match="boom"):
        await service.start_preview(123)
    client.containers.run.assert_not_called()
    assert 123 not in service.containers


async def test_a_removal_that_fails_makes_nothing(service: DockerService, client: MagicMock) -> None:
    found = MagicMock(status="exited")
    found.remove.side_effect = docker.errors.APIError("boom")
    client.containers.get.side_effect = answering(kosuke_preview_123=found)
    with pytest.raises(KosukeDockerError, match="boom"):
        await service.start_preview(123)
    client.containers.run.assert_not_called()


async def test_concurrent_starts_run_once(
    service: DockerService,
    client: MagicMock,
    made: MagicMock,
    until: Callable[[Callable[[], bool]], Awaitable[None]],
) -> None:
    go = threading.Event()

    def run(**_: object) -> MagicMock:
        assert go.wait(5)
        return made

    client.containers.run.side_effect = run
    starts = [asyncio.create_task(service.start_preview(123)) for _ in range(2)]
    await until(lambda: bool(client.containers.run.called))
    go.set()
    first, second = await asyncio.gather(*starts)
    assert first == second
    client.containers.run.assert_called_once()
    client.containers.get.assert_called_once()
    assert list(service.containers) == [123]


async def test_starts_of_different_projects_run_side_by_side(service: DockerService, client: MagicMock) -> None:
    together = threading.Barrier(2)

    def run(*, name: str, **_: object) -> MagicMock:
        together.wait(5)
        container = MagicMock()
        container.id = f"of {name}"
        return container

    client.containers.run.side_effect = run
    await asyncio.gather(service.start_preview(1), service.start_preview(2))
    assert service.containers[1].container_id == "of kosuke-preview-1"
    assert service.containers[2].container_id == "of kosuke-preview-2"


async def test_the_client_is_called_off_the_loop(service: DockerService, client: MagicMock, made: MagicMock) -> None:
    threads: set[int] = set()

    def run(**_: object) -> MagicMock:
        threads.add(threading.get_ident())
        return made

    client.containers.run.side_effect = run
    await service.start_preview(123)
    assert threads
    assert threading.get_ident() not in threads


async def test_a_start_that_loses_the_name_adopts_the_winner(service: DockerService, client: MagicMock) -> None:
    """Another process made the container between our look and our run; it is started a moment later."""
    winner = MagicMock(id="winner", status="created", ports={})

    def get(name: str) -> Any:
        looks = client.containers.get.call_count
        if looks == 1:
            raise docker.errors.NotFound(name)
        if looks > 2:
            winner.status, winner.ports = "running", {"3000/tcp": [{"HostPort": "3005"}]}
        return winner

    client.containers.get.side_effect = get
    conflict = docker.errors.APIError("name in use", response=MagicMock(status_code=409))
    client.containers.run.side_effect = conflict
    assert await service.start_preview(123) == "http://localhost:3005"
    client.containers.run.assert_called_once()
    winner.remove.assert_not_called()

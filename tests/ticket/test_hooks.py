"""Hooks, replaced by a subclass or on an instance."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from unittest.mock import AsyncMock, MagicMock, patch

import pytest
from kosuke_docker import ContainerInfo, DockerService, InvalidInputError

MakeEntry = Callable[..., ContainerInfo]
BASE = {"PROJECT_ID": "123", "NODE_ENV": "development", "PORT": "3000", "NEXT_TELEMETRY_DISABLED": "1"}


def named(value: object) -> str:
    """The id of a parameter: mocks have an address in theirs."""
    return "mock" if isinstance(value, MagicMock) else repr(value)


def environment(client: MagicMock) -> dict[str, str]:
    found: dict[str, str] = client.containers.run.call_args.kwargs["environment"]
    return found


class Own(DockerService):
    """Every hook replaced."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[object, ...]] = []

    def note(self, *call: object) -> None:
        assert threading.current_thread() is threading.main_thread()
        self.seen.append((*call, asyncio.get_running_loop()))

    def _get_random_port(self, min_port: int = 3000, max_port: int = 4000) -> int:
        self.note("port")
        return 3456

    def _get_container_name(self, project_id: int) -> str:
        return f"own-{project_id}"

    async def _get_project_environment(self, project_id: int) -> dict[str, str]:
        self.note("project", project_id)
        await asyncio.sleep(0)
        return {"OF_PROJECT": "yes"}

    def _prepare_container_environment(self, project_id: int, env_vars: Mapping[str, str | None]) -> dict[str, str]:
        self.note("prepare", project_id, dict(env_vars))
        return {**super()._prepare_container_environment(project_id, env_vars), "PREPARED": "yes"}

    async def _ensure_project_database(self, project_id: int) -> None:
        self.note("database", project_id)

    async def _check_container_health(self, url: str) -> bool:
        self.note("health", url)
        return True

    async def _monitor_compilation(self, project_id: int, container: Any) -> None:
        self.note("monitor", project_id, container)
        self.containers[project_id].compilation_complete = True


async def test_a_subclass_replaces_every_hook(client: MagicMock, made: MagicMock) -> None:
    service = Own()
    url = await service.start_preview(123, {"MINE": "1"})
    assert url == "http://localhost:3456"
    client.containers.get.assert_called_once_with("own-123")
    assert client.containers.run.call_args.kwargs["name"] == "own-123"
    assert client.containers.run.call_args.kwargs["ports"] == {"3000/tcp": 3456}
    assert environment(client) == {**BASE, "OF_PROJECT": "yes", "MINE": "1", "PREPARED": "yes"}

    client.containers.get.side_effect = None
    status = await service.get_preview_status(123)
    assert (status.is_responding, status.compilation_complete) == (True, True)

    loop = asyncio.get_running_loop()
    assert sorted(service.seen, key=str) == sorted(
        [
            ("project", 123, loop),
            ("prepare", 123, {"OF_PROJECT": "yes", "MINE": "1"}, loop),
            ("database", 123, loop),
            ("port", loop),
            ("monitor", 123, made, loop),
            ("health", url, loop),
        ],
        key=str,
    )


async def test_the_name_on_the_instance(service: DockerService, client: MagicMock) -> None:
    with patch.object(service, "_get_container_name", return_value="named") as name:
        await service.start_preview(123)
    name.assert_called_with(123)
    client.containers.get.assert_called_once_with("named")
    assert client.containers.run.call_args.kwargs["name"] == "named"
    assert service.containers[123].container_name == "named"


async def test_the_prepared_environment_on_the_instance(service: DockerService, client: MagicMock) -> None:
    with patch.object(service, "_prepare_container_environment", return_value={"ONLY": "this"}) as prepare:
        await service.start_preview(123, {"MINE": "1", "GONE": None})
    prepare.assert_called_once_with(123, {"MINE": "1"})
    assert environment(client) == {"ONLY": "this"}


async def test_the_project_environment_reaches_the_prepare_hook(service: DockerService) -> None:
    with (
        patch.object(service, "_get_project_environment", new_callable=AsyncMock, return_value={"A": "p", "B": "p"}),
        patch.object(service, "_prepare_container_environment", return_value={}) as prepare,
    ):
        await service.start_preview(123, {"B": "c"})
    prepare.assert_called_once_with(123, {"A": "p", "B": "c"})


async def test_another_environment_service(service: DockerService, client: MagicMock) -> None:
    class Environments:
        def prepare_container_environment(self, project_id: int, env_vars: Mapping[str, str]) -> dict[str, str]:
            return {"ID": str(project_id), **env_vars}

    service.environment_service = Environments()
    await service.start_preview(123, {"MINE": "1"})
    assert environment(client) == {"ID": "123", "MINE": "1"}


async def test_a_method_of_the_environment_service_replaced(service: DockerService, client: MagicMock) -> None:
    with patch.object(
        service.environment_service, "prepare_container_environment", return_value={"ONLY": "this"}
    ) as prepare:
        await service.start_preview(123, {"MINE": "1"})
    prepare.assert_called_once_with(123, {"MINE": "1"})
    assert environment(client) == {"ONLY": "this"}


async def test_the_database_hook_runs_once_per_made_container(service: DockerService, entry: MakeEntry) -> None:
    with patch.object(service, "_ensure_project_database", new_callable=AsyncMock) as ensure:
        await service.start_preview(123)
    ensure.assert_awaited_once_with(123)


async def test_the_monitor_hook_gets_the_clients_container(service: DockerService, made: MagicMock) -> None:
    with patch.object(service, "_monitor_compilation", new_callable=AsyncMock) as monitor:
        await service.start_preview(123)
    monitor.assert_awaited_once_with(123, made)
    made.logs.assert_not_called()


async def test_a_hook_is_over_with_its_patch(service: DockerService, client: MagicMock) -> None:
    with patch.object(service, "_get_random_port", return_value=9999):
        await service.start_preview(1)
    await service.start_preview(2)
    first, second = (call.kwargs["ports"]["3000/tcp"] for call in client.containers.run.call_args_list)
    assert first == 9999
    assert 3000 <= second <= 4000


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("_get_random_port", MagicMock),
        ("_get_container_name", MagicMock),
        ("_prepare_container_environment", MagicMock),
        ("_get_project_environment", AsyncMock),
        ("_ensure_project_database", AsyncMock),
    ],
)
@pytest.mark.parametrize("error", [ZeroDivisionError("mine"), InvalidInputError("mine")], ids=["foreign", "of ours"])
async def test_what_a_hook_raises_reaches_the_caller_as_it_is(
    service: DockerService, client: MagicMock, name: str, kind: type[MagicMock], error: Exception
) -> None:
    with patch.object(service, name, new_callable=kind, side_effect=error), pytest.raises(type(error)) as caught:
        await service.start_preview(123)
    assert caught.value is error
    client.containers.run.assert_not_called()
    assert 123 not in service.containers
    # Nothing is stuck after it.
    await service.start_preview(123)
    client.containers.run.assert_called_once()


async def test_what_the_monitor_hook_raises_reaches_the_caller(service: DockerService) -> None:
    error = ZeroDivisionError("mine")
    with (
        patch.object(service, "_monitor_compilation", new_callable=AsyncMock, side_effect=error),
        pytest.raises(ZeroDivisionError) as caught,
    ):
        await service.start_preview(123)
    assert caught.value is error


async def test_what_the_health_hook_raises_reaches_the_caller(
    service: DockerService, client: MagicMock, entry: MakeEntry
) -> None:
    client.containers.get.side_effect = None
    service.containers[123] = entry()
    error = ZeroDivisionError("mine")
    with (
        patch.object(service, "_check_container_health", new_callable=AsyncMock, side_effect=error),
        pytest.raises(ZeroDivisionError) as caught,
    ):
        await service.get_preview_status(123)
    assert caught.value is error


async def test_what_the_environment_service_raises_reaches_the_caller(
    service: DockerService, client: MagicMock
) -> None:
    error = LookupError("mine")
    service.environment_service = MagicMock()
    service.environment_service.prepare_container_environment.side_effect = error
    with pytest.raises(LookupError) as caught:
        await service.start_preview(123)
    assert caught.value is error
    client.containers.run.assert_not_called()


@pytest.mark.parametrize("port", [0, -1, 65536, "3001", 3001.0, True, None, MagicMock(name="mock")], ids=named)
async def test_a_port_that_is_none_is_refused(service: DockerService, client: MagicMock, port: object) -> None:
    with patch.object(service, "_get_random_port", return_value=port), pytest.raises(InvalidInputError) as caught:
        await service.start_preview(123)
    assert "_get_random_port" in str(caught.value)
    client.containers.run.assert_not_called()


@pytest.mark.parametrize("answer", [None, 3, "A=1", {"A": []}, {1: "x"}, {"A=B": "x"}], ids=str)
async def test_an_environment_that_is_none_is_refused(
    service: DockerService, client: MagicMock, answer: object
) -> None:
    with (
        patch.object(service, "_get_project_environment", new_callable=AsyncMock, return_value=answer),
        pytest.raises(InvalidInputError),
    ):
        await service.start_preview(123)
    client.containers.run.assert_not_called()


async def test_a_caller_that_leaves_in_a_hook_makes_nothing(
    service: DockerService, client: MagicMock, until: Callable[[Callable[[], bool]], Awaitable[None]]
) -> None:
    asked = asyncio.Event()

    async def never(_: int) -> dict[str, str]:
        asked.set()
        await asyncio.Event().wait()
        return {}

    with patch.object(service, "_get_project_environment", never):
        start = asyncio.create_task(service.start_preview(123))
        async with asyncio.timeout(5):
            await asked.wait()
        start.cancel()
        with pytest.raises(asyncio.CancelledError):
            await start
    async with asyncio.timeout(5):
        await service.stop_preview(123)
    client.containers.run.assert_not_called()
    assert 123 not in service.containers

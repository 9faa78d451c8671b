"""The facade, with an engine that is not there: what is a coroutine, what is refused, what is shared, what survives."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock, create_autospec, patch

import kosuke_docker
import pytest
from kosuke_docker import (
    ContainerInfo,
    DockerService,
    DockerUnavailableError,
    InvalidInputError,
    ProjectFolderError,
    Settings,
)

ASYNC = [
    "is_docker_available",
    "start_preview",
    "stop_preview",
    "stop_all_previews",
    "get_preview_status",
    "get_preview",
    "list_previews",
    "aclose",
    "_get_project_environment",
    "_ensure_project_database",
    "_check_container_health",
    "_monitor_compilation",
]
SYNC = ["_get_random_port", "_get_container_name", "_prepare_container_environment"]
INFO = ContainerInfo(project_id=7, container_id="c", container_name="n", port=1, url="http://localhost:1")


@pytest.fixture
def service(settings: Settings) -> DockerService:
    return DockerService(settings)


def test_what_is_a_coroutine_function() -> None:
    assert [name for name in ASYNC if not inspect.iscoroutinefunction(getattr(DockerService, name))] == []
    assert [name for name in SYNC if inspect.iscoroutinefunction(getattr(DockerService, name))] == []


def test_the_signatures_are_the_tickets() -> None:
    parameters = inspect.signature(DockerService.start_preview).parameters
    positional = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    assert positional == ["self", "project_id", "env_vars"]
    assert parameters["env_vars"].default is None
    assert list(inspect.signature(DockerService._get_random_port).parameters) == ["self", "min_port", "max_port"]
    for name in ("stop_preview", "get_preview_status", "_get_container_name", "_ensure_project_database"):
        parameters = inspect.signature(getattr(DockerService, name)).parameters
        assert [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD] == [
            "self",
            "project_id",
        ]


def test_everything_exported_exists() -> None:
    assert [name for name in kosuke_docker.__all__ if not hasattr(kosuke_docker, name)] == []
    assert kosuke_docker.__version__


async def test_tasks_and_gather(service: DockerService) -> None:
    task = asyncio.create_task(service.is_docker_available())
    assert await asyncio.gather(task, *(service.is_docker_available() for _ in range(20))) == [False] * 21
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(service.is_docker_available()) for _ in range(3)]
    assert [task.result() for task in tasks] == [False] * 3
    assert await asyncio.wait_for(service.is_docker_available(), 5) is False


def test_asyncio_run(service: DockerService) -> None:
    assert asyncio.run(service.is_docker_available()) is False


def test_one_service_in_two_loops_in_sequence(service: DockerService) -> None:
    async def use() -> list[int]:
        assert await service.is_docker_available() is False
        with pytest.raises(DockerUnavailableError):
            await service.get_preview(8)
        service.containers[7] = INFO
        return list(service.containers)

    assert asyncio.run(use()) == asyncio.run(use()) == [7]


async def test_nothing_starts_before_the_await(settings: Settings) -> None:
    client = MagicMock()
    service = DockerService(settings, client=client)
    waiting = [service.is_docker_available(), service.start_preview(7), service.stop_all_previews()]
    for _ in range(3):
        await asyncio.sleep(0)
    assert client.mock_calls == []
    for coroutine in waiting:
        coroutine.close()
    assert client.mock_calls == []


async def test_context_variables_stay_the_callers(settings: Settings) -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    seen: list[str] = []

    class Own(DockerService):
        async def _get_project_environment(self, project_id: int) -> dict[str, str]:
            seen.append(who.get())
            return {}

    who.set("the caller")
    client = MagicMock()
    await Own(settings, client=client).start_preview(7)
    assert seen == ["the caller"]


async def test_an_autospec_can_stand_in() -> None:
    service = create_autospec(DockerService, instance=True)
    service.start_preview.return_value = "http://localhost:3001"
    assert [name for name in ASYNC if not isinstance(getattr(service, name), AsyncMock)] == []
    assert [name for name in SYNC if isinstance(getattr(service, name), AsyncMock)] == []
    assert await service.start_preview(7, {"A": "1"}, wait="ready") == "http://localhost:3001"
    service.start_preview.assert_awaited_once_with(7, {"A": "1"}, wait="ready")
    with pytest.raises(TypeError):
        service.start_preview()


def test_constructing_does_no_io(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://host.invalid:2375")
    service = DockerService(Settings(projects_dir=str(tmp_path / "missing"), postgres_host="host.invalid"))
    assert repr(service)
    assert len(service.containers) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", ["unix:///nonexistent.sock", "tcp://127.0.0.1:1", "http://127.0.0.1:1"])
async def test_no_engine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, address: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", address)
    service = DockerService(settings)
    assert await service.is_docker_available() is False
    assert "Docker not available" in caplog.text
    tries: list[Callable[[], Awaitable[object]]] = [
        lambda: service.start_preview(7),
        lambda: service.start_preview(7, {"A": "1"}, wait="ready"),
        lambda: service.stop_preview(7),
        service.stop_all_previews,
        lambda: service.get_preview_status(7),
        lambda: service.get_preview(7),
        service.list_previews,
    ]
    for attempt in tries:
        with pytest.raises(DockerUnavailableError):
            await attempt()
    assert len(service.containers) == 0


async def test_an_entry_that_was_never_verified_is_not_told_as_last_known(service: DockerService) -> None:
    service.containers[7] = INFO
    with pytest.raises(DockerUnavailableError):
        await service.get_preview(7)
    with pytest.raises(DockerUnavailableError):
        await service.start_preview(7)


async def test_a_missing_folder_through_a_client_is_passed_through(tmp_path: Path) -> None:
    client = MagicMock()
    settings = Settings(projects_dir=str(tmp_path / "elsewhere"), postgres_host=None)
    await DockerService(settings, client=client).start_preview(7)
    assert list(client.containers.run.call_args.kwargs["volumes"]) == [str(tmp_path / "elsewhere" / "7")]


async def test_a_missing_folder_without_an_engine_is_no_worse(settings: Settings) -> None:
    # Which of the two is told first is open; a start that worked would be wrong.
    with pytest.raises((DockerUnavailableError, ProjectFolderError)):
        await DockerService(settings).start_preview(8)


@pytest.mark.parametrize(
    "project_id",
    [-1, True, False, "7", 1.5, 7.0, None, MagicMock(), 2**63, 2**64, -(2**63) - 1, b"7", [7]],
    ids=lambda value: type(value).__name__ if isinstance(value, MagicMock) else repr(value),
)
@pytest.mark.parametrize("with_client", [False, True], ids=["native", "client"])
async def test_a_bad_id_is_refused(settings: Settings, project_id: Any, with_client: bool) -> None:
    client = MagicMock()
    service = DockerService(settings, client=client) if with_client else DockerService(settings)
    tries: list[Callable[[], Awaitable[object]]] = [
        lambda: service.start_preview(project_id),
        lambda: service.stop_preview(project_id),
        lambda: service.get_preview_status(project_id),
        lambda: service.get_preview(project_id),
        lambda: service._ensure_project_database(project_id),
        lambda: service.drop_project_database(project_id),
        lambda: service.reset_database(project_id),
        lambda: service.clone_database(project_id, 7),
        lambda: service.database_info(project_id),
        lambda: service._monitor_compilation(project_id, MagicMock()),
    ]
    for attempt in tries:
        with pytest.raises(InvalidInputError) as caught:
            await attempt()
        assert caught.value.field == "project_id"
    with pytest.raises(InvalidInputError) as caught:
        service._get_container_name(project_id)
    assert caught.value.field == "project_id"
    assert client.mock_calls == []


@pytest.mark.parametrize("project_id", [0, 1, 2**63 - 1])
def test_good_ids(service: DockerService, project_id: int) -> None:
    assert service._get_container_name(project_id) == f"kosuke-preview-{project_id}"


async def test_an_own_name_does_not_let_a_bad_id_pass(settings: Settings) -> None:
    class Own(DockerService):
        def _get_container_name(self, project_id: int) -> str:
            return "mine"

    for attempt in (Own(settings).start_preview, Own(settings).stop_preview, Own(settings).get_preview_status):
        with pytest.raises(InvalidInputError) as caught:
            await attempt(-1)
        assert caught.value.field == "project_id"


def test_random_ports(service: DockerService) -> None:
    drawn = {service._get_random_port(3000, 3010) for _ in range(1000)}
    assert drawn <= set(range(3000, 3011))
    assert {3000, 3010} <= drawn
    assert service._get_random_port(3005, 3005) == 3005
    assert all(3000 <= service._get_random_port() <= 4000 for _ in range(100))
    assert service._get_random_port(max_port=3000) == 3000


def test_a_range_that_is_upside_down_is_refused(service: DockerService) -> None:
    with pytest.raises(InvalidInputError) as caught:
        service._get_random_port(3001, 3000)
    assert caught.value.field == "max_port"


def test_names_and_prefixes(settings: Settings) -> None:
    assert DockerService.CONTAINER_NAME_PREFIX == "kosuke-preview-"
    assert DockerService(settings).CONTAINER_NAME_PREFIX == "kosuke-preview-"
    other = DockerService(settings.model_copy(update={"preview_container_name_prefix": "p-"}))
    assert other.CONTAINER_NAME_PREFIX == "p-"
    assert other._get_container_name(7) == "p-7"
    assert DockerService.CONTAINER_NAME_PREFIX == "kosuke-preview-"


def test_a_prefix_set_on_the_instance(service: DockerService) -> None:
    service.CONTAINER_NAME_PREFIX = "mine-"
    assert service._get_container_name(7) == "mine-7"


def test_equal_settings_share(settings: Settings) -> None:
    one, same = DockerService(settings), DockerService(settings.model_copy())
    other = DockerService(settings.model_copy(update={"preview_port": 8080}))
    one.containers[7] = INFO
    assert same.containers[7] is one.containers[7]
    assert 7 not in other.containers
    del same.containers[7]
    assert 7 not in one.containers


def test_another_engine_is_not_shared(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    one = DockerService(settings)
    one.containers[7] = INFO
    monkeypatch.setenv("DOCKER_HOST", "unix:///other.sock")
    assert 7 not in DockerService(settings).containers
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    assert 7 in DockerService(settings).containers


def test_other_clients_hooks_and_names_are_not_shared(settings: Settings) -> None:
    class Own(DockerService):
        async def _check_container_health(self, url: str) -> bool:
            return True

    class Named(DockerService):
        def _get_container_name(self, project_id: int) -> str:
            return f"mine-{project_id}"

    async def healthy(url: str) -> bool:
        return True

    DockerService(settings).containers[7] = INFO
    assert 7 not in DockerService(settings, client=MagicMock()).containers
    patched, renamed = Own(settings), Own(settings)
    patched._check_container_health = healthy  # type: ignore[method-assign]
    renamed.CONTAINER_NAME_PREFIX = "other-"
    for other in (Own(settings), Named(settings), patched, renamed):
        assert 7 not in other.containers
    with patch.object(DockerService, "_check_container_health", healthy):
        assert 7 not in DockerService(settings).containers, "patched on the class"
    one = Own(settings)
    one.containers[8] = INFO.model_copy(update={"project_id": 8})
    assert list(Own(settings).containers) == [8], "services of one class share"
    assert 8 not in patched.containers
    assert 8 not in renamed.containers
    assert list(DockerService(settings).containers) == [7]


async def test_closed_and_used_again(settings: Settings) -> None:
    service, sharing = DockerService(settings), DockerService(settings)
    service.containers[7] = INFO
    assert 7 in sharing.containers
    await service.aclose()
    assert 7 in sharing.containers, "one who leaves does not close what another uses"
    await sharing.aclose()
    for one in (service, sharing):
        assert await one.is_docker_available() is False
        assert len(one.containers) == 0
    await service.aclose()
    await service.aclose()


async def test_closing_what_was_never_used(service: DockerService) -> None:
    await service.aclose()


async def test_as_a_context(settings: Settings) -> None:
    async with DockerService(settings) as service:
        assert isinstance(service, DockerService)
        assert await service.is_docker_available() is False


FORK = """
import asyncio, os, sys
from kosuke_docker import ContainerInfo, DockerService, DockerUnavailableError, ServiceForkedError, Settings

service = DockerService(Settings(postgres_host=None))

async def use():
    async with asyncio.timeout(10):
        assert await service.is_docker_available() is False
        assert len(service.containers) == 0
        try:
            await service.get_preview(8)
        except DockerUnavailableError:
            pass
        else:
            raise AssertionError("there is no engine")
        service.containers[7] = ContainerInfo(
            project_id=7, container_id="c", container_name="n", port=1, url="http://localhost:1"
        )
        assert 7 in service.containers

asyncio.run(use())
child = os.fork()
if child == 0:
    for forked in (lambda: service.containers, lambda: asyncio.run(service.is_docker_available())):
        try:
            forked()
        except ServiceForkedError as error:
            assert "before the process forked" in str(error)
        else:
            raise AssertionError("it belongs to the parent")
    service = DockerService()
    asyncio.run(use())
    print("child done", flush=True)
    sys.exit(0)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert list(service.containers) == [7]
assert asyncio.run(service.is_docker_available()) is False
print("parent done", flush=True)
"""


def test_a_forked_child_needs_a_service_of_its_own() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], timeout=60, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "child done\nparent done\n"), done.stderr


EXIT = """
import asyncio
from kosuke_docker import DockerService
asyncio.run(DockerService().is_docker_available())
"""


def test_a_process_that_used_it_ends_by_itself() -> None:
    done = subprocess.run([sys.executable, "-c", EXIT], timeout=60, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr

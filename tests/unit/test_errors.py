"""The exceptions."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import kosuke_docker
import pytest
from kosuke_docker import (
    BrowserUnavailableError,
    ContainerConflictError,
    ContainerStartError,
    DatabaseError,
    DockerService,
    DockerUnavailableError,
    EngineError,
    HookError,
    HookReentryError,
    ImageNotFoundError,
    InvalidInputError,
    KosukeDockerError,
    OperationTimeoutError,
    PageUnavailableError,
    PortRangeExhaustedError,
    PreviewFailedError,
    PreviewNotFoundError,
    PreviewTimeoutError,
    ProjectFolderError,
    ServiceClosedError,
    ServiceForkedError,
    Settings,
    SettingsError,
)

BASES: dict[type[KosukeDockerError], type[Exception]] = {
    BrowserUnavailableError: RuntimeError,
    ContainerConflictError: KosukeDockerError,
    ContainerStartError: KosukeDockerError,
    DatabaseError: KosukeDockerError,
    DockerUnavailableError: ConnectionError,
    EngineError: KosukeDockerError,
    HookError: KosukeDockerError,
    HookReentryError: RuntimeError,
    ImageNotFoundError: KosukeDockerError,
    InvalidInputError: ValueError,
    KosukeDockerError: Exception,
    OperationTimeoutError: TimeoutError,
    PageUnavailableError: KosukeDockerError,
    PortRangeExhaustedError: KosukeDockerError,
    PreviewFailedError: KosukeDockerError,
    PreviewNotFoundError: LookupError,
    PreviewTimeoutError: TimeoutError,
    ProjectFolderError: ValueError,
    ServiceClosedError: RuntimeError,
    ServiceForkedError: RuntimeError,
    SettingsError: ValueError,
}
DETAILS: dict[type[KosukeDockerError], dict[str, object]] = {
    InvalidInputError: {"field": "project_id"},
    SettingsError: {"field": "preview_port"},
    ProjectFolderError: {"path": "/projects/7"},
    ImageNotFoundError: {"image": "mine:1"},
    HookReentryError: {"hook": "_ensure_project_database"},
    PortRangeExhaustedError: {"first_port": 3000, "last_port": 4000},
    PreviewFailedError: {"exit_code": 1, "last_lines": ["x"], "last_known": None},
    PreviewTimeoutError: {
        "timeout": 1.0,
        "phase": "starting",
        "stages": {"starting": 1.0},
        "last_lines": ["x"],
        "last_known": None,
    },
}


def test_all_are_exported() -> None:
    found = {name: getattr(kosuke_docker, name) for name in kosuke_docker.__all__}
    exported = {name for name, value in found.items() if isinstance(value, type) and issubclass(value, Exception)}
    assert exported == {error.__name__ for error in BASES}


@pytest.mark.parametrize(("error", "base"), BASES.items())
def test_the_bases(error: type[KosukeDockerError], base: type[Exception]) -> None:
    assert issubclass(error, KosukeDockerError)
    assert issubclass(error, base)
    assert error.__doc__


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("how", ["pickle", "copy", "deepcopy"])
def test_a_copy_is_alike(kind: type[KosukeDockerError], how: str) -> None:
    details = DETAILS.get(kind, {})
    error = kind("boom", operation="start", preview=7, engine_message="the engine's words", **details)
    ways: dict[str, Callable[[KosukeDockerError], KosukeDockerError]] = {
        "pickle": lambda one: pickle.loads(pickle.dumps(one)),
        "copy": copy.copy,
        "deepcopy": copy.deepcopy,
    }
    other = ways[how](error)
    assert type(other) is kind
    assert other.args == error.args == ("boom",)
    assert str(other) == "boom"
    assert (other.operation, other.preview, other.engine_message) == ("start", 7, "the engine's words")
    for name, value in details.items():
        assert getattr(other, name) == value


@pytest.mark.parametrize("kind", BASES)
def test_all_can_be_made_bare(kind: type[KosukeDockerError]) -> None:
    error = kind()
    assert (error.operation, error.preview, error.engine_message) == (None, None, None)


def test_a_native_error_survives_pickling(settings: Settings) -> None:
    with pytest.raises(InvalidInputError) as caught:
        DockerService(settings)._get_container_name(-1)
    other = pickle.loads(pickle.dumps(caught.value))
    assert (type(other), str(other), other.field) == (InvalidInputError, str(caught.value), "project_id")


async def test_an_engine_that_is_not_there(settings: Settings) -> None:
    with pytest.raises(DockerUnavailableError) as caught:
        await DockerService(settings).start_preview(7)
    error = caught.value
    assert error.preview == 7
    assert error.operation == "start"
    assert error.engine_message
    assert error.engine_message in str(error)
    other = pickle.loads(pickle.dumps(error))
    assert (str(other), other.__dict__) == (str(error), error.__dict__)


def test_a_settings_error_tells_the_operation() -> None:
    with pytest.raises(SettingsError) as caught:
        DockerService(SimpleNamespace(preview_port=0))
    assert caught.value.operation == "configure"
    assert pickle.loads(pickle.dumps(caught.value)).field == "preview_port"


def test_builtin_handlers_catch_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="project_id"):
        DockerService(Settings(projects_dir=str(tmp_path)))._get_container_name(-1)

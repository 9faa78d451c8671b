"""What can go wrong. Every exception carries the operation, the preview and the engine's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kosuke_docker.models import Preview


class KosukeDockerError(Exception):
    """Base of every error of this package.

    Attributes:
        operation: The step that failed, as a short word: ``create``, ``start``, ``image``, ...
        preview: The project's id, None where it was about no single one.
        engine_message: The engine's, the registry's or the database server's own words, None if it said nothing.
    """

    def __init__(
        self,
        message: str = "",
        *,
        operation: str | None = None,
        preview: int | None = None,
        engine_message: str | None = None,
        **details: object,
    ) -> None:
        super().__init__(message)
        self.operation = operation
        self.preview = preview
        self.engine_message = engine_message
        self.__dict__.update(details)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.args, dict(self.__dict__)))


def _rebuild(cls: type[KosukeDockerError], args: tuple[str, ...], state: dict[str, object]) -> KosukeDockerError:
    error = cls(*args)
    error.__dict__.update(state)
    return error


class InvalidInputError(KosukeDockerError, ValueError):
    """An argument that cannot be used. Nothing was made."""

    field: str


class SettingsError(KosukeDockerError, ValueError):
    """A setting that cannot be used."""

    field: str


class ProjectFolderError(KosukeDockerError, ValueError):
    """The project's folder is missing or leads out of ``PROJECTS_DIR``. Nothing was made."""

    path: str


class DockerUnavailableError(KosukeDockerError, ConnectionError):
    """The engine does not answer."""


class ImageNotFoundError(KosukeDockerError):
    """The image is neither here nor to be had."""

    image: str


class PortRangeExhaustedError(KosukeDockerError):
    """No port of the range is free."""

    first_port: int
    last_port: int


class ContainerStartError(KosukeDockerError):
    """The engine refused to create or start the container. Nothing of the attempt is left."""


class ContainerConflictError(KosukeDockerError):
    """A container of the preview's name that is not ours to remove."""


class PreviewFailedError(KosukeDockerError):
    """The preview cannot become ready any more: its container ended, or does not compile where that counts.

    The container is kept until the next start, stop or sweep.

    Attributes:
        exit_code: The exit code, where the container ended and it is known.
        last_lines: The last lines of its output.
        last_known: The ``Preview`` with all that was known, None where there was none.
    """

    exit_code: int | None
    last_lines: list[str]
    last_known: Preview | None


class PreviewTimeoutError(KosukeDockerError, TimeoutError):
    """The preview was not ready in time.

    Attributes:
        timeout: How long was waited, in seconds.
        phase: Its phase, None where there was no preview.
        stages: How long it was in each phase while it was waited for, in seconds.
        last_lines: The last lines of its output.
        last_known: The ``Preview`` with all that was known, None where there was none.
    """

    timeout: float
    phase: str | None
    stages: dict[str, float]
    last_lines: list[str]
    last_known: Preview | None


class PreviewNotFoundError(KosukeDockerError, LookupError):
    """There is no preview of this project."""


class DatabaseError(KosukeDockerError):
    """An operation on a database failed, or it could not be made and ``POSTGRES_REQUIRED`` is set.

    Attributes:
        step: What was being done: ``connect``, ``create database``, ``drop role``, ...
        sqlstate: The server's five-character code, None where it said nothing.
    """

    step: str
    sqlstate: str | None


class OperationTimeoutError(KosukeDockerError, TimeoutError):
    """The engine did not answer within ``ENGINE_TIMEOUT``."""


class EngineError(KosukeDockerError):
    """The engine refused something else."""


class HookError(KosukeDockerError):
    """A replaced hook of the caller that this one joined raised."""


class ServiceClosedError(KosukeDockerError, RuntimeError):
    """The service was closed while this ran."""


class ServiceForkedError(KosukeDockerError, RuntimeError):
    """The service was used before this process was forked. Make a new one in the child."""

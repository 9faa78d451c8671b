"""The exceptions. Each carries the operation, the preview and the engine's own words."""

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
    """An argument cannot be used. Nothing was made.

    Attributes:
        field: The argument's name.
    """

    field: str


class SettingsError(KosukeDockerError, ValueError):
    """A setting cannot be used, wherever it comes from. Field, environment variable and value are named; no secret is.

    Attributes:
        field: The field's name; ``settings`` for an object that has none.
    """

    field: str


class ProjectFolderError(KosukeDockerError, ValueError):
    """The project's folder is missing or leads out of ``PROJECTS_DIR``. Nothing was made.

    Attributes:
        path: The folder.
    """

    path: str


class DockerUnavailableError(KosukeDockerError, ConnectionError):
    """The engine does not answer."""


class ImageNotFoundError(KosukeDockerError):
    """The engine does not have the image and cannot pull it.

    Attributes:
        image: The image's name.
    """

    image: str


class PortRangeExhaustedError(KosukeDockerError):
    """No port of the range is free.

    Attributes:
        first_port: The first port of the range.
        last_port: The last port of the range, included.
    """

    first_port: int
    last_port: int


class ContainerStartError(KosukeDockerError):
    """The engine refused to create or start the container. Nothing of the attempt is left."""


class ContainerConflictError(KosukeDockerError):
    """A container has the preview's name and is not ours to remove."""


class PreviewFailedError(KosukeDockerError):
    """The preview cannot become ready any more: its container ended, or its page does not compile where that counts.

    The container is kept until the next start, stop or sweep.

    Attributes:
        exit_code: The exit code, None unless the container ended and the code is known.
        last_lines: The last lines of its output.
        last_known: The ``Preview`` with all that was known, None where there was none.
    """

    exit_code: int | None
    last_lines: list[str]
    last_known: Preview | None


class PreviewTimeoutError(KosukeDockerError, TimeoutError):
    """The preview was not ready in time.

    Attributes:
        timeout: How long the call waited, in seconds.
        phase: Its phase, None where there was no preview.
        stages: Seconds that it spent in each phase during the wait.
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
    """An operation on a database failed, or a start that needs one (``POSTGRES_REQUIRED``) could not make it.

    Attributes:
        step: The step that failed: ``connect``, ``create database``, ``drop role``, ...
        sqlstate: The server's five-character code, None if it sent none.
    """

    step: str
    sqlstate: str | None


class OperationTimeoutError(KosukeDockerError, TimeoutError):
    """The engine did not answer within ``ENGINE_TIMEOUT``, or a replaced hook within ``PREVIEW_HOOK_TIMEOUT``."""


class EngineError(KosukeDockerError):
    """The engine refused a call for a reason that has no class of its own, or what answers is no Docker Engine."""


class BrowserUnavailableError(KosukeDockerError, RuntimeError):
    """There is no browser: the extra ``[browser]`` or a Chromium is missing, or it does not start."""


class PageUnavailableError(KosukeDockerError):
    """The browser cannot show the page: nothing answers, it takes too long, or it leads away from its preview."""


class HookError(KosukeDockerError):
    """This call joined another's start, and a replaced hook of that other call raised."""


class HookReentryError(KosukeDockerError, RuntimeError):
    """A replaced hook called an operation on its own preview, which would wait for the hook for ever.

    Attributes:
        hook: The name of the hook.
    """

    hook: str


class ServiceClosedError(KosukeDockerError, RuntimeError):
    """The service was closed while the call ran."""


class ServiceForkedError(KosukeDockerError, RuntimeError):
    """The service was used before the process forked. Make a new one in the child."""

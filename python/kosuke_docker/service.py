"""The facade: signatures and docstrings. The native core makes every decision."""

from __future__ import annotations

import asyncio
import enum
import functools
import itertools
import json
import logging
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from pydantic import TypeAdapter

from kosuke_docker import _arguments, _core, _cores, _hooks, _seams, _verdict
from kosuke_docker._core import HookCall, HookReply
from kosuke_docker.containers import Containers
from kosuke_docker.engine import ClientEngine, open_logs, options_of_docker_py
from kosuke_docker.errors import (
    BrowserUnavailableError,
    KosukeDockerError,
    PageUnavailableError,
    PreviewNotFoundError,
    ServiceForkedError,
)
from kosuke_docker.models import (
    CheckResult,
    DatabaseInfo,
    Limits,
    OrphanDatabase,
    Preview,
    PreviewStatus,
    PullProgress,
    SweepResult,
    Verdict,
)
from kosuke_docker.settings import Settings
from kosuke_docker.streams import EventStream, LogStream

if TYPE_CHECKING:
    from kosuke_docker.browser import Browser, Seen

logger = logging.getLogger("kosuke_docker")

T = TypeVar("T")
ProgressHandler = Callable[[PullProgress], Awaitable[None] | None]
"""A function or coroutine function that gets each step of a pull."""

_CLOSE_TIMEOUT = 2.0
"""Seconds that ``aclose`` waits for tasks that are ending."""
_AT_ONCE = 64
"""Answers that are given at once before the loop gets a turn."""
_told_at_once = itertools.count(1)
_configured: Settings | None = None


def configure(settings: object | None) -> None:
    """Sets what ``DockerService()`` without settings uses from now on.

    Args:
        settings: A ``Settings``, any object with some of its fields as attributes, or None for the environment again.

    Raises:
        SettingsError: A value cannot be used; its field is named.
    """
    global _configured  # noqa: PLW0603 - the module's one piece of state, as in logging.basicConfig
    _configured = None if settings is None else Settings.of(settings)


@functools.cache
def _previews() -> TypeAdapter[list[Preview]]:
    return TypeAdapter(list[Preview])


@functools.cache
def _orphans() -> TypeAdapter[list[OrphanDatabase]]:
    return TypeAdapter(list[OrphanDatabase])


class _Sharing(enum.IntEnum):
    """Which services a core is shared with."""

    NONE = 0
    CLASS = 1
    ALL = 2


class EnvironmentService:
    """Builds the environment of a preview's container. Replaceable on the instance."""

    def __init__(self, service: DockerService) -> None:
        # Weak: a service that is dropped has to be gone at once, and not at the next garbage collection.
        self._service = weakref.ref(service)

    def prepare_container_environment(
        self, project_id: int, env_vars: Mapping[str, str | None] | None = None
    ) -> dict[str, str]:
        """The variables of a project's container.

        ``PROJECT_ID``, ``NODE_ENV``, ``PORT``, ``NEXT_TELEMETRY_DISABLED`` and, where a database server is configured,
        ``POSTGRES_URL`` and ``DATABASE_URL``. The URL's password is the one that the next start of this preview sets.

        Args:
            project_id: The project.
            env_vars: The caller's variables; they win. None values are left out. Not changed.

        Raises:
            InvalidInputError: A name or value cannot be used; it is named.
            ReferenceError: Its ``DockerService`` is gone.
        """
        service = self._service()
        if service is None:
            raise ReferenceError("the DockerService of this environment service is gone: keep it")
        return service._native_environment(project_id, env_vars)


class DockerService:
    """Live previews of web apps, one container per project.

    Constructing does no I/O. A new object per request is fine, also of a subclass: the state is in the engine, and
    objects of one class with the same settings in one process share one native core.

    Args:
        settings: A ``Settings``, any object with some of its fields as attributes, or None: what ``configure`` was
            given, else the environment. What an object lacks is read from the environment, too.
        client: A docker-py-compatible client to use in place of the native engine.

    Raises:
        SettingsError: A setting cannot be used; its field is named.
    """

    CONTAINER_NAME_PREFIX: str = "kosuke-preview-"

    def __init__(self, settings: object | None = None, *, client: Any | None = None) -> None:
        if settings is not None:
            self._settings = Settings.of(settings)
        else:
            self._settings = _configured or Settings.from_env()
        self.CONTAINER_NAME_PREFIX = self._settings.preview_container_name_prefix
        self.environment_service: Any = EnvironmentService(self)
        self._client = client if client is not None else _seams.default_client()
        self._docker_py: Any | None = None
        self._attachment: _cores.Attachment | None = None
        self._sharing = _Sharing.ALL
        self._browser: Browser | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.CONTAINER_NAME_PREFIX}*>"

    async def __aenter__(self) -> DockerService:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    @property
    def settings(self) -> Settings:
        """The settings in use."""
        return self._settings

    @property
    def client(self) -> Any:
        """The client that was passed in, else ``docker.from_env()`` for the same engine. Native code never uses it.

        Raises:
            ImportError: None was passed in and docker-py is not installed.
        """
        if self._client is not None:
            return self._client
        if self._docker_py is None:
            try:
                import docker  # noqa: PLC0415 - docker-py is optional
            except ImportError as error:
                raise ImportError("DockerService.client needs docker-py: pip install docker") from error
            self._docker_py = docker.from_env(**options_of_docker_py())
        return self._docker_py

    @client.setter
    def client(self, client: Any) -> None:
        self._client = client
        self._attachment = None

    @property
    def containers(self) -> Containers:
        """The cache, as a mapping of project id to ``ContainerInfo``. Writing changes the cache only."""
        return self._attach().containers

    async def is_docker_available(self) -> bool:
        """Whether the engine answers. The reason why not is logged."""
        core = self._attach().core
        try:
            await core.ping()
        except KosukeDockerError as error:
            # As text: a handler may keep the record, and with the exception this service.
            logger.error("Docker not available: %s", str(error))
            return False
        return True

    async def start_preview(
        self,
        project_id: int,
        env_vars: Mapping[str, str | None] | None = None,
        *,
        wait: Literal["running", "ready"] = "running",
        timeout: float | None = 60,
        fail_on_compile_error: bool = False,
        limits: Limits | None = None,
        recreate: Literal["never", "on_drift"] = "never",
        on_progress: ProgressHandler | None = None,
    ) -> str:
        """Starts a project's preview, or finds it running.

        Concurrent calls for one preview share one start. When the last of them is cancelled before the container runs,
        the start is undone.

        Args:
            project_id: The project, from 0.
            env_vars: Variables for the container; they win over all others. None values are left out. A container that
                runs already keeps its own: those that differ are named in ``Preview.drift``.
            wait: ``running`` returns when the container runs, ``ready`` when the page was compiled and answered, as
                ``wait_until_ready`` does.
            timeout: With ``wait="ready"``: seconds to wait for that once the container runs, None for ever.
            fail_on_compile_error: With ``wait="ready"``: a compile error ends the wait.
            limits: What the container may use, in place of the settings. One that runs already keeps its own, also
                over ``restart_preview``. With ``client=`` there are no limits, and these are refused.
            recreate: ``on_drift`` replaces a container that runs with other values than ``env_vars``; its database
                stays. It is removed first: where the new one cannot be made, none is left. ``never`` leaves it. With
                ``client=`` only ``never`` can be used.
            on_progress: Called on this loop with each step of the image's pull, if one is needed. May be async. What
                it raises ends this call, and not those who share the start. Of calls that share a start, only the
                first one's variables, limits, handler and hooks count.

        Returns:
            The preview's URL.

        Raises:
            InvalidInputError: An argument cannot be used. Nothing was made.
            ProjectFolderError: The project's folder is missing or leads out of ``PROJECTS_DIR``. Nothing was made.
            DockerUnavailableError: The engine does not answer.
            ImageNotFoundError: The engine does not have the image and cannot pull it.
            PortRangeExhaustedError: No port of the range is free.
            ContainerStartError: The engine refused. Nothing of the attempt is left.
            ContainerConflictError: A container of that name is not ours to remove.
            DatabaseError: The database cannot be made, and ``POSTGRES_REQUIRED`` is set.
            PreviewFailedError: The container ended at once, or before it was ready.
            PreviewTimeoutError: It was not ready in time. The container goes on.
            OperationTimeoutError: An engine call took longer than ``ENGINE_TIMEOUT``, or a replaced hook longer than
                ``PREVIEW_HOOK_TIMEOUT``.
            HookReentryError: A hook of this very preview makes the call, and would wait for itself.
        """
        core = self._attach().core
        _hooks.refuse_within(core, "start_preview", project_id)
        name = self._get_container_name(project_id)
        until = (_arguments.seconds(timeout), _arguments.flag("fail_on_compile_error", fail_on_compile_error))
        ready = until if _arguments.waits_for_ready(wait) else None
        given, anew = _arguments.limits(limits), _arguments.recreates(recreate)
        return await self._run(
            project_id,
            lambda call: core.start(project_id, name, env_vars, ready, given, anew, call),
            _arguments.handler(on_progress),
        )

    async def wait_until_ready(
        self, project_id: int, timeout: float | None = 60, *, fail_on_compile_error: bool = False
    ) -> Preview:
        """Waits until a project's preview is ready.

        Args:
            project_id: The project.
            timeout: Seconds to wait, None for as long as it may become ready.
            fail_on_compile_error: Whether a compile error ends the wait; if not, somebody may fix it meanwhile.

        Returns:
            The preview.

        Raises:
            PreviewFailedError: At once when it cannot become ready any more: there is no preview, its container ended,
                or a compile error ends the wait. ``last_known`` is the ``Preview``.
            PreviewTimeoutError: With the phase, the time per phase and the last lines.
            InvalidInputError: An argument cannot be used.
            DockerUnavailableError, OperationTimeoutError, EngineError: The engine does not answer, or refuses, and
                nothing was known before.
        """
        core, name = self._attach().core, self._get_container_name(project_id)
        _hooks.refuse_within(core, "wait_until_ready", project_id)
        until = (_arguments.seconds(timeout), _arguments.flag("fail_on_compile_error", fail_on_compile_error))
        return Preview.model_validate_json(await core.wait_until_ready(project_id, name, *until))

    def logs(self, project_id: int, *, follow: bool = True, tail: int | None = 200) -> LogStream:
        """A project's output, line by line.

        It goes on over restarts of the container and ends when the container ends or is removed. A reader that is too
        slow loses lines and gets one line that says how many.

        Args:
            project_id: The project.
            follow: Whether to wait for new lines after those that exist.
            tail: How many of the existing lines to begin with, None for all.

        Returns:
            An asynchronous iterator of ``LogLine``.

        Raises:
            InvalidInputError: An argument cannot be used.
            PreviewNotFoundError: While it is read: there is no preview.
            DockerUnavailableError, OperationTimeoutError, EngineError: While it is read: the engine failed.
        """
        core, name = self._attach().core, self._get_container_name(project_id)
        given = (_arguments.flag("follow", follow), _arguments.tail(tail))
        return LogStream(self, lambda: core.logs(project_id, name, *given))

    def events(self, project_id: int | None = None, *, browser_errors: bool = False) -> EventStream:
        """The changes of previews from now on: every change of a phase, every compile error set or cleared.

        Args:
            project_id: Only this project's; None: all of this owner's.
            browser_errors: Also an event when errors in browsers come or go. Their words are the page's own.

        Returns:
            An asynchronous iterator of ``PreviewEvent``, in the order of the changes. Any number may exist. As an
            ``async with`` it begins with the block.

        Raises:
            InvalidInputError: When it begins: the id cannot be used.
            DockerUnavailableError, OperationTimeoutError, EngineError: When it begins: the engine cannot be asked.
        """
        core = self._attach().core
        name = "" if project_id is None else self._get_container_name(project_id)
        return EventStream(self, lambda: core.events(project_id, name, browser_errors))

    async def restart_preview(self, project_id: int) -> str:
        """Restarts a project's preview in the same container, with the same environment; without one, starts it.

        A container whose ``database`` is ``unavailable`` is replaced, as soon as the database can be made. The new one
        gets the variables that the start was given.

        Returns:
            The preview's URL; the engine may have chosen another port.

        Raises:
            KosukeDockerError: As ``start_preview``.
        """
        core = self._attach().core
        _hooks.refuse_within(core, "restart_preview", project_id)
        name = self._get_container_name(project_id)
        return await self._run(project_id, lambda call: core.restart(project_id, name, call))

    async def ensure_image(self, on_progress: ProgressHandler | None = None) -> None:
        """Makes sure that the engine has the previews' image, as ``PREVIEW_PULL_POLICY`` says: for an agent's start-up.

        Concurrent calls and starts that need the same image share one pull; it is cancelled when the last of them is.

        Args:
            on_progress: Called on this loop with the steps of the pull. May be async.

        Raises:
            InvalidInputError: ``on_progress`` cannot be called.
            ImageNotFoundError: It is missing and cannot be pulled; ``engine_message`` has the registry's words.
            DockerUnavailableError, OperationTimeoutError: The engine does not answer.
        """
        ensure: Callable[[HookCall | None], Awaitable[None] | None] = self._attach().core.ensure_image
        await self._run(None, ensure, _arguments.handler(on_progress))

    async def is_container_running(self, project_id: int) -> bool:
        """Whether a project's container runs. The app is not asked.

        Raises:
            DockerUnavailableError, OperationTimeoutError, EngineError: The engine does not answer, or refuses.
        """
        return await self._attach().core.is_running(project_id, self._get_container_name(project_id))

    async def stop_preview(self, project_id: int, *, remove_database: bool = False) -> None:
        """Stops and removes a project's preview. No preview is no error.

        Args:
            project_id: The project, from 0.
            remove_database: Also remove its database and role, and end their sessions. Otherwise the data is kept.

        Raises:
            ContainerConflictError: The container is not ours to remove.
            DockerUnavailableError, OperationTimeoutError, EngineError: The engine failed; the database is kept.
            DatabaseError: The database could not be removed; ``step`` says where it failed. The container is gone, and
                the next ``sweep`` tries again. Also where no server is configured: then there is nothing to try.
        """
        core, removing = self._attach().core, _arguments.flag("remove_database", remove_database)
        _hooks.refuse_within(core, "stop_preview", project_id)
        await core.stop(project_id, self._get_container_name(project_id), removing)

    async def drop_project_database(self, project_id: int) -> None:
        """Removes a project's database and role and ends their sessions. No database is no error. A container stays.

        The preview says ``unavailable`` then: its app cannot log in any more. ``restart_preview`` makes a new database.

        Raises:
            DatabaseError: It could not be removed; the next ``sweep`` tries again. Or no server is configured.
        """
        core = self._attach().core
        _hooks.refuse_within(core, "drop_project_database", project_id)
        await core.drop_database(project_id, self._get_container_name(project_id))

    async def reset_database(self, project_id: int) -> None:
        """Replaces a project's database with an empty one; makes one if there is none.

        Its sessions are ended. Role and password stay, so a running container reconnects.

        Raises:
            DatabaseError: The server refused; the old database is as it was.
        """
        core = self._attach().core
        _hooks.refuse_within(core, "reset_database", project_id)
        await core.reset_database(project_id, self._get_container_name(project_id))

    async def clone_database(self, project_id: int, from_project_id: int) -> None:
        """Replaces a project's database with a copy of another project's.

        The sessions of both are ended; new ones to the source wait until the copy is done. The role and its password
        stay, and the role owns all that the source's role owned.

        Args:
            project_id: The project whose database is replaced or made.
            from_project_id: The project whose database is copied.

        Raises:
            InvalidInputError: An id cannot be used, or both are the same.
            DatabaseError: The source has no database, or the server refused; both databases are as they were.
        """
        core = self._attach().core
        _hooks.refuse_within(core, "clone_database", project_id, from_project_id)
        await core.clone_database(project_id, self._get_container_name(project_id), from_project_id)

    async def database_info(self, project_id: int) -> DatabaseInfo:
        """What the database server says about a project's database now.

        Raises:
            DatabaseError: There is no such database, or the server does not answer.
        """
        return DatabaseInfo.model_validate_json(await self._attach().core.database_info(project_id))

    async def orphan_databases(self) -> list[OrphanDatabase]:
        """This deployment's databases and roles whose project's folder is gone and which no container uses.

        Removals that failed before are tried again first.

        Raises:
            DatabaseError: The database server does not answer.
            SettingsError: ``PROJECTS_DIR`` cannot be read: then every database would look like an orphan.
            DockerUnavailableError, OperationTimeoutError: The engine does not answer.
        """
        return _orphans().validate_json(await self._attach().core.orphan_databases())

    async def remove_orphan_databases(self) -> list[str]:
        """Removes what ``orphan_databases`` lists.

        Returns:
            The names of what was removed.

        Raises:
            KosukeDockerError: As ``orphan_databases``; or the first removal that failed, after all were tried; or no
                server is configured.
        """
        return await self._attach().core.remove_orphan_databases()

    async def stop_all_previews(self) -> None:
        """Stops and removes every preview of this owner. All are tried; then the first failure is raised.

        Raises:
            ContainerConflictError, DockerUnavailableError, OperationTimeoutError, EngineError: As ``stop_preview``.
        """
        core = self._attach().core
        _hooks.refuse_within(core, "stop_all_previews")
        await core.stop_all()

    async def sweep(self, *, remove_orphan_databases: bool = False) -> SweepResult:
        """Finishes or removes what killed processes left: for an agent's start-up, or once in a while.

        It inspects every container with our labels and this owner. It removes those that ended, and those that were
        created and that nobody starts within 8 s; it waits that long. It tries failed drops of databases again. It
        does not touch containers of other owners, nor databases of other deployments.

        Args:
            remove_orphan_databases: Also remove the databases and roles whose project's folder is gone; otherwise they
                are only listed.

        Returns:
            What was found and done; failures of single removals are in ``problems``.

        Raises:
            DockerUnavailableError, OperationTimeoutError, EngineError: The engine cannot be asked.
        """
        core, removing = self._attach().core, _arguments.flag("remove_orphan_databases", remove_orphan_databases)
        _hooks.refuse_within(core, "sweep")
        return SweepResult.model_validate_json(await core.sweep(removing))

    async def get_preview_status(self, project_id: int) -> PreviewStatus:
        """The short answer about a project's preview.

        Raises:
            DockerUnavailableError, OperationTimeoutError, EngineError: The engine does not answer, or refuses, and
                nothing was known before.
        """
        core, name = self._attach().core, self._get_container_name(project_id)
        told = await self._run(project_id, lambda call: core.status(project_id, name, call))
        running, url, compiled, responds = told
        return PreviewStatus(running=running, url=url, compilation_complete=compiled, is_responding=responds)

    async def get_preview(self, project_id: int) -> Preview | None:
        """All that is known about a project's preview, None when it has no container and none is being made.

        Raises:
            DockerUnavailableError, OperationTimeoutError, EngineError: The engine does not answer, or refuses, and
                nothing was known before.
        """
        core, name = self._attach().core, self._get_container_name(project_id)
        told = await self._run(project_id, lambda call: core.get(project_id, name, call))
        return None if told == b"null" else Preview.model_validate_json(told)

    async def list_previews(self) -> list[Preview]:
        """Every preview of this owner, in the order of the project ids.

        Raises:
            DockerUnavailableError, OperationTimeoutError, EngineError: The engine does not answer, or refuses.
        """
        return _previews().validate_json(await self._attach().core.previews())

    async def check(
        self,
        project_id: int,
        *,
        routes: Literal["known"] | Sequence[str] | None = None,
        types: bool = False,
        timeout: float = 60,
    ) -> CheckResult:
        """What of a project compiles, also what nobody has opened, and what could not be looked at.

        Next.js from 16.3 on, with Turbopack, tells of all routes at once. Elsewhere only the page that the preview is
        asked for anyway is told, unless ``routes`` says more.

        Args:
            project_id: The project.
            routes: ``known`` asks for the routes that the names of the project's files tell, a list for these paths;
                30 at the most, one after the other. Each request makes the dev server compile.
            types: Also run the project's ``node_modules/.bin/tsc --noEmit`` in the container, with its rights and its
                memory.
            timeout: Seconds for all of it. What was not done by then is in ``not_looked_at``.

        Raises:
            PreviewNotFoundError: There is no preview.
            InvalidInputError: An argument cannot be used, or the service has a ``client``.
            DockerUnavailableError, OperationTimeoutError, EngineError: The engine does not answer, or refuses.
        """
        core, name = self._attach().core, self._get_container_name(project_id)
        known, asked = _arguments.routes(routes)
        given = (_arguments.flag("types", types), _arguments.bounded_seconds(timeout))
        return CheckResult.model_validate_json(await core.check(project_id, name, known, asked, *given))

    async def verify(
        self, project_id: int, *, since: datetime | None = None, path: str = "/", timeout: float = 15
    ) -> Verdict:
        """One verdict on the newest edit of a project, with what it rests on.

        The page is asked for after the dev server took the edit in, so that no older answer counts. With the extra
        ``[browser]`` it is also opened in a headless Chromium.

        Args:
            project_id: The project.
            since: The edit was made after this, by the clock of the engine; None: the newest edit, whenever it was.
            path: The page that is asked for and opened.
            timeout: Seconds for all of it. What was not known by then is None.

        Raises:
            PreviewNotFoundError: There is no preview.
            InvalidInputError: An argument cannot be used, or the service has a ``client``.
            DockerUnavailableError, OperationTimeoutError, EngineError: The engine does not answer, or refuses.
        """
        core, name = self._attach().core, self._get_container_name(project_id)
        moment, page, seconds = _arguments.since(since), _arguments.path(path), _arguments.bounded_seconds(timeout)
        deadline = asyncio.get_running_loop().time() + seconds
        # It starts while the dev server compiles.
        launch = asyncio.ensure_future(self._launched())
        try:
            told = json.loads(await core.verify(project_id, name, moment, page, seconds))
            left = max(0.0, deadline - asyncio.get_running_loop().time())
            try:
                no_browser = await asyncio.wait_for(asyncio.shield(launch), left)
            except TimeoutError:
                no_browser = "the browser did not start in time"
        finally:
            launch.cancel()
        found = {check["name"]: check["ok"] for check in told["checks"]}
        seen: Seen | str = no_browser or "the page was not opened: it does not answer below 500"
        if no_browser is None and found["answers"]:
            seen = await self._seen(project_id, page, found["compiles"] is not False, deadline)
        preview = await self.get_preview(project_id)
        began = None if moment is None else datetime.fromtimestamp(moment, UTC)
        return _verdict.of(told, seen, preview, began)

    async def screenshot(
        self, project_id: int, path: str = "/", *, full_page: bool = False, timeout: float = 15
    ) -> bytes:
        """A page of a project's preview as a PNG image, 1280 pixels wide. Needs the extra ``[browser]``.

        Args:
            project_id: The project.
            path: The page.
            full_page: All of the page, and not only its first 800 pixels.
            timeout: Seconds to wait for it.

        Raises:
            BrowserUnavailableError: There is no browser: ``pip install kosuke-docker[browser]``.
            PageUnavailableError: The page cannot be shown.
            PreviewNotFoundError: There is no preview that runs.
            InvalidInputError: An argument cannot be used, or the service has a ``client``.
            DockerUnavailableError, OperationTimeoutError, EngineError: The engine does not answer, or refuses.
        """
        page = _arguments.path(path)
        whole, seconds = _arguments.flag("full_page", full_page), _arguments.bounded_seconds(timeout)
        browser = await self._get_browser()
        url, endpoint = await self._page_address(project_id, page)
        return await browser.screenshot(url, endpoint, page, full_page=whole, timeout=seconds)

    async def _get_browser(self) -> Browser:
        """This service's browser. It starts with its first page."""
        try:
            from kosuke_docker.browser import Browser  # noqa: PLC0415 - Playwright is optional
        except ImportError as error:
            words = "a browser needs Playwright: pip install kosuke-docker[browser]"
            raise BrowserUnavailableError(words, operation="browser") from error
        if self._browser is None or not self._browser.is_of_this_loop():
            self._browser = Browser()
        return self._browser

    async def _launched(self) -> str | None:
        """Starts the browser; gives why there is none."""
        try:
            await (await self._get_browser()).start()
        except (BrowserUnavailableError, OSError) as error:
            return str(error)
        return None

    async def _seen(self, project_id: int, path: str, hydration: bool, deadline: float) -> Seen | str:
        """What the browser sees of a page, or why it sees nothing."""
        left = max(0.0, deadline - asyncio.get_running_loop().time())
        try:
            url, endpoint = await self._page_address(project_id, path)
            return await (await self._get_browser()).look(url, endpoint, path, hydration=hydration, timeout=left)
        except (BrowserUnavailableError, PageUnavailableError, PreviewNotFoundError) as error:
            return str(error)

    async def _page_address(self, project_id: int, path: str) -> tuple[str, tuple[str, int]]:
        """The address for people, and the host and port to connect to."""
        core, name = self._attach().core, self._get_container_name(project_id)
        told = json.loads(await core.page_address(project_id, name, path))
        return told["url"], (told["host"].strip("[]"), told["port"])

    async def aclose(self) -> None:
        """Releases this service's core, and ends its browser. The last service to do so ends the core's tasks.

        Containers stay, and the next call of the service gets a new core. The runtime's threads end with the last core.
        """
        browser, self._browser = self._browser, None
        if browser is not None and browser.is_of_this_loop():
            await browser.aclose()
        attachment, self._attachment = self._attachment, None
        if attachment is not None:
            attachment.users.discard(self)
            if not attachment.users and attachment.usable():
                await _cores.close(attachment, _CLOSE_TIMEOUT)

    # The hooks: a subclass or `patch.object` on an instance may replace them.

    def _get_random_port(self, min_port: int = 3000, max_port: int = 4000) -> int:
        """A random port, both ends included. A native start does not call it: the engine picks."""
        return _core.random_port(min_port, max_port)

    def _get_container_name(self, project_id: int) -> str:
        """The name of a project's container."""
        return _core.container_name(self.CONTAINER_NAME_PREFIX, project_id)

    async def _get_project_environment(self, project_id: int) -> dict[str, str]:  # noqa: ARG002 - for the overrides
        """The project's own variables: they win over the base environment, and the caller's win over them."""
        return {}

    def _prepare_container_environment(self, project_id: int, env_vars: Mapping[str, str | None]) -> dict[str, str]:
        """The whole environment of a container."""
        environment: dict[str, str] = self.environment_service.prepare_container_environment(project_id, env_vars)
        return environment

    async def _ensure_project_database(self, project_id: int) -> None:
        """Makes the project's database and role. A failure is logged, not raised."""
        patched = _seams.database()
        if patched is not None:
            await patched(self._settings, project_id)
        else:
            await self._attach().core.ensure_database(project_id)

    async def _check_container_health(self, url: str) -> bool:
        """Whether the preview at this URL answers with 2xx."""
        return await self._attach().core.check_health(url)

    async def _monitor_compilation(self, project_id: int, container: Any) -> None:
        """Follows one container until it compiled or ended.

        Args:
            project_id: The project.
            container: The container's id or name, or a docker-py container.
        """
        core = self._attach().core
        name = container if isinstance(container, str) else getattr(container, "id", None)
        if self._client is None and isinstance(name, str):
            await core.monitor(project_id, name)
        else:
            await core.monitor_chunks(project_id, functools.partial(open_logs, container))

    # Between the hooks and the core.

    def _native_environment(self, project_id: int, env_vars: Mapping[str, str | None] | None) -> dict[str, str]:
        admin = "_ensure_project_database" in self._replaced()
        return self._attach().core.prepare_environment(project_id, env_vars, admin)

    def _replaced(self) -> list[str]:
        """The names of the hooks that were replaced."""
        return self._replaced_by_class() + self._replaced_here()

    def _replaced_by_class(self) -> list[str]:
        """The names of those that this object's class replaced."""
        cls = type(self)
        return [name for name, native in _NATIVE.items() if getattr(cls, name) is not native]

    def _replaced_here(self) -> list[str]:
        """The names of the hooks that were replaced on this object, and not by its class."""
        own = vars(self)
        names = [] if _NATIVE.keys().isdisjoint(own) else [name for name in _NATIVE if name in own]
        environment = self.environment_service
        if type(environment) is not EnvironmentService or "prepare_container_environment" in vars(environment):
            names.append("_prepare_container_environment")
        if _seams.database() is not None:
            names.append("_ensure_project_database")
        return names

    def _sharing_now(self) -> _Sharing:
        """With which services the core may be shared: hooks and names of containers have to be the same."""
        here = "_get_container_name" in vars(self)
        prefix = self._settings.preview_container_name_prefix != self.CONTAINER_NAME_PREFIX
        if self._client is not None or here or prefix or self._replaced_here():
            return _Sharing.NONE
        cls = type(self)
        named = cls._get_container_name is not _GET_CONTAINER_NAME
        return _Sharing.CLASS if named or self._replaced_by_class() else _Sharing.ALL

    def _attach(self) -> _cores.Attachment:
        sharing = self._sharing_now()
        attachment = self._attachment
        if attachment is not None and attachment.forked():
            raise ServiceForkedError(
                "this DockerService was used before the process forked: make a new one in the child "
                "(gunicorn: in post_fork or without preload_app; multiprocessing: the spawn context)",
                operation="fork",
            )
        if attachment is None or not attachment.usable() or sharing < self._sharing:
            self._sharing = sharing
            if attachment is not None:
                attachment.users.discard(self)
            if sharing is _Sharing.NONE:
                adapter = None if self._client is None else ClientEngine(self._client)
                attachment = _cores.Attachment(self._settings, adapter)
            else:
                of = type(self) if sharing is _Sharing.CLASS else None
                attachment = _cores.shared(self._settings, of)
            self._attachment = attachment
            attachment.users.add(self)
        attachment.containers.flush()
        return attachment

    async def _run(
        self,
        project_id: int | None,
        begin: Callable[[HookCall | None], Awaitable[T] | T],
        on_progress: ProgressHandler | None = None,
    ) -> T:
        """Runs a call of the core, answering on this loop for the hooks that are replaced."""
        replaced = [] if self._sharing is _Sharing.ALL else self._replaced()
        if self._client is not None:
            replaced.append("_get_random_port")
        if on_progress is not None:
            replaced.append("on_progress")
        if not replaced:
            told = begin(None)
            if isinstance(told, Awaitable):
                return cast("T", await told)
            # Who asks again and again without a pause must not keep the loop from all others.
            if next(_told_at_once) % _AT_ONCE == 0:
                await asyncio.sleep(0)
            return told
        call = HookCall(replaced)
        result = asyncio.ensure_future(cast("Awaitable[T]", begin(call)))
        raised: Exception | None = None
        try:
            while (question := await call.next()) is not None:
                try:
                    question.done(await self._answer(project_id, question, on_progress))
                except Exception as error:
                    if question.name == "on_progress":
                        raise  # This caller's alone: those who share the start or the pull go on.
                    raised = error
                    question.failed(f"{type(error).__name__}: {error}")
            try:
                return await result
            except KosukeDockerError:
                if raised is not None:
                    raise raised from None
                raise
        finally:
            call.close()
            # Else the core would go on waiting for a cancelled caller.
            result.cancel()

    async def _answer(self, project_id: int | None, question: HookReply, on_progress: ProgressHandler | None) -> Any:
        if question.name == "on_progress" and on_progress is not None:
            told = on_progress(PullProgress.model_validate_json(question.arguments[0]))
            return await _hooks.result(told, question.name, project_id, self._settings.preview_hook_timeout)
        arguments: tuple[Any, ...] = question.arguments
        if question.name == "_get_random_port" and "_get_random_port" not in self._replaced():
            # Only a start with a client calls the native hook.
            return self._get_random_port(self._settings.preview_port_range_start, self._settings.preview_port_range_end)
        if question.name == "_monitor_compilation":
            arguments = (project_id, self._container(arguments[0]))
        elif question.name not in ("_get_random_port", "_check_container_health"):
            arguments = (project_id, *arguments)
        with _hooks.running(self._attach().core, project_id, question.name):
            answer = getattr(self, question.name)(*arguments)
            return await _hooks.result(answer, question.name, project_id, self._settings.preview_hook_timeout)

    def _container(self, container_id: str) -> Any:
        """What a replaced monitor gets: the client's own object if there is one, else the id."""
        adapter = self._attach().adapter
        return container_id if adapter is None else adapter.known(container_id)


_GET_CONTAINER_NAME = DockerService._get_container_name
_NATIVE = {name: getattr(DockerService, name) for name in _core.hook_names()}

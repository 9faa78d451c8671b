"""The pydantic models. The first four have the older service's fields; the rest is new."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, List, Literal, Optional

from pydantic import BaseModel, ConfigDict, Field


# The older service's models have no description: the agent's OpenAPI document must not change.
def _without_description(schema: dict[str, Any]) -> None:
    schema.pop("description", None)


_OLDER = ConfigDict(json_schema_extra=_without_description)

Phase = Literal[
    "pulling",
    "creating",
    "starting",
    "compiling",
    "ready",
    "compile_error",
    "unresponsive",
    "paused",
    "oom_killed",
    "stopping",
    "exited",
    "engine_unreachable",
]
"""The state of a preview. docs/semantics.md says what each one means."""


class _Rare(BaseModel):
    """A model that is made ready for use at its first use: for all of them an import would take half as long again."""

    model_config = ConfigDict(defer_build=True)


class ContainerInfo(BaseModel):
    """What the cache holds of one container."""

    model_config = _OLDER

    project_id: int
    container_id: str
    container_name: str
    port: int
    url: str
    compilation_complete: bool = False
    is_responding: bool = False


class PreviewStatus(BaseModel):
    """The short answer about a preview."""

    model_config = _OLDER

    running: bool
    url: Optional[str] = None
    compilation_complete: bool
    is_responding: bool


class StartPreviewRequest(BaseModel):
    """Body of a request to start a preview."""

    model_config = _OLDER

    project_id: int
    env_vars: Dict[str, str] = {}


class StopPreviewRequest(BaseModel):
    """Body of a request to stop a preview."""

    model_config = _OLDER

    project_id: int


class Limits(BaseModel):
    """What one preview may use, in place of the settings. None: as the settings say; 0: no limit.

    ``start_preview`` checks the values.

    Attributes:
        memory: Bytes of memory, or a text such as ``512m``; ``PREVIEW_MEMORY``.
        cpus: Number of CPUs at once; ``PREVIEW_CPUS``.
        pids: Number of processes and threads at once; ``PREVIEW_PIDS``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory: int | str | None = None
    cpus: Optional[float] = None
    pids: Optional[int] = None


class PullProgress(_Rare):
    """A step of an image's pull.

    Attributes:
        layer: The layer, None where it is about the whole image.
        status: What is being done, in the engine's words.
        current: Bytes done, None where they are not counted.
        total: Bytes in all.
    """

    layer: Optional[str] = None
    status: str
    current: Optional[int] = None
    total: Optional[int] = None


class CompileError(BaseModel):
    """An error that a dev server printed about the project: why its page does not compile, or failed as it ran.

    Attributes:
        file: The file, relative to the project's folder, None if the dev server named none.
        line: The line in it, from 1, None if the dev server named none.
        column: The column in it, as the dev server counts: Babel and esbuild from 0, the others from 1.
        message: What is wrong, in one sentence.
        kind: ``syntax``, ``module_not_found``, ``type``, ``runtime``, ``config``, ``environment`` or ``unknown``.
        raw: What the dev server printed, without colours and passwords, shortened where it is long.
    """

    file: Optional[str] = None
    line: Optional[int] = None
    column: Optional[int] = None
    message: str
    kind: Literal["syntax", "module_not_found", "type", "runtime", "config", "environment", "unknown"] = "unknown"
    raw: str = ""


class BrowserError(BaseModel):
    """An error in a browser that has the page open, as the dev server passed it on.

    The words are those of the page's own code: they are shortened, and prove nothing.

    Attributes:
        kind: ``uncaught``: an exception that nobody caught; ``unhandled_rejection``: of a promise; ``console``: the
            page's code called ``console.error``; ``hydration``: what the server rendered is not what the browser did;
            ``module_load``: a part of the page could not be loaded.
        message: What the browser said.
        file: The file, relative to the project's folder, None if the dev server named none.
        line: The line in it, from 1.
        column: The column in it, from 1.
        count: How often it was told.
        first_at: When it was told first, by this machine's clock.
        last_at: When it was told last.
        page: The path of the page that was open, None if that is not known.
    """

    kind: Literal["uncaught", "unhandled_rejection", "console", "hydration", "module_load"]
    message: str
    file: Optional[str] = None
    line: Optional[int] = None
    column: Optional[int] = None
    count: int = 1
    first_at: datetime
    last_at: datetime
    page: Optional[str] = None


class Preview(BaseModel):
    """All that is known about one preview at one moment.

    Attributes:
        project_id: The project's id.
        phase: Its state.
        running: Whether its container runs.
        url: The address for people, while it runs.
        port: The host port of that address.
        container_id: The container's id, None before it is made.
        container_name: The container's name.
        compilation_complete: The page was compiled and answered below 500, and no compile error stands.
        is_responding: The health path answered with 2xx.
        http_status: The last HTTP status of the health path, None without an answer.
        errors: The compile errors that stand; after the container ended, those of its output.
        browser_errors: What went wrong in browsers that have the page open, where the dev server tells. They change
            neither the phase nor ``compilation_complete``.
        exit_code: The exit code, None until the container ended.
        last_lines: The last 50 lines of output, empty until the container ended.
        oom_count: How often a process of the container was killed for lack of memory, as far as the engine remembers.
        last_oom_at: When that happened last.
        database: Whether the app has a database; None for a container that the older service made.
        database_name: The database's name, None without one.
        database_isolation: ``role``: a role that owns this database and may connect to no other; ``partial``: it may
            connect to others, or the admin lacked rights; ``admin``: the admin's own credentials, because
            ``POSTGRES_ISOLATION`` says so, the admin may not make roles, or ``_ensure_project_database`` was replaced.
        database_detail: Why the database is unavailable, or not kept apart in full. Never a secret.
        network_isolation: ``full``: it reaches the internet and its database, and no other preview, nor the engine's
            machine or a private network; ``partial``: it reaches no other preview; ``off``: it reaches whatever is on
            ``PREVIEW_NETWORK``. None for a container that the older service made.
        network_detail: Why it is not kept apart in full, where that was asked for.
        drift: The names of variables that this process's last start with ``env_vars`` asked for, or asked for no more,
            and that the container found running has otherwise. Their values are never told.
        detail: A sentence for people, None if there is nothing to say.
        created_at: When the container was made. Times of the container come from the engine's clock.
        started_at: When it was last started.
        ready_at: When this process first knew that the page was compiled in this run of the container.
        finished_at: When the container ended.
        as_of: The time for which all of this holds.
    """

    project_id: int
    phase: Phase
    running: bool
    url: Optional[str] = None
    port: Optional[int] = None
    container_id: Optional[str] = None
    container_name: str
    compilation_complete: bool = False
    is_responding: bool = False
    http_status: Optional[int] = None
    errors: List[CompileError] = []
    browser_errors: List[BrowserError] = []
    exit_code: Optional[int] = None
    last_lines: List[str] = []
    oom_count: int = 0
    last_oom_at: Optional[datetime] = None
    database: Optional[Literal["ready", "unavailable", "disabled"]] = None
    database_name: Optional[str] = None
    database_isolation: Optional[Literal["role", "partial", "admin"]] = None
    database_detail: Optional[str] = None
    network_isolation: Optional[Literal["full", "partial", "off"]] = None
    network_detail: Optional[str] = None
    drift: List[str] = []
    detail: Optional[str] = None
    created_at: Optional[datetime] = None
    started_at: Optional[datetime] = None
    ready_at: Optional[datetime] = None
    finished_at: Optional[datetime] = None
    as_of: datetime


class RouteCheck(_Rare):
    """What a check knows of one route.

    Attributes:
        path: The route; its dynamic parts are in brackets.
        compiled: Whether it compiles, None if that is not known.
        status: The HTTP status of a request for it, None if none was sent.
    """

    path: str
    compiled: Optional[bool] = None
    status: Optional[int] = None


class CheckResult(_Rare):
    """What of a project compiles.

    Attributes:
        compiled: Whether all that was looked at compiles and has the right types, None if nothing could be looked at.
        routes: The routes that are known.
        errors: The compile errors, of all routes.
        type_errors: What the type checker refused, None if it did not run to its end.
        browser_errors: As ``Preview.browser_errors``.
        looked_at: What was looked at, a sentence each.
        not_looked_at: What could not be looked at and why, a sentence each.
        as_of: The time for which all of this holds.
    """

    compiled: Optional[bool] = None
    routes: List[RouteCheck] = []
    errors: List[CompileError] = []
    type_errors: Optional[List[CompileError]] = None
    browser_errors: List[BrowserError] = []
    looked_at: List[str] = []
    not_looked_at: List[str] = []
    as_of: datetime


class VerdictCheck(_Rare):
    """One thing that a verdict rests on.

    Attributes:
        name: ``taken_in``: the dev server printed a build, an update or an error after the edit; ``compiles``;
            ``answers``: a request sent after that was answered below 500; ``browser_errors``: there are none since the
            edit; ``hydrated``: the page's framework runs in a browser; ``visible``: the screenshot has more than one
            colour.
        ok: Whether it is well, None if that cannot be known.
        detail: How that is known, or why not, in a sentence.
    """

    name: Literal["taken_in", "compiles", "answers", "browser_errors", "hydrated", "visible"]
    ok: Optional[bool] = None
    detail: str


class Verdict(_Rare):
    """Whether an edit did well.

    Attributes:
        ok: No check failed, and the page answers. What cannot be known does not count: see the checks.
        checks: What it rests on.
        errors: The compile errors.
        browser_errors: What went wrong in browsers since the edit, this call's own among them.
        edited_at: When the newest file of the project was changed, None if that is not known.
        screenshot: The page as a PNG image, None without the extra ``[browser]``.
    """

    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    ok: bool
    checks: List[VerdictCheck] = []
    errors: List[CompileError] = []
    browser_errors: List[BrowserError] = []
    edited_at: Optional[datetime] = None
    screenshot: Optional[bytes] = Field(default=None, repr=False)


class PreviewEvent(BaseModel):
    """A change of a preview.

    Attributes:
        kind: ``phase``: the phase changed; ``errors``: compile errors were set or cleared;
            ``browser_errors``: errors in browsers came or went, for who asked to hear of them; ``removed``: the
            container is gone; ``gap``: the subscriber was too slow and lost events, so it must read every status again.
        project_id: The project, None for a gap.
        previous_phase: The phase before, None where there was no preview.
        preview: The preview as it is now, None when it is gone, and for a gap.
        at: When this process noticed it.
    """

    kind: Literal["phase", "errors", "browser_errors", "removed", "gap"]
    project_id: Optional[int] = None
    previous_phase: Optional[Phase] = None
    preview: Optional[Preview] = None
    at: datetime


class LogLine(BaseModel):
    """A line that a preview printed.

    Attributes:
        stream: ``stdout``, ``stderr``, or ``gap`` for a line of our own that says how many lines are missing.
        text: The line, without its line end, colours and the passwords of URLs.
        timestamp: When the engine received its first byte.
    """

    stream: Literal["stdout", "stderr", "gap"]
    text: str
    timestamp: datetime


class TableInfo(_Rare):
    """A table or materialised view of a preview's database.

    Attributes:
        schema_name: Its schema.
        name: Its name.
        row_estimate: The planner's estimate of its rows, None if it was never analysed.
        size_bytes: Bytes on disk, with its indexes. None while a session holds a lock on it that excludes readers.
    """

    schema_name: str
    name: str
    row_estimate: Optional[int] = None
    size_bytes: Optional[int] = None


class DatabaseInfo(_Rare):
    """What the database server says about a preview's database.

    Attributes:
        name: Its name.
        owner: The role that owns it.
        isolation: As ``Preview.database_isolation``, now.
        size_bytes: Bytes on disk.
        connections: Sessions of clients, now.
        connection_limit: How many sessions its owner may have, None without a limit.
        tables: Tables and materialised views by schema and name, the first 1,000, without the system's.
        table_count: How many there are.
    """

    name: str
    owner: str
    isolation: Literal["role", "partial", "admin"]
    size_bytes: int
    connections: int
    connection_limit: Optional[int] = None
    tables: List[TableInfo]
    table_count: int


class OrphanDatabase(_Rare):
    """A database of this deployment, or a role without one, whose project's folder is gone.

    Attributes:
        name: Its name on the server.
        project_id: The project it was made for.
        session: The session it was made for, None for the project's own.
        size_bytes: Bytes on disk, None for a role, or if the admin may not read it.
        role_only: Whether only the role is left.
        dropping: Whether a drop was begun and did not finish.
    """

    name: str
    project_id: int
    session: Optional[str] = None
    size_bytes: Optional[int] = None
    role_only: bool = False
    dropping: bool = False


class SweepResult(_Rare):
    """The result of a sweep.

    Attributes:
        running: The projects whose preview runs.
        removed: The projects whose container was removed: it had ended, or was made and never started.
        orphan_databases: The databases and roles of this deployment whose project's folder is gone.
        removed_databases: The databases that were removed: the orphans, if the caller asked for that, and those whose
            drop had failed before.
        problems: What failed, a sentence each.
    """

    running: List[int] = []
    removed: List[int] = []
    orphan_databases: List[OrphanDatabase] = []
    removed_databases: List[str] = []
    problems: List[str] = []

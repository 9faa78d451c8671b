"""The pydantic models. The first four are the ticket's, field by field; the rest is new."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, List, Literal, Optional

from pydantic import BaseModel, ConfigDict


# The ticket's models have no description: the agent's OpenAPI document stays as it is.
def _without_description(schema: dict[str, Any]) -> None:
    schema.pop("description", None)


_TICKET = ConfigDict(json_schema_extra=_without_description)

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
"""Where a preview is in its life."""


class ContainerInfo(BaseModel):
    """What the cache holds of one container."""

    model_config = _TICKET

    project_id: int
    container_id: str
    container_name: str
    port: int
    url: str
    compilation_complete: bool = False
    is_responding: bool = False


class PreviewStatus(BaseModel):
    """The short answer about a preview."""

    model_config = _TICKET

    running: bool
    url: Optional[str] = None
    compilation_complete: bool
    is_responding: bool


class StartPreviewRequest(BaseModel):
    """Body of a request to start a preview."""

    model_config = _TICKET

    project_id: int
    env_vars: Dict[str, str] = {}


class StopPreviewRequest(BaseModel):
    """Body of a request to stop a preview."""

    model_config = _TICKET

    project_id: int


class PullProgress(BaseModel):
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
    """Why a page does not compile, or failed as it ran.

    Attributes:
        file: The file, relative to the project, None where the dev server named none.
        line: The line in it, from 1.
        column: The column in it, from 1.
        message: What is wrong, in one sentence.
        kind: ``syntax``, ``module_not_found``, ``type``, ``runtime``, ``config``, ``environment`` or ``unknown``.
        raw: What the dev server printed, without colours.
    """

    file: Optional[str] = None
    line: Optional[int] = None
    column: Optional[int] = None
    message: str
    kind: Literal["syntax", "module_not_found", "type", "runtime", "config", "environment", "unknown"] = "unknown"
    raw: str = ""


class Preview(BaseModel):
    """All that is known about one preview at one moment.

    Attributes:
        project_id: The project's id.
        phase: Where it is in its life.
        running: Whether its container runs.
        url: The address for people, while it runs.
        port: The host port of that address.
        container_id: The container's id, None before it is made.
        container_name: The container's name.
        compilation_complete: The page was compiled and answered below 500, and no compile error stands.
        is_responding: The health path answered with 2xx.
        http_status: The last status of the health path, None without an answer.
        errors: The compile errors that stand; of a container that ended, those that it left.
        exit_code: The exit code, once the container ended.
        last_lines: The last 50 lines of output, once the container ended.
        oom_count: How many times a process of the container was killed for memory, as far as the engine remembers.
        last_oom_at: When that happened last.
        database: What became of the database, None for a container that another service made.
        database_name: The database's name, None without one.
        database_isolation: ``role``: a role that owns this database and may connect to no other; ``partial``: it may
            connect to others, or the admin lacked rights; ``admin``: the admin's own credentials, because
            ``POSTGRES_ISOLATION`` says so, the admin may not make roles, or ``_ensure_project_database`` was replaced.
        database_detail: Why the database is unavailable, or not kept apart in full. Never a secret.
        detail: A sentence for people; None where there is nothing to say, as while it is ``ready``.
        created_at: When the container was made. Times of the container are of the engine's clock.
        started_at: When it was last started.
        ready_at: When this process first knew that the page had been compiled, in this run of the container.
        finished_at: When the container ended.
        as_of: When this was true.
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
    exit_code: Optional[int] = None
    last_lines: List[str] = []
    oom_count: int = 0
    last_oom_at: Optional[datetime] = None
    database: Optional[Literal["ready", "unavailable", "disabled"]] = None
    database_name: Optional[str] = None
    database_isolation: Optional[Literal["role", "partial", "admin"]] = None
    database_detail: Optional[str] = None
    detail: Optional[str] = None
    created_at: Optional[datetime] = None
    started_at: Optional[datetime] = None
    ready_at: Optional[datetime] = None
    finished_at: Optional[datetime] = None
    as_of: datetime


class PreviewEvent(BaseModel):
    """Something that changed about a preview.

    Attributes:
        kind: ``phase``: it came into another phase; ``errors``: compile errors were set or cleared; ``removed``: it is
            gone; ``gap``: the subscriber was too slow and events before this one are lost, so look at everything anew.
        project_id: The project, None for a gap.
        previous_phase: The phase before, None where there was no preview.
        preview: The preview as it is now, None when it is gone, and for a gap.
        at: When this was noticed.
    """

    kind: Literal["phase", "errors", "removed", "gap"]
    project_id: Optional[int] = None
    previous_phase: Optional[Phase] = None
    preview: Optional[Preview] = None
    at: datetime


class LogLine(BaseModel):
    """A line that a preview printed.

    Attributes:
        stream: ``stdout``, ``stderr``, or ``gap`` for a line of our own that tells how many lines are missing here.
        text: The line, without its end, colours and the passwords of URLs.
        timestamp: When the engine received its beginning.
    """

    stream: Literal["stdout", "stderr", "gap"]
    text: str
    timestamp: datetime


class TableInfo(BaseModel):
    """A table or materialised view of a preview's database.

    Attributes:
        schema_name: Its schema.
        name: Its name.
        row_estimate: The planner's estimate, None when the rows were never counted.
        size_bytes: Bytes on disk, with its indexes.
    """

    schema_name: str
    name: str
    row_estimate: Optional[int] = None
    size_bytes: int


class DatabaseInfo(BaseModel):
    """What the database server says about a preview's database.

    Attributes:
        name: Its name.
        owner: The role that owns it.
        isolation: As ``Preview.database_isolation``, at this moment.
        size_bytes: Bytes on disk.
        connections: Sessions of clients at this moment.
        connection_limit: How many sessions its owner may have, None without a limit.
        tables: By schema and name, without the system's.
    """

    name: str
    owner: str
    isolation: Literal["role", "partial", "admin"]
    size_bytes: int
    connections: int
    connection_limit: Optional[int] = None
    tables: List[TableInfo]


class OrphanDatabase(BaseModel):
    """A database, or a role without one, of this owner whose project's folder is gone.

    Attributes:
        name: Its name on the server.
        project_id: The project it was made for.
        session: The session it was made for, None for the project's own.
        size_bytes: Bytes on disk, None for a role, or where the admin may not know.
        role_only: Whether there is a role only.
        dropping: Whether its drop was begun and did not end.
    """

    name: str
    project_id: int
    session: Optional[str] = None
    size_bytes: Optional[int] = None
    role_only: bool = False
    dropping: bool = False


class SweepResult(BaseModel):
    """What a sweep found and did.

    Attributes:
        running: The projects whose preview runs.
        removed: The projects whose container was removed: it had ended, or was made and never started.
        orphan_databases: The databases and roles of this owner whose project's folder is gone.
        removed_databases: The databases that were removed: those, where that was asked for, and those whose drop had
            failed before.
        problems: What could not be done, a sentence each.
    """

    running: List[int] = []
    removed: List[int] = []
    orphan_databases: List[OrphanDatabase] = []
    removed_databases: List[str] = []
    problems: List[str] = []

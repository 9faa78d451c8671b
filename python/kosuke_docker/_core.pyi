"""The native half of `kosuke_docker`."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeAlias, final

__all__ = [
    "Core",
    "Ending",
    "Events",
    "HookCall",
    "HookReply",
    "Logs",
    "__version__",
    "before_fork",
    "check_settings",
    "container_name",
    "engine_address",
    "event_kinds",
    "hook_names",
    "log_streams",
    "pending_calls",
    "phase_names",
    "random_port",
    "release_runtime",
    "setting_rule",
    "shutdown",
]

__version__: str

_Status: TypeAlias = tuple[bool, str | None, bool, bool]

@final
class Core:
    """A service: the settings, an engine, its databases. Shared by all facade objects with equal settings."""

    def __new__(cls, settings: dict[str, Any], client: object | None = None) -> Core: ...
    @property
    def closed(self) -> bool:
        """Whether it was closed."""
    def ping(self) -> Awaitable[None]:
        """Raises unless the engine answers."""
    def start(
        self,
        project_id: object,
        name: str,
        variables: Mapping[str, str | None] | None,
        ready: tuple[float | None, bool] | None = None,
        limits: tuple[int | str | None, float | None, int | None] | None = None,
        recreate: bool = False,
        call: HookCall | None = None,
    ) -> Awaitable[str]:
        """The URL of the preview, started or found running.

        `ready`: wait until it is ready, for so many seconds (None for ever), and whether a compile error ends that.
        `limits`: memory, CPUs and pids in place of the settings'. `recreate`: whether a container that runs with other
        variables is replaced.
        """
    def wait_until_ready(
        self, project_id: object, name: str, timeout: float | None, fail_on_compile_error: bool
    ) -> Awaitable[bytes]:
        """The preview as JSON, once it is ready."""
    def logs(self, project_id: object, name: str, follow: bool, tail: int | None) -> Logs:
        """The preview's output."""
    def events(self, project_id: object | None, name: str, browser_errors: bool) -> Awaitable[Events]:
        """What happens from now on: to one preview, or to all of the owner's."""
    def stop(self, project_id: object, name: str, remove_database: bool = False) -> Awaitable[None]:
        """Stops and removes the preview and, where asked to, its database."""
    def restart(self, project_id: object, name: str, call: HookCall | None) -> Awaitable[str]:
        """The URL of the preview, restarted or started."""
    def is_running(self, project_id: object, name: str) -> Awaitable[bool]:
        """Whether the preview's container runs."""
    def ensure_image(self, call: HookCall | None) -> Awaitable[None]:
        """Makes sure that the image is here."""
    def sweep(self, remove_orphan_databases: bool) -> Awaitable[bytes]:
        """Removes what killed processes left behind, as JSON."""
    def stop_all(self) -> Awaitable[None]:
        """Stops every preview of the owner."""
    def get(self, project_id: object, name: str, call: HookCall | None = None) -> bytes | Awaitable[bytes]:
        """The preview as JSON, `null` when there is none: at once where it is known, and there is no `call`."""
    def status(self, project_id: object, name: str, call: HookCall | None = None) -> _Status | Awaitable[_Status]:
        """Whether it runs, its URL, whether it is compiled, and whether it responds: as `get`."""
    def previews(self) -> Awaitable[bytes]:
        """The owner's previews as JSON."""
    def check(
        self, project_id: object, name: str, known: bool, asked: list[str] | None, types: bool, timeout: float
    ) -> Awaitable[bytes]:
        """What of the project compiles, as JSON.

        `asked`: the paths that are asked for; `known`: those of the project's files are.
        """
    def verify(self, project_id: object, name: str, since: float | None, path: str, timeout: float) -> Awaitable[bytes]:
        """Whether the newest edit did well, as JSON. `since`: the edit was made after this, in seconds since 1970."""
    def page_address(self, project_id: object, name: str, path: str) -> Awaitable[bytes]:
        """Where the page at this path can be reached, as JSON."""
    def ensure_database(self, project_id: object, session: str | None = None) -> Awaitable[None]:
        """Makes the database of a preview or of a session. A failure is logged, not raised."""
    def drop_database(self, project_id: object, name: str) -> Awaitable[None]:
        """Removes the preview's database and role."""
    def reset_database(self, project_id: object, name: str) -> Awaitable[None]:
        """Empties the preview's database."""
    def clone_database(self, project_id: object, name: str, from_project_id: object) -> Awaitable[None]:
        """Puts a copy of another preview's database in the place of this one's."""
    def database_info(self, project_id: object) -> Awaitable[bytes]:
        """What the server says about the preview's database, as JSON."""
    def orphan_databases(self) -> Awaitable[bytes]:
        """The databases and roles whose project's folder is gone, as JSON."""
    def remove_orphan_databases(self) -> Awaitable[list[str]]:
        """Removes them; gives the names of those that are gone."""
    def check_health(self, url: str) -> Awaitable[bool]:
        """Whether this URL answers with 2xx."""
    def monitor(self, project_id: object, container: str) -> Awaitable[None]:
        """Follows the container of this name or id until it compiled or ended."""
    def monitor_chunks(self, project_id: object, opener: Callable[[], Iterable[bytes]]) -> Awaitable[None]:
        """Reads the chunks of `opener()` off the loop until one holds a ready phrase of the older service."""
    def prepare_environment(
        self, project_id: object, variables: Mapping[str, str | None] | None, admin: bool
    ) -> dict[str, str]:
        """The variables for a container."""
    def containers(self) -> bytes:
        """The cache's entries as JSON."""
    def put(self, info: dict[str, Any]) -> None:
        """Puts an entry into the cache."""
    def forget(self, project_id: object) -> None:
        """Takes an entry out of the cache."""
    def close(self, timeout: float) -> Awaitable[None]:
        """Ends the service's tasks."""
    def abandon(self) -> None:
        """Tells every task of the service to end."""
    def close_now(self, timeout: float) -> None:
        """Ends the service's tasks at exit, where no loop runs."""

@final
class Ending:
    """A runtime that nothing keeps any more."""

    def wait(self, timeout: float) -> None:
        """Waits until its threads have ended, `timeout` seconds at the most. Blocks."""

@final
class Events:
    """What happens to previews, from the moment on at which it was made."""

    @property
    def ended(self) -> bool:
        """Whether it or the service was closed, so that there is nothing to wait for."""
    def next(self, seen: int) -> Awaitable[tuple[int, bytes] | None]:
        """The number of the next event and it as JSON, None once it or the service is closed.

        `seen`: the number that the caller has.
        """
    def close(self) -> None:
        """Ends it: whoever waits for an event gets None."""

@final
class Logs:
    """A preview's output."""

    @property
    def ended(self) -> bool:
        """Whether it has come to its end, so that there is nothing to wait for."""
    def next(self, seen: int) -> Awaitable[tuple[int, bytes] | None]:
        """The number of the next lines and they as JSON, None at the end. `seen`: the number that the caller has."""
    def close(self) -> None:
        """Ends it: whoever waits for lines gets None."""

@final
class HookCall:
    """One call with replaced hooks: `next()` gives a question at a time, None when there will be none."""

    def __new__(cls, replaced: list[str]) -> HookCall: ...
    def next(self) -> Awaitable[HookReply | None]:
        """The next question, None when the operation has no more."""
    def close(self) -> None:
        """Tells the core that the caller has left: a question that stands, and every later one, gets no answer."""

@final
class HookReply:
    """One question."""

    @property
    def name(self) -> str:
        """The method's name."""
    @property
    def arguments(self) -> tuple[Any, ...]:
        """What it is called with, after the project's id where it takes one."""
    def done(self, value: object) -> None:
        """Hands down what the method returned; raises when that cannot be used."""
    def failed(self, message: str) -> None:
        """Tells the core that the method raised."""

def before_fork() -> None:
    """Called before Python forks."""

def check_settings(settings: dict[str, Any]) -> None:
    """Checks a settings mapping; raises `SettingsError` naming the first field that cannot be used."""

def setting_rule(field: str) -> str | None:
    """The rule for a number among the settings, in words; None: it is no number."""

def engine_address() -> str:
    """The engine that the environment names now, as one string for comparison."""

def random_port(first: int, last: int) -> int:
    """A random port, both ends included."""

def container_name(prefix: str, project_id: object) -> str:
    """Checks an id and gives the container's name for it."""

def hook_names() -> list[str]:
    """The names of the hooks that Python may replace."""

def pending_calls() -> int:
    """How many calls have an answer that their loop has not taken in."""

def phase_names() -> list[str]:
    """The names of the phases."""

def event_kinds() -> list[str]:
    """The kinds of events."""

def log_streams() -> list[str]:
    """Where lines of output come from."""

def release_runtime() -> Ending | None:
    """The runtime of this process, if no service and no call keeps it any more: None while a service does.

    Raises `BlockingIOError` while calls are being answered.
    """

def shutdown(timeout: float) -> None:
    """Ends the runtime of this process, waiting at most `timeout` seconds for what runs in it."""

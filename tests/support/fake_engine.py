"""A Docker Engine for tests: what previews need of its API, on a unix socket, in a thread of its own.

States, status codes and messages are those of Engine 20.10, but where an attribute says others. Tests hold calls back
(`gate`), make them fail (`fail`), do what others do to containers (`exit`, `remove`, `emit_oom`) and look at what was
asked (`calls`) and what is there (`containers`). A call is written as "POST /containers/create": no version, no query.
Patterns are searched in that.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import socket
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

T = TypeVar("T")
API_VERSION = "1.41"
IMAGE = "kosuke-fake:1"
KEPT_EVENTS = 256
PATIENCE = 30
ROUNDS = 50
NANOS = 1_000_000_000
STDOUT, STDERR = 1, 2
LOG_ENTRY = 16384
"""The engine splits longer lines."""


@dataclass(frozen=True)
class Status:
    """Refuses: the call has no effect."""

    code: int
    message: str


@dataclass(frozen=True)
class Drop:
    """Ends the connection without an answer, before or after the call took effect."""

    after: bool = False


@dataclass(frozen=True)
class Hang:
    """Never answers; the call has no effect, or did have it."""

    after: bool = False


@dataclass(frozen=True)
class Body:
    """Answers these bytes in place of the real ones; the call takes effect."""

    data: bytes
    code: int = 200


@dataclass(frozen=True)
class Slow:
    """Sends the answer's header byte by byte, for this long, and then the rest."""

    seconds: float


How = Status | Drop | Hang | Body | Slow


class Rule:
    """Takes the calls that match, from the nth on, at most `times` of them."""

    def __init__(self, pattern: str, nth: int, times: int | None) -> None:
        self._pattern = re.compile(pattern)
        self._skip = nth - 1
        self._left = times
        self.seen = 0
        """Calls that matched."""

    def takes(self, call: str) -> bool:
        if not self._pattern.search(call):
            return False
        self.seen += 1
        if self._left == 0:
            return False
        if self._skip > 0:
            self._skip -= 1
            return False
        if self._left is not None:
            self._left -= 1
        return True


class Failure(Rule):
    def __init__(self, pattern: str, nth: int, times: int | None, how: How) -> None:
        super().__init__(pattern, nth, times)
        self.how = how


class Gate(Rule):
    """Holds one call, before or after it takes effect, until it is released."""

    def __init__(self, engine: FakeEngine, pattern: str, nth: int, *, after: bool) -> None:
        super().__init__(pattern, nth, 1)
        self.after = after
        self._engine = engine
        self._reached = threading.Event()
        self._open = threading.Event()
        self._released: asyncio.Event | None = None

    async def hold(self) -> None:
        """In the engine's thread."""
        self._released = asyncio.Event()
        self._reached.set()
        if not self._open.is_set():
            await self._released.wait()

    async def reached(self) -> None:
        """In the test: returns when the call stands at the gate."""
        ends = time.monotonic() + PATIENCE
        while not self._reached.is_set():
            if time.monotonic() > ends:
                raise AssertionError(f"no call reached the gate within {PATIENCE} s: {self._engine.calls}")
            await asyncio.sleep(0.001)

    @property
    def is_reached(self) -> bool:
        return self._reached.is_set()

    def release(self) -> None:
        self._open.set()
        self._engine.run(self._release)

    async def _release(self) -> None:
        if self._released is not None:
            self._released.set()


class Refused(Exception):
    """An answer with an error status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Signal:
    """Wakes all that wait now."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def notify(self) -> None:
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self, gone: asyncio.Event) -> None:
        """Until it is notified or `gone` is set."""
        waiting = [asyncio.create_task(event.wait()) for event in (self._event, gone)]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()


class Reader(asyncio.StreamReader):
    """Knows that the other side is gone without reading."""

    def __init__(self) -> None:
        super().__init__()
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.gone.set()


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: bytes
    gone: asyncio.Event

    @property
    def call(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def json(self) -> dict[str, Any]:
        values: dict[str, Any] = json.loads(self.body) if self.body else {}
        return values

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("1", "true")

    def filters(self) -> dict[str, list[str]]:
        found = json.loads(self.query.get("filters") or "{}")
        return {name: list(values) for name, values in found.items()}

    def moment(self, name: str) -> int:
        """In nanoseconds; the engine takes «seconds.nanoseconds»."""
        seconds, _, nanos = self.query.get(name, "0").partition(".")
        return int(seconds or 0) * NANOS + int(nanos.ljust(9, "0")[:9] or 0)


@dataclass
class Answer:
    code: int = 200
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None


def as_json(value: object, code: int = 200) -> Answer:
    return Answer(code, json.dumps(value).encode())


def rfc3339(nanos: int) -> str:
    seconds, rest = divmod(nanos, NANOS)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:09d}Z"


NEVER = "0001-01-01T00:00:00Z"


@dataclass
class FakeContainer:
    id: str
    name: str
    body: dict[str, Any]
    network: str
    created: int = field(default_factory=time.time_ns)
    status: str = "created"
    exit_code: int = 0
    oom_killed: bool = False
    started_at: int = 0
    compiled_at: int = 0
    finished_at: int = 0
    ports: dict[str, tuple[str, int]] = field(default_factory=dict)
    logs: list[tuple[int, int, bytes]] = field(default_factory=list)
    changed: Signal = field(default_factory=Signal)
    sockets: list[socket.socket] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        return self.status in ("running", "paused")

    @property
    def labels(self) -> dict[str, str]:
        return self.body.get("Labels") or {}

    @property
    def environment(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.body.get("Env") or [])

    @property
    def tty(self) -> bool:
        return bool(self.body.get("Tty"))


@dataclass
class FakeNetwork:
    id: str
    name: str
    labels: dict[str, str]
    created: int = field(default_factory=time.time_ns)


class Page(asyncio.Protocol):
    """One request to a container's web server. The first one makes it compile."""

    def __init__(self, engine: FakeEngine, container: FakeContainer) -> None:
        self._engine = engine
        self._container = container
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._engine.pages.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._engine.pages.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if b"\r\n\r\n" not in self._received:
            return
        self._engine.visit(self._container)
        head = f"HTTP/1.1 {self._engine.page_status} x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"
        self._transport.write(f"{head}ok".encode())
        self._transport.close()


class FakeEngine:
    """Listens between `open` and `close`.

    Attributes:
        calls: What was asked, in order.
        images: The images that are here.
        serves: Whether containers that are started have a web server on their host port.
        page_status: What that server answers.
        ports: Whose words and ways it has with ports: those of Engine 20.10, of Engine 28, or podman's.
        unique_networks: A network's name is given once, as engines do since 25.
        ready_line: What a container says when its server is up.
        silent_logs: Log streams give nothing and do not end: those that follow, or "all".
        tty: Containers are made as with `docker run -t`.
        pull: The lines of a pull.
        problems: What the fake itself did wrong; the fixture looks at it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.host = f"unix://{path}"
        self.calls: list[str] = []
        self.images = {IMAGE}
        self.serves = True
        self.page_status = 200
        self.ports: Literal["20.10", "28", "podman"] = "20.10"
        self.unique_networks = False
        self.ready_line = " ✓ Ready in 5ms"
        self.silent_logs: Literal["none", "follow", "all"] = "none"
        self.tty = False
        self.pull: list[dict[str, Any] | Gate] = [
            {"status": "Pulling from library/x", "id": "1"},
            {"status": "Pull complete"},
        ]
        self.problems: list[BaseException] = []
        self._containers: dict[str, FakeContainer] = {}
        self._networks: dict[str, FakeNetwork] = {}
        self._events: list[dict[str, Any]] = []
        self._last_event = 0
        self._event_connections = 0
        self._log_connections = 0
        self.events_asked: list[dict[str, str]] = []
        """The queries of the calls for events."""
        self.pages: set[asyncio.Transport] = set()
        """In the engine's thread: the connections to web servers."""
        self._accepting: set[asyncio.Task[Any]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        # Also those whose last answer nobody reads to its end: a close would wait for that.
        self._transports: weakref.WeakSet[asyncio.WriteTransport] = weakref.WeakSet()
        self._requests: set[asyncio.Task[None]] = set()
        self._failures: list[Failure] = []
        self._gates: list[Gate] = []
        self._next_port = 0
        self._server: asyncio.Server | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-engine")

    # For tests, in their thread.

    def open(self) -> None:
        self._thread.start()
        if not self._ready.wait(PATIENCE):
            raise AssertionError("the fake engine did not start")

    def close(self) -> None:
        for gate in self._gates:
            gate.release()
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join(PATIENCE)

    def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Runs a coroutine function in the engine's thread."""

        async def call() -> T:
            return await work()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(PATIENCE)

    def gate(self, pattern: str, nth: int = 1, *, after: bool = False) -> Gate:
        """Holds the nth call from now on that matches."""
        gate = Gate(self, pattern, nth, after=after)
        self._gates.append(gate)
        return gate

    def fail(self, pattern: str, how: How, nth: int = 1, times: int | None = None) -> Failure:
        """Makes calls fail that match, from the nth on: all of them, or so many."""
        failure = Failure(pattern, nth, times, how)
        self._failures.append(failure)
        return failure

    def heal(self) -> None:
        """Ends all failures; what hangs goes on hanging."""
        self._failures.clear()

    @property
    def connections(self) -> int:
        return len(self._writers)

    @property
    def event_connections(self) -> int:
        return self._event_connections

    @property
    def log_connections(self) -> int:
        return self._log_connections

    def containers(self, prefix: str = "") -> list[FakeContainer]:
        return [container for container in list(self._containers.values()) if container.name.startswith(prefix)]

    def container(self, name: str) -> FakeContainer:
        [found] = [container for container in list(self._containers.values()) if container.name == name]
        return found

    @property
    def last_event(self) -> int:
        """When the last event was, in nanoseconds."""
        return self._last_event

    def emit(self, name: str, action: str, times: int = 1) -> None:
        """Events alone, with nothing behind them."""

        async def work() -> None:
            container = self.container(name)
            for _ in range(times):
                self._emit(container, action)

        self.run(work)

    def emit_oom(self, name: str) -> None:
        """A process in the container, not its first, is killed for memory: an event is all that tells."""
        self.emit(name, "oom")

    def exit(self, name: str, code: int, *, oom: bool = False) -> None:
        """The container's main process ends."""

        async def work() -> None:
            container = self.container(name)
            if oom:
                self._emit(container, "oom")
                container.oom_killed = True
            await self._end(container, code)

        self.run(work)

    def remove(self, name: str) -> None:
        """Somebody else does `docker rm -f`."""

        async def work() -> None:
            await self._destroy(self.container(name))

        self.run(work)

    def set_paused(self, name: str, *, paused: bool) -> None:
        """Somebody else does `docker pause` or `docker unpause`."""

        async def work() -> None:
            self._pause(self.container(name), paused=paused)

        self.run(work)

    def say(self, name: str, data: bytes, stream: int = STDOUT) -> None:
        """The container prints this."""

        async def work() -> None:
            self._log(self.container(name), data, stream)

        self.run(work)

    def create_network(self, name: str) -> None:
        """Somebody else makes a network."""

        async def work() -> None:
            network = FakeNetwork(secrets.token_hex(32), name, {})
            self._networks[network.id] = network

        self.run(work)

    def create_foreign(self, name: str, labels: dict[str, str] | None = None, *, start: bool = True) -> FakeContainer:
        """Somebody else makes a container."""

        async def work() -> FakeContainer:
            container = self._create(name, {"Image": IMAGE, "Labels": labels or {}})
            if start:
                await self._start(container)
            return container

        return self.run(work)

    def drop_connections(self) -> None:
        async def work() -> None:
            for writer in list(self._writers):
                writer.transport.abort()

        self.run(work)

    def stop_listening(self) -> None:
        """As when the daemon ends: no connection, and none can be made."""

        async def work() -> None:
            await self._stop_accepting()
            self.path.unlink(missing_ok=True)

        self.run(work)
        self.drop_connections()

    def listen(self) -> None:
        self.run(self._listen)

    def restart_daemon(self, *, containers_end: bool = False) -> None:
        """Connections and kept events are lost; with `containers_end` (as without live-restore) all that runs ends."""
        self.stop_listening()

        async def work() -> None:
            for container in list(self._containers.values()):
                if containers_end and container.is_running:
                    await self._end(container, 255)
            self._events.clear()

        self.run(work)
        self.listen()

    # The server.

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._event_signal = Signal()
        await self._listen()
        self._ready.set()
        await self._ended.wait()
        await self._stop_accepting()
        for container in self._containers.values():
            self._close_ports(container)
        await asyncio.gather(*self._accepting)
        # What was accepted connects in the loop's next rounds, and what is told to close does so in the one after.
        # How many rounds that takes depends on how much there is to do in them.
        for _ in range(ROUNDS):
            for task in list(self._requests):
                task.cancel()
            await asyncio.gather(*self._requests, return_exceptions=True)
            for transport in [*self.pages, *self._transports]:
                transport.abort()
            await asyncio.sleep(0)
        while self.pages:  # noqa: ASYNC110 - the loop itself is waited for
            await asyncio.sleep(0)

    async def _listen(self) -> None:
        def connection() -> asyncio.StreamReaderProtocol:
            return asyncio.StreamReaderProtocol(Reader(), self._connected)

        self._server = await self._loop.create_unix_server(connection, str(self.path), backlog=512)

    async def _stop_accepting(self) -> None:
        """Closes the server, after what it accepted is connected: else that stays open.

        https://github.com/python/cpython/issues/109564
        """
        if self._server is None:
            return
        for listening in self._server.sockets:
            self._loop.remove_reader(listening.fileno())
        connecting = [task for task in asyncio.all_tasks() if "_accept_connection2" in repr(task.get_coro())]
        await asyncio.gather(*connecting, return_exceptions=True)
        self._server.close()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert isinstance(reader, Reader)
        task = asyncio.create_task(self._serve(reader, writer))
        self._requests.add(task)
        self._writers.add(writer)
        self._transports.add(writer.transport)

        def over(task: asyncio.Task[None]) -> None:
            self._requests.discard(task)
            self._writers.discard(writer)
            writer.close()
            if not task.cancelled() and (error := task.exception()) is not None:
                self.problems.append(error)

        task.add_done_callback(over)

    async def _serve(self, reader: Reader, writer: asyncio.StreamWriter) -> None:
        # The other side may leave at any moment.
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while (request := await _read(reader)) is not None:
                await self._answer(request, writer)

    async def _answer(self, request: Request, writer: asyncio.StreamWriter) -> None:
        self.calls.append(request.call)
        how = next((rule.how for rule in list(self._failures) if rule.takes(request.call)), None)
        gate = next((gate for gate in list(self._gates) if gate.takes(request.call)), None)
        if gate is not None and not gate.after:
            await gate.hold()
        if how in (Drop(), Hang()):
            await _leave(how, request, writer)
        if isinstance(how, Status):
            answer = as_json({"message": how.message}, how.code)
        else:
            answer = await self._route(request)
            if isinstance(how, Body):
                answer = Answer(how.code, how.data)
        if gate is not None and gate.after:
            await gate.hold()
        if how in (Drop(after=True), Hang(after=True)):
            await _leave(how, request, writer)
        await _write(answer, writer, how.seconds if isinstance(how, Slow) else 0, request.method == "HEAD")

    async def _route(self, request: Request) -> Answer:
        for method, pattern, handler in self._routes():
            if method == request.method and (match := re.fullmatch(pattern, request.path)):
                try:
                    return await handler(request, *(unquote(part) for part in match.groups()))
                except Refused as refused:
                    return as_json({"message": str(refused)}, refused.code)
        return as_json({"message": "page not found"}, 404)

    def _routes(self) -> Iterator[tuple[str, str, Callable[..., Coroutine[Any, Any, Answer]]]]:
        name = "/containers/([^/]+)"
        yield "GET", "/_ping", self._ping
        yield "HEAD", "/_ping", self._ping
        yield "GET", "/version", self._version
        yield "GET", "/info", self._info
        yield "GET", "/events", self._get_events
        yield "POST", "/images/create", self._pull
        yield "GET", "/images/(.+)/json", self._inspect_image
        yield "GET", "/networks", self._list_networks
        yield "POST", "/networks/create", self._create_network
        yield "GET", "/networks/([^/]+)", self._inspect_network
        yield "DELETE", "/networks/([^/]+)", self._delete_network
        yield "GET", "/containers/json", self._list_containers
        yield "POST", "/containers/create", self._create_container
        yield "GET", f"{name}/json", self._inspect_container
        yield "GET", f"{name}/logs", self._get_logs
        yield "POST", f"{name}/start", self._start_container
        yield "POST", f"{name}/stop", self._stop_container
        yield "POST", f"{name}/restart", self._restart_container
        yield "POST", f"{name}/kill", self._kill_container
        yield "POST", f"{name}/pause", self._pause_container
        yield "POST", f"{name}/unpause", self._unpause_container
        yield "DELETE", name, self._delete_container

    # The engine itself.

    async def _ping(self, _: Request) -> Answer:
        return Answer(200, b"OK")

    async def _version(self, _: Request) -> Answer:
        versions = {"Version": "20.10.24", "ApiVersion": API_VERSION, "MinAPIVersion": "1.12"}
        name = "Podman Engine" if self.ports == "podman" else "Engine"
        component = {"Name": name, "Version": versions["Version"]}
        return as_json({**versions, "Os": "linux", "Arch": "amd64", "Components": [component]})

    async def _info(self, _: Request) -> Answer:
        states = [container.status for container in self._containers.values()]
        return as_json(
            {
                "ID": "FAKE",
                "Containers": len(states),
                "ContainersRunning": states.count("running"),
                "ContainersPaused": states.count("paused"),
                "ServerVersion": "20.10.24",
                "SystemTime": rfc3339(time.time_ns()),
                "OSType": "linux",
                "LiveRestoreEnabled": False,
            }
        )

    # Events.

    def _emit(self, container: FakeContainer, action: str, **attributes: str) -> None:
        # No two at one time: whoever reads on after the last one would miss the second.
        self._last_event = now = max(time.time_ns(), self._last_event + 1)
        image = container.body["Image"]
        actor = {"image": image, "name": container.name, **container.labels, **attributes}
        self._events.append(
            {
                "status": action,
                "id": container.id,
                "from": image,
                "Type": "container",
                "Action": action,
                "Actor": {"ID": container.id, "Attributes": actor},
                "scope": "local",
                "time": now // NANOS,
                "timeNano": now,
            }
        )
        self._event_signal.notify()

    async def _get_events(self, request: Request) -> Answer:
        self.events_asked.append(request.query)
        return Answer(stream=self._event_stream(request))

    async def _event_stream(self, request: Request) -> AsyncIterator[bytes]:
        filters = request.filters()
        # Without `since` only what comes counts. What is long ago is forgotten, but who listens misses nothing.
        position = max(0, len(self._events) - KEPT_EVENTS) if "since" in request.query else len(self._events)
        self._event_connections += 1
        try:
            yield b""
            while not request.gone.is_set():
                while position < len(self._events):
                    event = self._events[position]
                    position += 1
                    if event["timeNano"] >= request.moment("since") and _wanted(event, filters):
                        yield json.dumps(event).encode() + b"\n"
                if "until" in request.query:  # A moment that is past, in all that is asked here.
                    return
                await self._event_signal.wait(request.gone)
        finally:
            self._event_connections -= 1

    # Images and networks.

    async def _inspect_image(self, _: Request, name: str) -> Answer:
        if name not in self.images:
            raise Refused(404, f"no such image: {name}: No such image: {_tagged(name)}")
        return as_json({"Id": "sha256:" + "0" * 64, "RepoTags": [_tagged(name)], "Config": {}, "Size": 1})

    async def _pull(self, request: Request) -> Answer:
        async def steps() -> AsyncIterator[bytes]:
            for step in self.pull:
                if isinstance(step, Gate):
                    await step.hold()
                    continue
                yield json.dumps(step).encode() + b"\r\n"
                if "error" in step:
                    return
            self.images.add(request.query["fromImage"])

        return Answer(stream=steps())

    def _network(self, name: str) -> FakeNetwork:
        found = [network for network in self._networks.values() if name in (network.id, network.name)]
        if not found:
            raise Refused(404, f"network {name} not found")
        if len(found) > 1:
            raise Refused(400, f"network {name} is ambiguous ({len(found)} matches found on name)")
        return found[0]

    def _network_json(self, network: FakeNetwork) -> dict[str, Any]:
        return {
            "Name": network.name,
            "Id": network.id,
            "Created": rfc3339(network.created),
            "Scope": "local",
            "Driver": "bridge",
            "Labels": network.labels,
            "IPAM": {"Driver": "default", "Config": [{"Subnet": "172.30.0.0/16", "Gateway": "172.30.0.1"}]},
        }

    async def _list_networks(self, request: Request) -> Answer:
        names = request.filters().get("name", [""])
        found = [network for network in self._networks.values() if any(name in network.name for name in names)]
        return as_json([self._network_json(network) for network in found])

    async def _create_network(self, request: Request) -> Answer:
        name = request.json["Name"]
        if self.unique_networks and any(network.name == name for network in self._networks.values()):
            raise Refused(409, f"network with name {name} already exists")
        network = FakeNetwork(secrets.token_hex(32), request.json["Name"], request.json.get("Labels") or {})
        self._networks[network.id] = network
        return as_json({"Id": network.id, "Warning": ""}, 201)

    async def _inspect_network(self, _: Request, name: str) -> Answer:
        return as_json(self._network_json(self._network(name)))

    async def _delete_network(self, _: Request, name: str) -> Answer:
        network = self._network(name)
        if any(container.network == network.id and container.is_running for container in self._containers.values()):
            words = f"error while removing network: network {network.name} id {network.id} has active endpoints"
            raise Refused(403, words)
        del self._networks[network.id]
        return Answer(204)

    # Containers.

    def _find(self, name: str) -> FakeContainer:
        for container in self._containers.values():
            if name in (container.name, container.id, container.id[:12]):
                return container
        raise Refused(404, f"No such container: {name}")

    def _create(self, name: str, body: dict[str, Any]) -> FakeContainer:
        for other in self._containers.values():
            if other.name == name:
                raise Refused(
                    409,
                    f'Conflict. The container name "/{name}" is already in use by container "{other.id}". '
                    "You have to remove (or rename) that container to be able to reuse that name.",
                )
        if body["Image"] not in self.images:
            raise Refused(404, f"No such image: {_tagged(body['Image'])}")
        for mount in (body.get("HostConfig") or {}).get("Mounts") or []:
            if mount["Type"] == "bind" and not Path(mount["Source"]).exists():
                words = f'invalid mount config for type "bind": bind source path does not exist: {mount["Source"]}'
                raise Refused(400, words)
        bindings = (body.get("HostConfig") or {}).get("PortBindings") or {}
        if self.ports == "podman" and "-" in (ports := json.dumps(bindings)):
            raise Refused(500, f"make cli opts(): strconv.Atoi: parsing {ports}: invalid syntax")
        network = (body.get("HostConfig") or {}).get("NetworkMode") or "default"
        made = FakeContainer(secrets.token_hex(32), name, {**body, "Tty": self.tty or body.get("Tty")}, network)
        self._containers[made.id] = made
        self._emit(made, "create")
        return made

    async def _create_container(self, request: Request) -> Answer:
        made = self._create(request.query.get("name") or secrets.token_hex(6), request.json)
        return as_json({"Id": made.id, "Warnings": []}, 201)

    async def _start_container(self, _: Request, name: str) -> Answer:
        container = self._find(name)
        if container.status == "paused":
            raise Refused(409, "cannot start a paused container, try unpause instead")
        if container.status == "removing":
            raise Refused(409, "container is marked for removal and cannot be started")
        if container.is_running:
            return Answer(304)
        await self._start(container)
        return Answer(204)

    async def _start(self, container: FakeContainer) -> None:
        config = container.body.get("HostConfig") or {}
        if container.network not in ("default", "bridge", "host", "none"):
            self._network(container.network)
        self._open_ports(container, config.get("PortBindings") or {})
        container.status, container.exit_code, container.started_at = "running", 0, time.time_ns()
        self._emit(container, "start")
        if self.ready_line:
            self._log(container, f"{self.ready_line}\n".encode())

    def _open_ports(self, container: FakeContainer, bindings: dict[str, Any]) -> None:
        for inside, wanted in bindings.items():
            for binding in wanted:
                host, text = binding.get("HostIp") or "0.0.0.0", binding["HostPort"]
                first, _, last = text.partition("-")
                port = self._open_one_of(container, host, text, int(first), int(last or first))
                container.ports[inside] = (host, port)

    def _open_one_of(self, container: FakeContainer, host: str, text: str, first: int, last: int) -> int:
        # Engine 28 steps over held ports itself, but gives up after so many.
        left = 10 if self.ports == "28" and first != last else 1
        while True:
            port, left = self._free_port(first, last), left - 1
            try:
                self._open_port(container, host, port)
            except OSError:
                if left == 0:
                    self._close_ports(container)
                    raise Refused(500, self._held(container, host, text, port)) from None
            else:
                return port

    def _held(self, container: FakeContainer, host: str, ports: str, port: int) -> str:
        if self.ports == "podman":
            return f"cannot listen on the TCP port: listen tcp4 {host}:{port}: bind: address already in use"
        words = f"driver failed programming external connectivity on endpoint {container.name} (0): "
        if self.ports == "28":
            which = f"{port} for" if "-" in ports else "for"
            words = f"failed to set up container networking: {words}"
            return f"{words}failed to bind host port {which} {host}:{ports}:172.30.0.2:3000/tcp: address already in use"
        return f"{words}Error starting userland proxy: listen tcp4 {host}:{port}: bind: address already in use"

    def _free_port(self, first: int, last: int) -> int:
        taken = {port for other in self._containers.values() for _, port in other.ports.values()}
        size = last - first + 1
        for step in range(size):
            # A port that another program holds is not tried twice in a row.
            port = first + (self._next_port + step) % size
            if port not in taken:
                self._next_port = port - first + 1
                return port
        words = "port is already allocated" if first == last else "all ports are allocated"
        raise Refused(
            500, f"driver failed programming external connectivity: Bind for 127.0.0.1:{first} failed: {words}"
        )

    def visit(self, container: FakeContainer) -> None:
        """In the engine's thread: a web server was asked."""
        if container.is_running and container.started_at != container.compiled_at:
            container.compiled_at = container.started_at
            self._log(container, " ✓ Compiled / in 1ms\n".encode())

    def _open_port(self, container: FakeContainer, host: str, port: int) -> None:
        if not self.serves:
            return
        # Not an asyncio server: one that is closed while it accepts loses that connection, open.
        listener = socket.create_server((host, port))
        listener.setblocking(False)
        container.sockets.append(listener)

        def accept() -> None:
            try:
                connection, _ = listener.accept()
            except BlockingIOError:  # It left again.
                return
            accepting = self._loop.connect_accepted_socket(lambda: Page(self, container), connection)
            task = self._loop.create_task(accepting)
            self._accepting.add(task)
            task.add_done_callback(self._accepting.discard)

        self._loop.add_reader(listener, accept)

    def _close_ports(self, container: FakeContainer) -> None:
        container.ports.clear()
        for listener in container.sockets:
            self._loop.remove_reader(listener)
            listener.close()
        container.sockets.clear()

    async def _end(self, container: FakeContainer, code: int) -> None:
        if not container.is_running:
            return
        container.status, container.exit_code, container.finished_at = "exited", code, time.time_ns()
        self._close_ports(container)
        self._emit(container, "die", exitCode=str(code))
        container.changed.notify()

    async def _destroy(self, container: FakeContainer) -> None:
        if container.is_running:
            self._emit(container, "kill", signal="9")
            await self._end(container, 137)
        self._containers.pop(container.id, None)
        container.status = "removed"
        self._emit(container, "destroy")
        container.changed.notify()

    async def _stop_container(self, _: Request, name: str) -> Answer:
        container = self._find(name)
        if not container.is_running:
            return Answer(304)
        self._emit(container, "kill", signal="15")
        await self._end(container, 143)
        self._emit(container, "stop")
        return Answer(204)

    async def _restart_container(self, request: Request, name: str) -> Answer:
        await self._stop_container(request, name)
        container = self._find(name)
        await self._start(container)
        self._emit(container, "restart")
        return Answer(204)

    async def _kill_container(self, request: Request, name: str) -> Answer:
        container = self._find(name)
        if not container.is_running:
            words = f"Cannot kill container: {name}: Container {container.id} is not running"
            raise Refused(409, words)
        self._emit(container, "kill", signal=request.query.get("signal", "9"))
        await self._end(container, 137)
        return Answer(204)

    def _pause(self, container: FakeContainer, *, paused: bool) -> None:
        if not container.is_running:
            raise Refused(409, f"Container {container.id} is not running")
        if (container.status == "paused") == paused:
            # The engine's own choice of codes.
            raise Refused(
                409 if paused else 500, f"Container {container.id} is {'already' if paused else 'not'} paused"
            )
        container.status = "paused" if paused else "running"
        self._emit(container, "pause" if paused else "unpause")

    async def _pause_container(self, _: Request, name: str) -> Answer:
        self._pause(self._find(name), paused=True)
        return Answer(204)

    async def _unpause_container(self, _: Request, name: str) -> Answer:
        self._pause(self._find(name), paused=False)
        return Answer(204)

    async def _delete_container(self, request: Request, name: str) -> Answer:
        container = self._find(name)
        if container.status == "removing":
            raise Refused(409, f"removal of container {name} is already in progress")
        if container.is_running and not request.flag("force"):
            stop = "Unpause and then stop" if container.status == "paused" else "Stop"
            raise Refused(
                409,
                f"You cannot remove a {container.status} container {container.id}. "
                f"{stop} the container before attempting removal or force remove",
            )
        await self._destroy(container)
        return Answer(204)

    async def _list_containers(self, request: Request) -> Answer:
        filters = request.filters()
        found = [self._summary(container) for container in self._containers.values() if _listed(container, request)]
        names = filters.get("name")
        if names:
            found = [entry for entry in found if any(re.search(name, entry["Names"][0][1:]) for name in names)]
        return as_json(found)

    def _summary(self, container: FakeContainer) -> dict[str, Any]:
        return {
            "Id": container.id,
            "Names": [f"/{container.name}"],
            "Image": container.body["Image"],
            "ImageID": "sha256:" + "0" * 64,
            "Created": container.created // NANOS,
            "Labels": container.labels,
            "State": container.status,
            "Status": container.status.capitalize(),
            "Ports": [
                {"IP": host, "PrivatePort": int(inside.split("/")[0]), "PublicPort": port, "Type": "tcp"}
                for inside, (host, port) in container.ports.items()
            ],
        }

    async def _inspect_container(self, _: Request, name: str) -> Answer:
        container = self._find(name)
        network = self._networks.get(container.network)
        attached = {"NetworkID": container.network, "IPAddress": "172.30.0.2", "Gateway": "172.30.0.1"}
        return as_json(
            {
                "Id": container.id,
                "Name": f"/{container.name}",
                "Created": rfc3339(container.created),
                "Image": "sha256:" + "0" * 64,
                "State": {
                    "Status": container.status,
                    "Running": container.is_running,
                    "Paused": container.status == "paused",
                    "Restarting": False,
                    "OOMKilled": container.oom_killed,
                    "Dead": False,
                    "Pid": 1 if container.is_running else 0,
                    "ExitCode": container.exit_code,
                    "Error": "",
                    "StartedAt": rfc3339(container.started_at) if container.started_at else NEVER,
                    "FinishedAt": rfc3339(container.finished_at) if container.finished_at else NEVER,
                },
                "Config": {**{k: v for k, v in container.body.items() if k != "HostConfig"}, "Tty": container.tty},
                "HostConfig": container.body.get("HostConfig") or {},
                "Mounts": [],
                "NetworkSettings": {
                    "Ports": {
                        inside: [{"HostIp": host, "HostPort": str(port)}]
                        for inside, (host, port) in container.ports.items()
                    },
                    "Networks": {network.name if network else container.network: attached},
                },
            }
        )

    # Logs.

    def _log(self, container: FakeContainer, data: bytes, stream: int = STDOUT) -> None:
        for line in data.splitlines(keepends=True):
            for start in range(0, len(line), LOG_ENTRY):
                container.logs.append((stream, time.time_ns(), line[start : start + LOG_ENTRY]))
        container.changed.notify()

    async def _get_logs(self, request: Request, name: str) -> Answer:
        return Answer(stream=self._log_stream(request, self._find(name)))

    async def _log_stream(self, request: Request, container: FakeContainer) -> AsyncIterator[bytes]:
        self._log_connections += 1
        try:
            async for piece in self._logs_of(request, container):
                yield piece
        finally:
            self._log_connections -= 1

    async def _logs_of(self, request: Request, container: FakeContainer) -> AsyncIterator[bytes]:
        since, tail = request.moment("since"), request.query.get("tail", "all")
        streams = {number for number, name in ((STDOUT, "stdout"), (STDERR, "stderr")) if request.flag(name)}
        yield b""
        if self.silent_logs == "all" or (self.silent_logs == "follow" and request.flag("follow")):
            await request.gone.wait()
            return
        position = 0
        if tail.isdigit():
            position = max(0, len(container.logs) - int(tail))
        while not request.gone.is_set():
            while position < len(container.logs):
                stream, at, data = container.logs[position]
                position += 1
                if stream in streams and at >= since:
                    stamped = f"{rfc3339(at)} ".encode() + data if request.flag("timestamps") else data
                    # With a terminal there are no frames.
                    header = b"" if container.tty else bytes([stream, 0, 0, 0]) + len(stamped).to_bytes(4, "big")
                    yield header + stamped
            if not request.flag("follow") or not container.is_running:
                return
            await container.changed.wait(request.gone)


def _wanted(event: dict[str, Any], filters: dict[str, list[str]]) -> bool:
    attributes = event["Actor"]["Attributes"]
    checks: dict[str, Callable[[str], bool]] = {
        "type": lambda value: event["Type"] == value,
        "event": lambda value: event["Action"] == value,
        "container": lambda value: value in (event["id"], attributes["name"]),
        "image": lambda value: event["from"] == value,
    }
    for name, values in filters.items():
        if name == "label":
            if not all(_has_label(attributes, value) for value in values):
                return False
        elif not any(checks[name](value) for value in values):
            return False
    return True


def _has_label(labels: dict[str, str], wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)


def _listed(container: FakeContainer, request: Request) -> bool:
    filters = request.filters()
    statuses = filters.get("status")
    if statuses:
        if container.status not in statuses:
            return False
    elif not request.flag("all") and not container.is_running:
        return False
    if "id" in filters and not any(container.id.startswith(value) for value in filters["id"]):
        return False
    return all(_has_label(container.labels, label) for label in filters.get("label", []))


def _tagged(name: str) -> str:
    return name if ":" in name.rsplit("/", 1)[-1] else f"{name}:latest"


async def _read(reader: Reader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.strip().split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
    elif "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    parts = urlsplit(target)
    path = re.sub(r"^/v\d+\.\d+(?=/)", "", parts.path)
    return Request(method, path, dict(parse_qsl(parts.query)), body, reader.gone)


async def _leave(how: How | None, request: Request, writer: asyncio.StreamWriter) -> None:
    if isinstance(how, Hang):
        await request.gone.wait()
    writer.transport.abort()
    raise ConnectionAbortedError


async def _write(answer: Answer, writer: asyncio.StreamWriter, drip: float, head_only: bool) -> None:
    head = f"HTTP/1.1 {answer.code} {HTTPStatus(answer.code).phrase}\r\nApi-Version: {API_VERSION}\r\n"
    head += "Ostype: linux\r\nServer: Docker/20.10.24 (linux)\r\nContent-Type: application/json\r\n"
    if answer.stream is not None:
        head += "Transfer-Encoding: chunked\r\n\r\n"
    else:
        head += "\r\n" if answer.code in (204, 304) else f"Content-Length: {len(answer.body)}\r\n\r\n"
    if drip:
        ends = time.monotonic() + drip
        for byte in head.encode()[:-2]:
            writer.write(bytes([byte]))
            await writer.drain()
            if time.monotonic() < ends:
                await asyncio.sleep(drip / len(head))
        writer.write(b"\r\n")
    else:
        writer.write(head.encode())
    if answer.stream is None:
        if not head_only:
            writer.write(answer.body)
        await writer.drain()
        return
    async with contextlib.aclosing(answer.stream) as stream:  # type: ignore[type-var]
        async for chunk in stream:
            if chunk:
                writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            await writer.drain()
    writer.write(b"0\r\n\r\n")
    await writer.drain()

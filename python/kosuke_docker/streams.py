"""The asynchronous iterators that ``DockerService.logs`` and ``DockerService.events`` return."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from pydantic import TypeAdapter

from kosuke_docker._core import Events, Logs
from kosuke_docker.models import LogLine, PreviewEvent

_LINES = TypeAdapter(list[LogLine])

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class _Source(Protocol[T_co]):
    @property
    def ended(self) -> bool: ...
    def next(self, seen: int) -> Awaitable[tuple[int, T_co] | None]: ...
    def close(self) -> None: ...


class _Reader(Generic[T]):
    """Reads a native source. The source keeps each value until the next call, so a cancelled wait loses nothing."""

    def __init__(self, source: _Source[T]) -> None:
        self._source = source
        self._seen = 0

    async def next(self) -> T | None:
        # The runtime of an ended source may be gone.
        found = None if self._source.ended else await self._source.next(self._seen)
        if found is None:
            return None
        self._seen, value = found
        return value

    def close(self) -> None:
        self._source.close()


class LogStream:
    """A preview's output, line by line: ``async for line in service.logs(7)``.

    Leaving the loop, dropping the object or ``aclose`` frees what it holds. As an ``async with`` it closes at the end.
    """

    def __init__(self, owner: object, begin: Callable[[], Logs]) -> None:
        # Kept until the stream is closed: a service of its own core that is dropped ends what reads from it.
        self._owner: object | None = owner
        self._begin = begin
        self._logs: _Reader[bytes] | None = None
        self._lines: deque[LogLine] = deque()
        self._closed = False

    def __aiter__(self) -> LogStream:
        return self

    async def __anext__(self) -> LogLine:
        while not self._lines:
            if self._closed:
                raise StopAsyncIteration
            if self._logs is None:
                self._logs = _Reader(self._begin())
            lines = await self._logs.next()
            if lines is None:
                raise StopAsyncIteration
            self._lines.extend(_LINES.validate_json(lines))
        return self._lines.popleft()

    async def __aenter__(self) -> LogStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the stream. A second call does nothing."""
        self._closed = True
        self._owner = None
        self._lines.clear()
        if self._logs is not None:
            self._logs.close()
            self._logs = None


class EventStream:
    """What happens to previews: ``async for event in service.events()``.

    It begins when the first event is waited for; as an ``async with`` it begins with the block, so that a status read
    inside of the block misses no event. Leaving the loop, dropping the object or ``aclose`` frees what it holds.
    """

    def __init__(self, owner: object, begin: Callable[[], Awaitable[Events]]) -> None:
        # Kept until the stream is closed: a service of its own core that is dropped ends what reads from it.
        self._owner: object | None = owner
        self._begin = begin
        self._events: _Reader[bytes] | None = None
        self._closed = False

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> PreviewEvent:
        if not self._closed:
            if self._events is None:
                await self._subscribe()
            values = None if self._events is None else await self._events.next()
            if values is not None:
                return PreviewEvent.model_validate_json(values)
        raise StopAsyncIteration

    async def __aenter__(self) -> EventStream:
        if self._events is None and not self._closed:
            await self._subscribe()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _subscribe(self) -> None:
        events = await self._begin()
        # The stream may have been closed in the meantime.
        if self._closed:
            events.close()
        else:
            self._events = _Reader(events)

    async def aclose(self) -> None:
        """Closes the stream. A second call does nothing."""
        self._closed = True
        self._owner = None
        if self._events is not None:
            self._events.close()
            self._events = None

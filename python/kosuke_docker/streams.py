"""What is read piece by piece: ``DockerService.logs`` and ``DockerService.events``."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from kosuke_docker._core import Events, Logs
from kosuke_docker.models import LogLine, PreviewEvent


class LogStream:
    """A preview's output, line by line: ``async for line in service.logs(7)``.

    Leaving it, dropping it or ``aclose`` frees what it holds; an ``async with`` closes it at its end.
    """

    def __init__(self, begin: Callable[[], Logs]) -> None:
        self._begin = begin
        self._logs: Logs | None = None
        self._lines: deque[tuple[str, str, float]] = deque()
        # Of what arrived last: what was on its way to a caller that was cancelled is asked for again.
        self._number = 0
        self._closed = False

    def __aiter__(self) -> LogStream:
        return self

    async def __anext__(self) -> LogLine:
        while not self._lines:
            if self._closed:
                raise StopAsyncIteration
            if self._logs is None:
                self._logs = self._begin()
            batch = await self._logs.next(self._number)
            if batch is None:
                raise StopAsyncIteration
            # Two that wait at once get the same.
            if batch[0] > self._number:
                self._number, lines = batch
                self._lines.extend(lines)
        stream, text, seconds = self._lines.popleft()
        # Made of checked parts: there may be many.
        timestamp = datetime.fromtimestamp(seconds, UTC)
        return LogLine.model_construct(stream=stream, text=text, timestamp=timestamp)

    async def __aenter__(self) -> LogStream:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Ends it. Nothing the second time."""
        self._closed = True
        self._lines.clear()
        if self._logs is not None:
            self._logs.close()
            self._logs = None


class EventStream:
    """What happens to previews: ``async for event in service.events()``.

    It begins with the first event that is waited for, or, as an ``async with``, at the beginning of the block: what is
    looked up inside of it misses nothing. Leaving it, dropping it or ``aclose`` frees what it holds.
    """

    def __init__(self, begin: Callable[[], Awaitable[Events]]) -> None:
        self._begin = begin
        self._events: Events | None = None
        # Of what arrived last: what was on its way to a caller that was cancelled is asked for again.
        self._number = 0
        self._closed = False

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> PreviewEvent:
        while not self._closed:
            if self._events is None:
                await self._subscribe()
            event = None if self._events is None else await self._events.next(self._number)
            if event is None:
                break
            # Two that wait at once get the same.
            if event[0] > self._number:
                self._number, values = event
                return PreviewEvent.model_validate(values)
        raise StopAsyncIteration

    async def __aenter__(self) -> EventStream:
        if self._events is None and not self._closed:
            await self._subscribe()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _subscribe(self) -> None:
        events = await self._begin()
        # It may have been closed meanwhile.
        self._events = None if self._closed else events

    async def aclose(self) -> None:
        """Ends it. Nothing the second time."""
        self._closed = True
        if self._events is not None:
            self._events.close()
            self._events = None

"""A ticker that notices when an event loop is late.

As a program it is the control, the same ticker in a process that does nothing else: it prints `ticking`, and once its
standard input ends, its ticks as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

TICK = 0.001


class Ticker:
    """Wakes once in a millisecond, and notes when, and how much later than asked for."""

    def __init__(self) -> None:
        self._ticks: list[tuple[float, float]] = []
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    async def start(self) -> None:
        """Begins on this loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> list[tuple[float, float]]:
        """Ends it with its next tick, which may be a late one.

        Returns:
            Each tick's time on the machine's monotonic clock, and its lateness, in seconds.
        """
        self._ending = True
        if self._task is not None:
            await self._task
        return self._ticks

    async def _run(self) -> None:
        while not self._ending:
            asleep = time.monotonic()
            await asyncio.sleep(TICK)
            awake = time.monotonic()
            self._ticks.append((awake, awake - asleep - TICK))


async def _control() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    ticker = Ticker()
    await ticker.start()
    print("ticking", flush=True)
    await reader.read()
    print(json.dumps(await ticker.stop()))


if __name__ == "__main__":
    asyncio.run(_control())

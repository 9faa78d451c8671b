"""Bytes both ways between two connections, until either ends."""

from __future__ import annotations

import asyncio
import contextlib

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def relay(one: Connection, other: Connection) -> None:
    """Returns when both directions have ended."""

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        sink.close()

    await asyncio.gather(pump(one[0], other[1]), pump(other[0], one[1]))

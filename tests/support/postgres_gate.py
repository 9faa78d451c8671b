"""A TCP proxy in front of a Postgres server that holds one message."""

from __future__ import annotations

import asyncio
import contextlib


class PostgresGate:
    """Holds the nth message from the clients, counted over all connections, before or after the server has it.

    Drivers send a message, or a batch of them, and wait: what arrives together counts as one.
    """

    def __init__(self, host: str, port: int, nth: int, *, after: bool) -> None:
        self.reached = asyncio.Event()
        self.messages = 0
        self._server_address = (host, port)
        self._nth = nth
        self._after = after
        self._open = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def __aenter__(self) -> PostgresGate:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def release(self) -> None:
        self._open.set()

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(*self._server_address)
        answers = asyncio.Event()
        answers.set()

        async def to_server() -> None:
            while data := await reader.read(65536):
                self.messages += 1
                held = self.messages == self._nth
                if held and self._after:
                    answers.clear()
                elif held:
                    await self._hold()
                server_writer.write(data)
                await server_writer.drain()
                if held and self._after:
                    await self._hold()
                    answers.set()
            server_writer.close()

        async def to_client() -> None:
            while data := await server_reader.read(65536):
                await answers.wait()
                writer.write(data)
                await writer.drain()
            writer.close()

        try:
            # Either side may leave at any moment.
            with contextlib.suppress(OSError):
                await asyncio.gather(to_server(), to_client())
        finally:
            server_writer.close()
            writer.close()

    async def _hold(self) -> None:
        self.reached.set()
        await self._open.wait()

"""The way of one page's requests: to its own preview and to public addresses, and to nothing else.

The page is code that nobody reviewed, and its browser stands where the agent does. All of its traffic goes through
here, also what redirects and sockets ask for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from urllib.parse import urlsplit

_MAX_HEAD = 64 * 1024
_HEAD_TIMEOUT = 30.0
# Addresses that count as public and lead to a cloud's own services, or around the walls.
_NOT_PUBLIC = [ipaddress.ip_network(network) for network in ("168.63.129.16/32", "64:ff9b::/96", "2002::/16")]
_CONNECT_TIMEOUT = 10.0
_CHUNK = 64 * 1024
_MAX_CONNECTIONS = 256
_REFUSED = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_CONNECTED = b"HTTP/1.1 200 Connected\r\n\r\n"

Address = tuple[str, int]


class PageProxy:
    """An HTTP proxy on this machine for as long as the block lasts.

    Args:
        origin: The host and port that the page believes to be its own.
        endpoint: Where the preview can be connected to.
    """

    def __init__(self, origin: Address, endpoint: Address) -> None:
        self._origin = origin
        self._endpoint = endpoint
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> PageProxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=_MAX_HEAD)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Its address."""
        if self._server is None:
            raise RuntimeError("the proxy is not open")
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._tasks) >= _MAX_CONNECTIONS:
            writer.close()
            return
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # What breaks is this connection's alone: the browser tells the page.
        broken = (OSError, ValueError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError)
        with contextlib.closing(writer), contextlib.suppress(*broken):
            async with asyncio.timeout(_HEAD_TIMEOUT):
                head = await reader.readuntil(b"\r\n\r\n")
            wanted, first = _read_head(head)
            allowed = await self._allowed(wanted)
            if allowed is None:
                writer.write(_REFUSED)
                await writer.drain()
                return
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                upstream_reader, upstream = await asyncio.open_connection(*allowed)
            with contextlib.closing(upstream):
                if first is None:
                    writer.write(_CONNECTED)
                else:
                    upstream.write(first)
                await _pipe_both(reader, upstream, upstream_reader, writer)

    async def _allowed(self, wanted: Address) -> Address | None:
        """Where a connection to this address goes; None: nowhere."""
        if wanted == self._origin:
            return self._endpoint
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_TIMEOUT):
            found = await loop.getaddrinfo(*wanted, type=socket.SOCK_STREAM)
        # The address that was looked at is the one that is connected to: the name may mean another one next time.
        addresses = [str(address[4][0]) for address in found]
        if addresses and all(_is_elsewhere(address) for address in addresses):
            return addresses[0], wanted[1]
        return None


def _is_elsewhere(address: str) -> bool:
    """Whether an address is public, and not this machine's own: those may be public, too."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if not parsed.is_global or any(parsed in network for network in _NOT_PUBLIC if network.version == parsed.version):
        return False
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6  # noqa: PLR2004 - the version of IP
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as own:
        # Only an address of this machine can be taken.
        own.bind((str(parsed), 0))
        return False
    return True


def _read_head(head: bytes) -> tuple[Address, bytes | None]:
    """What a request wants to reach, and its head as the server takes it; None for a tunnel.

    Raises:
        ValueError: It is no request of a browser's.
    """
    lines = head.decode("latin-1").split("\r\n")
    method, target, version = lines[0].split(" ")
    if method == "CONNECT":
        url = urlsplit(f"//{target}")
        return (url.hostname or "", url.port or 443), None
    url = urlsplit(target)
    if url.scheme != "http":
        raise ValueError(f"not a proxy's request: {url.scheme}")
    query = f"?{url.query}" if url.query else ""
    # One request per connection: the next one may want to reach another address.
    kept = [line for line in lines[1:] if not line.lower().startswith(("proxy-", "connection:"))]
    lines = [f"{method} {url.path or '/'}{query} {version}", "Connection: close", *kept]
    return (url.hostname or "", url.port or 80), "\r\n".join(lines).encode("latin-1")


async def _pipe_both(
    reader: asyncio.StreamReader,
    upstream: asyncio.StreamWriter,
    upstream_reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Hands on what both sides send, until one of them ends."""
    pipes = [asyncio.ensure_future(_pipe(reader, upstream)), asyncio.ensure_future(_pipe(upstream_reader, writer))]
    try:
        await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pipe in pipes:
            pipe.cancel()
        await asyncio.gather(*pipes, return_exceptions=True)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()

"""Chromium without a window, driven by its own DevTools protocol. It is installed where it is missing."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import services
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

PROGRAMS = ("chromium", "google-chrome")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,800",
    # A frame of another site is a target of its own, always.
    "--site-per-process",
    "--remote-debugging-port=0",
)
PUSHES = {"Network.webSocketFrameReceived", "Network.eventSourceMessageReceived"}
KINDS = ("page", "iframe")
LOG = "output.log"
PATIENCE = 60
END_SECONDS = 2
PAUSE = 0.05
TENTATIVE = 0x40
"""IFA_F_TENTATIVE of linux/if_addr.h."""


def program() -> str:
    """The browser's program."""
    found = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if found is None:
        services.install("chromium", "fonts-liberation")
        found = shutil.which(PROGRAMS[0])
    if found is None:
        services.stop("chromium was installed, but its program was not found")
    return found


class Target:
    """A page, or a frame of another site in one. One call at a time.

    Attributes:
        problems: Exceptions that its scripts did not catch.
        heard: The protocol's events that came with answers, by name.
    """

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._numbers = itertools.count()
        self.problems: list[str] = []
        self.heard: set[str] = set()

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One call of the protocol."""
        number = next(self._numbers)
        await self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        async with asyncio.timeout(PATIENCE):
            while True:
                answer = json.loads(await self._socket.recv())
                self.heard.add(answer.get("method", ""))
                if answer.get("method") == "Runtime.exceptionThrown":
                    self.problems.append(json.dumps(answer["params"]["exceptionDetails"]))
                if answer.get("id") == number:
                    break
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def evaluate(self, expression: str) -> Any:
        """An expression's value, or what the promise that it gives comes to."""
        answer = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def until(self, expression: str, seconds: float = PATIENCE) -> Any:
        """Polls until an expression is true; gives its value. One that throws is not true yet.

        Raises:
            TimeoutError: With the text that the document has.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with contextlib.suppress(RuntimeError):  # A page that is being loaded lacks elements.
                if value := await self.evaluate(expression):
                    return value
            await asyncio.sleep(PAUSE)
        text = await self.evaluate("document.documentElement.innerText")
        raise TimeoutError(f"not within {seconds} s: {expression}\n{text}")

    async def hot(self) -> None:
        """Waits until a server has pushed something: what is edited from now on reaches the page.

        Raises:
            TimeoutError: None did.
        """
        async with asyncio.timeout(PATIENCE):
            while not self.heard & PUSHES:
                await self.evaluate("0")
                await asyncio.sleep(PAUSE)

    async def screenshot(self) -> bytes:
        """What it looks like, as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])


class Browser:
    """A running browser with one page."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = contextlib.AsyncExitStack()

    async def target(self, address: str) -> Target:
        """The page or frame whose address begins so, once there is one.

        Raises:
            TimeoutError: There is none.
        """
        deadline = time.monotonic() + PATIENCE
        async with self._client() as client:
            while True:
                targets = (await client.get("/json/list")).json()
                found = next((one for one in targets if one["type"] in KINDS and one["url"].startswith(address)), None)
                if found is not None:
                    break
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no {address} in {targets}")
                await asyncio.sleep(PAUSE)
        socket = connect(found["webSocketDebuggerUrl"], max_size=None, proxy=None)
        target = Target(await self._open.enter_async_context(socket))
        for domain in ("Runtime", "Network"):
            await target.call(f"{domain}.enable")
        return target

    async def visit(self, address: str) -> Target:
        """Opens an address in the page, once the machine's network is at rest."""
        await _settled()
        page = await self.target("")
        answer = await page.call("Page.navigate", url=address)
        if "errorText" in answer:
            raise RuntimeError(f"{address}: {answer['errorText']}")
        return page

    async def close(self) -> None:
        """Tells it to end; it may be gone before it answers."""
        async with self._client() as client:
            version = (await client.get("/json/version")).json()
        with contextlib.suppress(ConnectionClosed):
            async with connect(version["webSocketDebuggerUrl"], proxy=None) as socket:
                await Target(socket).call("Browser.close")
        await self._open.aclose()

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}", trust_env=False)


def _is_settled() -> bool:
    """Whether no interface of the machine has an address on trial."""
    addresses = Path("/proc/net/if_inet6")
    lines = addresses.read_text().splitlines() if addresses.exists() else []
    return not any(int(line.split()[4], 16) & TENTATIVE for line in lines)


async def _settled() -> None:
    """Waits until the machine's network is at rest.

    When a new container's interface gets its address, a second or two after the start, Chromium ends what it is
    loading (https://issues.chromium.org/issues/41465264).

    Raises:
        TimeoutError: It does not come to rest.
    """
    async with asyncio.timeout(PATIENCE):
        while not _is_settled():  # noqa: ASYNC110 - the kernel's table knows no events
            await asyncio.sleep(PAUSE)


def _port(folder: Path) -> int | None:
    """The port that the browser chose, once it has written it down in full."""
    with contextlib.suppress(FileNotFoundError):
        number, end, _ = (folder / "DevToolsActivePort").read_text().partition("\n")
        return int(number) if end else None
    return None


def _start(folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir()
    with (folder / LOG).open("wb") as output:
        return subprocess.Popen(
            [program(), *OPTIONS, f"--user-data-dir={folder}", "about:blank"],
            stdout=output,
            stderr=output,
            env={**os.environ, "HOME": str(folder)},
            start_new_session=True,
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """Lets it end its own processes first, so that none is left to whoever reaps orphans."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Browser]:
    """A browser for as long as this lasts.

    Args:
        folder: A new folder, where all that it writes goes.
    """
    process = await asyncio.to_thread(_start, folder)
    try:
        deadline = time.monotonic() + PATIENCE
        while (port := _port(folder)) is None:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the browser did not start: {(folder / 'output.log').read_text()}")
            await asyncio.sleep(PAUSE)
        browser = Browser(port)
        try:
            yield browser
        finally:
            with contextlib.suppress(httpx.TransportError):  # It has died.
                await browser.close()
    finally:
        await asyncio.to_thread(_end, process)

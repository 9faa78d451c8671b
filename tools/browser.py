"""Headless Chromium, driven by its DevTools protocol. It is installed if it is missing."""

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
    # Frames of other sites are always targets of their own.
    "--site-per-process",
    "--remote-debugging-port=0",
)
PUSHES = {"Network.webSocketFrameReceived", "Network.eventSourceMessageReceived"}
KINDS = ("page", "iframe")
LOG = "output.log"
TIMEOUT_SECONDS = 60
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
        problems: Uncaught exceptions of its scripts.
        heard: The names of the protocol's events that came between answers.
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
        async with asyncio.timeout(TIMEOUT_SECONDS):
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
        """An expression's value; a promise is awaited."""
        answer = await self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    async def until(self, expression: str, seconds: float = TIMEOUT_SECONDS) -> Any:
        """Polls until an expression is true and returns its value. An expression that throws is not true yet.

        Raises:
            TimeoutError: It did not become true; the message has the document's text.
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
        """Waits until the server pushed something: from then on edits reach the page.

        Raises:
            TimeoutError: It pushed nothing.
        """
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not self.heard & PUSHES:
                await self.evaluate("0")
                await asyncio.sleep(PAUSE)

    async def screenshot(self) -> bytes:
        """A screenshot, as PNG."""
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])


class Browser:
    """A running browser with one page."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = contextlib.AsyncExitStack()

    async def target(self, address: str) -> Target:
        """The page or frame whose address begins with this, once there is one.

        Raises:
            TimeoutError: There is none.
        """
        deadline = time.monotonic() + TIMEOUT_SECONDS
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
        """Opens an address in the page, after ``_settled``."""
        await _settled()
        page = await self.target("")
        answer = await page.call("Page.navigate", url=address)
        if "errorText" in answer:
            raise RuntimeError(f"{address}: {answer['errorText']}")
        return page

    async def close(self) -> None:
        """Asks the browser to exit; it may exit before it answers."""
        async with self._client() as client:
            version = (await client.get("/json/version")).json()
        with contextlib.suppress(ConnectionClosed):
            async with connect(version["webSocketDebuggerUrl"], proxy=None) as socket:
                await Target(socket).call("Browser.close")
        await self._open.aclose()

    def _client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._port}", trust_env=False)


def _is_settled() -> bool:
    """Whether no network interface of the machine has a tentative address."""
    addresses = Path("/proc/net/if_inet6")
    lines = addresses.read_text().splitlines() if addresses.exists() else []
    return not any(int(line.split()[4], 16) & TENTATIVE for line in lines)


async def _settled() -> None:
    """Waits until every network interface of the machine has its address.

    A new container's interface gets its address a second or two after the start. Chromium then aborts its loads
    (https://issues.chromium.org/issues/41465264).

    Raises:
        TimeoutError: An address stays tentative.
    """
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not _is_settled():  # noqa: ASYNC110 - the kernel's table sends no events
            await asyncio.sleep(PAUSE)


def _port(folder: Path) -> int | None:
    """The port that the browser chose, None until its file is complete."""
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
    """Ends the browser. It gets time to end its own processes first, so that none is orphaned."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Browser]:
    """A browser for as long as this lasts.

    Args:
        folder: A new folder for all its files.
    """
    process = await asyncio.to_thread(_start, folder)
    try:
        deadline = time.monotonic() + TIMEOUT_SECONDS
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

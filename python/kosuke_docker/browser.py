"""A headless Chromium that looks at previews' pages. Needs Playwright, the extra ``[browser]``.

The page is code that nobody reviewed: it gets a context of its own, reaches its preview and public addresses only
(``_page_proxy``), keeps nothing, downloads nothing, opens no window, and has a time-out. Chromium's sandbox is on, but
for root: Chromium refuses it there.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from playwright.async_api import Browser as Chromium
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Playwright, async_playwright
from playwright.async_api import Error as PlaywrightError

from kosuke_docker._page_proxy import PageProxy
from kosuke_docker._png import is_blank
from kosuke_docker.errors import BrowserUnavailableError, PageUnavailableError
from kosuke_docker.models import BrowserError

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
"""Where Playwright's own Chromium is not installed."""
_OPTIONS = (
    "--disable-quic",
    "--disable-dev-shm-usage",
    # Nothing goes past the proxy: no names are looked up here, and no calls between browsers.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
)
_SIZE = (1280, 800)
_MAX_HEIGHT = 16_384
"""Pixels of a whole page that are shown."""
_MAX_PAGES = 2
"""Pages that are open at once."""
_MAX_ERRORS = 20
_MAX_MESSAGE = 500
_MAX_TEXT = 2_000
_PASSWORD = re.compile(r"(\w{1,20}://[^\s/:@]{0,200}:)[^\s/@]{1,200}@")
_HYDRATION_SECONDS = 2.0
_POLL = 0.05
_SETTLE_SECONDS = 0.3
"""How long effects get to fail, once the page runs."""

# Which framework's mark the page has, whether it runs, and whether the page has any script. In the page: it may lie.
_FRAMEWORK = """() => {
  const marked = (one, marks) => Object.keys(one).some((key) => marks.some((mark) => key.startsWith(mark)));
  const elements = [...document.querySelectorAll('body, body *')].slice(0, 500);
  const scripts = document.scripts.length > 0;
  if (elements.some((one) => marked(one, ['__reactFiber$', '__reactProps$', '__reactContainer$'])))
    return ['React', true, scripts];
  if (window.__next_f || window.__NEXT_DATA__ || window.next) return ['React', false, scripts];
  if (elements.some((one) => one.__vue_app__ || one.__vueParentComponent)) return ['Vue', true, scripts];
  if (window.__NUXT__ || document.getElementById('__nuxt')) return ['Vue', false, scripts];
  return [null, false, scripts];
}"""


@dataclass
class Seen:
    """What a page looked like.

    Attributes:
        screenshot: A PNG image.
        hydrated: Whether its framework runs, None if that cannot be told.
        hydrated_detail: How that is known, or why not.
        blank: Whether the image has one colour, None if that cannot be told.
        errors: What went wrong in it.
    """

    screenshot: bytes
    hydrated: bool | None
    hydrated_detail: str
    blank: bool | None
    errors: list[BrowserError]


@dataclass
class _Errors:
    """The errors of one page, each once."""

    origin: str
    path: str
    found: dict[tuple[str, str], BrowserError] = field(default_factory=dict)

    def uncaught(self, error: PlaywrightError) -> None:
        self._add("uncaught", error.message)

    def console(self, message: ConsoleMessage) -> None:
        if message.type != "error":
            return
        text, url = message.text, message.location.get("url", "")
        if text.startswith("Failed to load resource"):
            # What our own proxy refused is no fault of the page, nor is what a browser asks for by itself.
            if not url.startswith(f"{self.origin}/") or url == f"{self.origin}/favicon.ico":
                return
            self._add("module_load", f"{text} {url.removeprefix(self.origin)}")
        else:
            self._add("console", text)

    def _add(self, kind: str, text: str) -> None:
        if "ydration failed" in text or "hydrated but" in text or "did not match" in text:
            kind = "hydration"
        # As the core takes passwords out of what a preview prints.
        now, message = datetime.now(UTC), _PASSWORD.sub(r"\1***@", text[:_MAX_TEXT])[:_MAX_MESSAGE]
        known = self.found.get((kind, message))
        if known is not None:
            known.count += 1
            known.last_at = now
        elif len(self.found) < _MAX_ERRORS:
            values = {"kind": kind, "message": message, "first_at": now, "last_at": now, "page": self.path}
            self.found[kind, message] = BrowserError.model_validate(values)


class Browser:
    """One Chromium, started with the first page and again after it crashed."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._playwright: Playwright | None = None
        self._launch: asyncio.Task[Chromium] | None = None
        self._pages = asyncio.Semaphore(_MAX_PAGES)

    def is_of_this_loop(self) -> bool:
        """Whether it can be used here: it lives on one event loop."""
        return self._loop is asyncio.get_running_loop()

    async def start(self) -> Chromium:
        """Starts it, unless it runs.

        Raises:
            BrowserUnavailableError: There is no Chromium, or it does not start.
        """
        launch = self._launch
        failed = launch is not None and launch.done() and (launch.cancelled() or launch.exception() is not None)
        if launch is None or failed or (launch.done() and not launch.result().is_connected()):
            launch = self._launch = asyncio.create_task(self._launched())
        # Who leaves does not leave half a browser: the others go on, and `aclose` ends it.
        return await asyncio.shield(launch)

    async def _launched(self) -> Chromium:
        if self._playwright is None:
            self._playwright = await async_playwright().start()
        program = _program(self._playwright.chromium.executable_path)
        if program is None:
            raise BrowserUnavailableError(
                "there is no Chromium: run `playwright install chromium`, or install Debian's package chromium",
                operation="browser",
            )
        try:
            return await self._playwright.chromium.launch(
                executable_path=program, args=list(_OPTIONS), chromium_sandbox=os.geteuid() != 0
            )
        except PlaywrightError as error:
            words = error.message.split("\n", 1)[0]
            raise BrowserUnavailableError(f"Chromium does not start: {words}", operation="browser") from None

    async def aclose(self) -> None:
        """Ends it."""
        launch, self._launch = self._launch, None
        if launch is not None:
            with contextlib.suppress(PlaywrightError, BrowserUnavailableError):  # It has crashed, or did not start.
                await (await launch).close()
        playwright, self._playwright = self._playwright, None
        if playwright is not None:
            await playwright.stop()

    async def screenshot(
        self, url: str, endpoint: tuple[str, int], path: str, *, full_page: bool, timeout: float
    ) -> bytes:
        """An image of a page, as PNG.

        Raises:
            BrowserUnavailableError: There is no browser.
            PageUnavailableError: The page cannot be shown.
        """
        async with self._open(url, endpoint, path, timeout) as (page, errors):
            await _wait_hydrated(page, _HYDRATION_SECONDS)
            await asyncio.sleep(_SETTLE_SECONDS)
            _refuse_elsewhere(page, errors.origin)
            return await _image(page, full_page)

    async def look(self, url: str, endpoint: tuple[str, int], path: str, *, hydration: bool, timeout: float) -> Seen:
        """What a page looks like, whether it runs, and what goes wrong in it.

        Args:
            url: The preview's address for people.
            endpoint: The host and port to connect to.
            path: The page.
            hydration: Whether to wait for its framework.
            timeout: Seconds for all of it.

        Raises:
            BrowserUnavailableError: There is no browser.
            PageUnavailableError: The page cannot be shown.
        """
        async with self._open(url, endpoint, path, timeout) as (page, errors):
            hydrated, detail = await _wait_hydrated(page, _HYDRATION_SECONDS if hydration else 0)
            await asyncio.sleep(_SETTLE_SECONDS)
            _refuse_elsewhere(page, errors.origin)
            image = await _image(page, full_page=False)
            return Seen(image, hydrated, detail, is_blank(image), list(errors.found.values()))

    @contextlib.asynccontextmanager
    async def _open(
        self, url: str, endpoint: tuple[str, int], path: str, timeout: float
    ) -> AsyncIterator[tuple[Page, _Errors]]:
        """A page that has loaded, in a context of its own."""
        # Every dev server knows localhost, and some refuse other names.
        told = urlsplit(url)
        host, port = "localhost", told.port or 80
        errors = _Errors(f"{told.scheme}://{host}:{port}", path)
        try:
            async with asyncio.timeout(timeout), self._pages:
                chromium = await self.start()
                async with PageProxy((host, port), endpoint) as proxy, _context(chromium, proxy) as context:
                    page = await context.new_page()
                    # A window that a page opens is closed.
                    context.on("page", _close)
                    page.on("pageerror", errors.uncaught)
                    page.on("console", errors.console)
                    await page.goto(f"{errors.origin}{path}", wait_until="load", timeout=timeout * 1000)
                    _refuse_elsewhere(page, errors.origin)
                    yield page, errors
                    _refuse_elsewhere(page, errors.origin)
        except TimeoutError:
            raise PageUnavailableError(f"{path}: not shown within {timeout:g} s", operation="browser") from None
        except PlaywrightError as error:
            words = error.message.split("\n", 1)[0][:_MAX_MESSAGE]
            raise PageUnavailableError(f"{path}: {words}", operation="browser") from None


def _program(own: str) -> str | None:
    """Playwright's own Chromium, else the machine's."""
    return own if Path(own).exists() else next(filter(None, map(shutil.which, _PROGRAMS)), None)


@contextlib.asynccontextmanager
async def _context(chromium: Chromium, proxy: PageProxy) -> AsyncIterator[BrowserContext]:
    # Without a handler, Playwright dismisses dialogs.
    context = await chromium.new_context(
        proxy={"server": proxy.url, "bypass": "<-loopback>"},
        viewport={"width": _SIZE[0], "height": _SIZE[1]},
        accept_downloads=False,
        service_workers="block",
        # Dev servers sign their certificates themselves.
        ignore_https_errors=True,
    )
    try:
        yield context
    finally:
        with contextlib.suppress(PlaywrightError):  # Chromium has crashed.
            await context.close()


async def _close(page: Page) -> None:
    with contextlib.suppress(PlaywrightError):  # It was closed meanwhile.
        await page.close()


def _refuse_elsewhere(page: Page, origin: str) -> None:
    """Raises where the page has left its preview: what is shown then is another's."""
    there = urlsplit(page.url)
    if f"{there.scheme}://{there.netloc}" != origin:
        raise PageUnavailableError("the page led away from its preview", operation="browser")


async def _wait_hydrated(page: Page, seconds: float) -> tuple[bool | None, str]:
    """Whether the page's framework runs, and how that is known."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        name, runs, scripts = await _framework(page)
        if runs:
            return True, f"{name} runs in the page"
        if not scripts:
            return None, "the page has no script"
        if not seconds:
            return None, "what does not compile or answer was not waited for"
        if asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(_POLL)
    if name is None:
        return None, "no mark of React or Vue: others cannot be told"
    return False, f"{name} did not start within {seconds:g} s"


async def _framework(page: Page) -> tuple[str | None, bool, bool]:
    """Which framework's mark the page has, whether that runs, and whether there is any script."""
    try:
        told = await page.evaluate(_FRAMEWORK)
    except PlaywrightError:
        if page.is_closed():
            raise
        return None, False, True  # It was just leaving for another page.
    known = isinstance(told, list) and len(told) == 3 and isinstance(told[0], str | None)  # noqa: PLR2004
    return (told[0], told[1] is True, told[2] is True) if known else (None, False, True)


async def _image(page: Page, full_page: bool) -> bytes:
    if not full_page:
        return await page.screenshot(type="png")
    height = await page.evaluate("document.documentElement.scrollHeight")
    # The page may say what it likes of itself.
    told = height if isinstance(height, (int, float)) and math.isfinite(height) else 0
    height = min(max(int(told), _SIZE[1]), _MAX_HEIGHT)
    clip = {"x": 0.0, "y": 0.0, "width": float(_SIZE[0]), "height": float(height)}
    return await page.screenshot(type="png", full_page=True, clip=clip)  # type: ignore[arg-type]

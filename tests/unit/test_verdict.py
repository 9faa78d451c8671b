"""A verdict and what it is made of: images, the page's way out, the models."""

from __future__ import annotations

import asyncio
import json
import struct
import zlib
from datetime import UTC, datetime
from typing import Any

import pytest
from kosuke_docker import (
    BrowserUnavailableError,
    CheckResult,
    DockerService,
    InvalidInputError,
    Preview,
    Settings,
    Verdict,
    _png,
    _verdict,
)
from kosuke_docker._page_proxy import PageProxy
from kosuke_docker.browser import Seen
from kosuke_docker.models import BrowserError

NOW = datetime.now(UTC)


def png(rows: list[bytes], channels: int = 3, *, colour: int = 2) -> bytes:
    """An image of these rows, each with its filter's number first."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", (len(rows[0]) - 1) // channels, len(rows), 8, colour, 0, 0, 0)
    body = zlib.compress(b"".join(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


RED, BLUE = b"\xff\x00\x00", b"\x00\x00\xff"


@pytest.mark.parametrize(
    ("rows", "blank"),
    [
        ([b"\0" + RED * 3, b"\0" + RED * 3], True),
        # Each filter, on one colour.
        ([b"\1" + RED + bytes(6), b"\2" + bytes(9), b"\4" + bytes(9), b"\3" + b"\x80\0\0" + bytes(6)], True),
        ([b"\0" + RED * 3, b"\0" + RED * 2 + BLUE], False),
        ([b"\0" + RED * 3, b"\0" + BLUE * 3], False),
        ([b"\0" + RED * 3, b"\2" + bytes(9), b"\2" + b"\1" * 9], False),
    ],
)
def test_one_colour_is_blank(rows: list[bytes], blank: bool) -> None:
    assert _png.is_blank(png(rows)) is blank


def test_what_is_no_image_is_not_told() -> None:
    good = png([b"\0" + RED * 3])
    for image in (b"", b"GIF89a", good[:20], good[:40], good.replace(b"IDAT", b"IDAX"), png([b"\0" + RED], colour=3)):
        assert _png.is_blank(image) is None


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + head)
    await writer.drain()
    writer.close()


async def through(proxy: PageProxy, request: str) -> str:
    port = int(proxy.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request.encode())
    text = (await reader.read()).decode()
    writer.close()
    return text


async def test_a_page_reaches_its_preview_and_nothing_of_this_machine() -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with PageProxy(("localhost", 3000), ("127.0.0.1", port)) as proxy:
        told = await through(
            proxy, "GET http://localhost:3000/a?b=1 HTTP/1.1\r\nHost: localhost:3000\r\nProxy-Connection: x\r\n\r\n"
        )
        assert told.startswith("HTTP/1.1 200"), told
        assert "GET /a?b=1 HTTP/1.1\r\nConnection: close\r\nHost: localhost:3000\r\n\r\n" in told
        tunnel = "CONNECT localhost:3000 HTTP/1.1\r\n\r\n"
        assert (await through(proxy, f"{tunnel}GET / HTTP/1.1\r\n\r\n")).startswith("HTTP/1.1 200 Connected")
        for target in (f"127.0.0.1:{port}", f"localhost:{port}", "169.254.169.254:80", "10.0.0.1:80", "[::1]:80"):
            for request in (f"GET http://{target}/ HTTP/1.1\r\n\r\n", f"CONNECT {target} HTTP/1.1\r\n\r\n"):
                assert (await through(proxy, request)).startswith("HTTP/1.1 403"), request
        for nonsense in (
            "\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET ftp://x/ HTTP/1.1\r\n\r\n",
            "CONNECT x:y z\r\n\r\n",
        ):
            assert await through(proxy, nonsense) == ""
    server.close()


def told(**found: bool | None) -> dict[str, Any]:
    names = {"taken_in": True, "compiles": True, "answers": True, "browser_errors": None, **found}
    checks = [{"name": name, "ok": ok, "detail": "x"} for name, ok in names.items()]
    return {"checks": checks, "errors": [], "browser_errors": [], "edited_at": NOW.timestamp()}


def seen(*errors: BrowserError, hydrated: bool | None = True, blank: bool | None = False) -> Seen:
    return Seen(b"png", hydrated, "x", blank, list(errors))


def boom(kind: str = "uncaught") -> BrowserError:
    return BrowserError.model_validate({"kind": kind, "message": "boom", "first_at": NOW, "last_at": NOW})


@pytest.mark.parametrize(
    ("core", "browser", "ok"),
    [
        (told(), "no browser", True),
        (told(), seen(), True),
        (told(taken_in=None, compiles=None), seen(), True),
        (told(answers=None), seen(), False),
        (told(compiles=False), seen(), False),
        (told(), seen(hydrated=False), False),
        (told(), seen(hydrated=None, blank=None), True),
        (told(), seen(blank=True), False),
        (told(), seen(boom()), False),
    ],
)
def test_what_is_not_known_does_not_count(core: dict[str, Any], browser: Any, ok: bool) -> None:
    verdict = _verdict.of(core, browser, None, None)
    assert verdict.ok is ok, verdict
    assert len(verdict.checks) == 6


def test_a_browser_completes_what_the_core_could_not_know() -> None:
    verdict = _verdict.of(told(compiles=None), seen(), None, None)
    assert {check.name: check.ok for check in verdict.checks}["compiles"] is True
    failed = _verdict.of(told(compiles=None), seen(boom("module_load")), None, None)
    assert {check.name: check.ok for check in failed.checks}["compiles"] is None
    preview = Preview(project_id=1, phase="ready", running=True, container_name="x", as_of=NOW)
    preview.browser_errors = [boom()]
    assert len(_verdict.of(told(), seen(boom()), preview, None).browser_errors) == 1, "told by both"


def test_a_screenshot_is_no_part_of_a_repr_and_survives_json() -> None:
    verdict = _verdict.of(told(), seen(), None, None)
    assert "png" not in repr(verdict)
    assert Verdict.model_validate_json(verdict.model_dump_json()).screenshot == b"png"


async def test_a_supplied_client_is_not_asked_for_more(settings: Settings) -> None:
    async with DockerService(settings, client=object()) as service:
        for call in (service.check(1), service.verify(1), service.screenshot(1)):
            with pytest.raises(InvalidInputError, match="client"):
                await call


async def test_without_the_extra_the_error_says_how_to_get_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "kosuke_docker.browser", None)
    async with DockerService(settings) as service:
        with pytest.raises(BrowserUnavailableError, match=r"pip install kosuke-docker\[browser\]"):
            await service.screenshot(1)


def test_a_check_has_its_fields() -> None:
    values = {"as_of": NOW.timestamp(), "routes": [{"path": "/", "compiled": None, "status": 200}]}
    assert CheckResult.model_validate_json(json.dumps(values)).routes[0].status == 200

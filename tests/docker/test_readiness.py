"""When a preview counts as ready, and what it says of one that will not be."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest
from dev_app import requests, tell
from kosuke_docker import PreviewFailedError, PreviewTimeoutError, Settings, SettingsError
from waiting import SECONDS, eventually

DATA = Path(__file__).parent.parent / "data" / "dev-servers"
STAMP = re.compile(rb"^\d{4}-\d\d-\d\dT\S+ ", re.MULTILINE)
LONG = "3600000"


def output(folder: Path, name: str) -> None:
    """What a real dev server printed, for the app to print."""
    (folder / "output.log").write_bytes(STAMP.sub(b"", (DATA / f"{name}.log").read_bytes()))


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


async def test_an_open_port_is_not_ready(world: Any) -> None:
    """The engine's proxy takes connections before the app listens."""
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, {"LISTEN_MS": "1500"})
    with socket.create_connection(("127.0.0.1", port_of(url)), timeout=5):
        pass
    preview = await service.get_preview(7)
    assert (preview.phase, preview.compilation_complete, preview.is_responding) == ("starting", False, False)
    assert (await service.wait_until_ready(7)).phase == "ready"


async def test_ready_lines_are_not_ready_while_the_page_answers_500(world: Any) -> None:
    world.project(7)
    service = world.service()
    lines = "✓ Ready in 1s\n ✓ Compiled / in 2s\nready started server on 0.0.0.0:3000\nevent - compiled successfully\n"
    await service.start_preview(7, {"STATUS": "500", "PRINT": lines, "QUIET": "1"})
    with pytest.raises(PreviewTimeoutError) as caught:
        await service.wait_until_ready(7, timeout=2)
    assert caught.value.phase in ("compiling", "compile_error")
    assert caught.value.last_known is not None
    assert caught.value.last_known.http_status == 500
    assert caught.value.last_known.compilation_complete is False


async def test_a_page_that_answers_500_without_words_says_its_status(world: Any) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7)
    assert (await service.wait_until_ready(7)).phase == "ready"
    await tell(url, "status/500", "/")
    await eventually_said(service, "answers 500")
    preview = await service.get_preview(7)
    assert preview is not None
    assert (preview.phase, preview.compilation_complete) == ("compiling", False)


async def eventually_said(service: Any, words: str) -> None:
    async with asyncio.timeout(SECONDS):
        while words not in ((await service.get_preview(7)).detail or ""):  # noqa: ASYNC110 - pulled, as a user does
            await asyncio.sleep(0.05)


HTTPS = (
    "const server = require('https').createServer({key: require('fs').readFileSync('/app/key.pem'), "
    "cert: require('fs').readFileSync('/app/cert.pem')}, (request, answer) => answer.end('hello'));"
    "server.listen(3000, '0.0.0.0', () => console.log('up'));"
)


def sign(folder: Path) -> None:
    """Makes a certificate as dev servers do: signed by nobody."""
    pem = ("-keyout", "key.pem", "-out", "cert.pem")
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost", *pem)
    subprocess.run(made, cwd=folder, check=True, capture_output=True)
    (folder / "key.pem").chmod(0o644)


async def test_a_dev_server_that_speaks_https_is_asked_over_it(world: Any) -> None:
    """Its certificate is its own, and proves nothing."""
    folder = world.project(7)
    sign(folder)
    (folder / "server.js").write_text(HTTPS)
    service = world.service(preview_command="cd /app && exec node server.js")
    await service.start_preview(7)
    preview = await service.wait_until_ready(7)
    assert preview.is_responding
    assert preview.url is not None
    assert preview.url.startswith("https://")


async def test_compiled_before_an_error_is_not_ready(world: Any) -> None:
    """As Next.js 15 with Turbopack has it: 2 ms before."""
    world.project(7)
    service = world.service()
    seen: list[str] = []
    async with service.events(7) as events:
        await service.start_preview(7, {"STATUS": "500", "ERROR": "late"})
        while not seen or seen[-1] != "compile_error":
            event = await asyncio.wait_for(anext(events), SECONDS)
            seen.append(event.preview.phase)
    assert "ready" not in seen
    assert (await service.get_preview(7)).compilation_complete is False


async def test_the_real_output_of_turbopack_is_not_ready(world: Any) -> None:
    folder = world.project(7)
    log = (DATA / "next15-turbopack-syntax.log").read_text()
    # Up to where somebody mended it.
    (folder / "output.log").write_text(log[: log.index(" ✓ Compiled in 64ms")])
    service = world.service()
    await service.start_preview(7, {"STATUS": "500", "PRINT_FILE": "output.log", "QUIET": "1"})
    with pytest.raises(PreviewFailedError) as caught:
        await service.wait_until_ready(7, fail_on_compile_error=True)
    assert caught.value.last_known is not None
    [error] = caught.value.last_known.errors
    assert (error.file, error.line, error.column, error.kind) == ("app/page.js", 2, 15, "syntax")


async def test_a_server_that_says_nothing_is_warmed_up_with_few_requests(world: Any) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, {"READY": "none", "QUIET": "1", "LISTEN_MS": "1500", "COMPILE_MS": "1000"})
    assert (await service.wait_until_ready(7)).http_status == 200
    assert await requests(url) == 1


async def test_exactly_one_request_until_it_is_ready(world: Any) -> None:
    world.project(7)
    service = world.service(preview_probe_ttl=60.0)
    url = await service.start_preview(7, {"COMPILE_MS": "1500"})
    polling = True

    async def poll() -> None:
        while polling:
            await service.get_preview(7)
            await asyncio.sleep(0.02)

    task = asyncio.create_task(poll())
    await service.wait_until_ready(7)
    assert await requests(url) == 1
    polling = False
    await task
    # Within the time that an answer is good for, it is not asked again.
    await asyncio.gather(*(service.get_preview(7) for _ in range(50)))
    assert await requests(url) == 1


async def test_polls_ask_once_in_the_time_that_an_answer_is_good_for(world: Any) -> None:
    world.project(7)
    service = world.service(preview_probe_ttl=1.0)
    url = await service.start_preview(7, wait="ready")
    before = await requests(url)
    began = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < began + 3:
        await asyncio.gather(*(service.get_preview_status(7) for _ in range(10)))
        await asyncio.sleep(0.02)
    took = asyncio.get_running_loop().time() - began
    assert 1 <= await requests(url) - before <= took + 1


async def test_nobody_is_asked_while_errors_stand(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service(preview_probe_ttl=0.0)
    url = await service.start_preview(7, {"STATUS": "500", "ERROR": "1"})
    await until(service, 7, "compile_error")
    before = await requests(url)
    for _ in range(100):
        assert (await service.get_preview(7)).phase == "compile_error"
    # The service itself tries now and then.
    assert await requests(url) - before <= 1


async def test_an_answer_in_the_log_counts(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service(preview_probe_ttl=0.0)
    url = await service.start_preview(7, {"STATUS": "500", "ERROR": "1"})
    await until(service, 7, "compile_error")
    # Somebody else looked at the page, which was mended: our own request would still say 500.
    await tell(url, "say", " GET / 200 in 305ms (next.js: 178ms, application-code: 127ms)\n")
    async with asyncio.timeout(SECONDS):
        while not service.containers[7].compilation_complete:  # noqa: ASYNC110 - it knows no events
            await asyncio.sleep(0.01)


async def test_own_patterns(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service(preview_ready_pattern="^the ship has landed$", preview_error_pattern="^meteor: ")
    url = await service.start_preview(7, {"READY": "the ship has landed", "QUIET": "1", "COMPILE_MS": LONG})
    await until(service, 7, "compiling")
    await tell(url, "say", "meteor: hull breached\n")
    [error] = (await until(service, 7, "compile_error")).errors
    assert "hull breached" in error.raw


async def test_without_its_pattern_a_line_says_nothing(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, {"READY": "the ship has landed", "QUIET": "1"})
    await until(service, 7, "ready")
    await tell(url, "say", "meteor: hull breached\nmarker\n")
    await eventually(lambda: b"marker" in world.container(7).logs())
    assert (await service.wait_until_ready(7)).errors == []


@pytest.mark.parametrize("field", ["preview_ready_pattern", "preview_error_pattern"])
def test_a_pattern_that_is_none_is_refused(field: str) -> None:
    with pytest.raises(SettingsError, match=field):
        Settings.model_validate({field: "("})


async def test_a_server_that_moved_to_another_port(world: Any) -> None:
    folder = world.project(7)
    output(folder, "edge-next15-portinuse-noPORT")
    service = world.service()
    await service.start_preview(7, {"PORT": "3001", "PRINT_FILE": "output.log", "QUIET": "1"})
    with pytest.raises(PreviewTimeoutError) as caught:
        await service.wait_until_ready(7, timeout=2)
    assert caught.value.last_known is not None
    detail = caught.value.last_known.detail
    assert detail is not None
    assert re.search(r"3000.*3001", detail)
    assert "end the other process" in detail


async def test_a_server_that_is_on_a_port_of_its_own_choice(world: Any) -> None:
    folder = world.project(7)
    output(folder, "vite7-otherport")
    service = world.service()
    await service.start_preview(7, {"PORT": "5173", "PRINT_FILE": "output.log", "READY": "none"})
    with pytest.raises(PreviewTimeoutError) as caught:
        await service.wait_until_ready(7, timeout=2)
    assert caught.value.last_known is not None
    assert "--port 3000" in str(caught.value.last_known.detail)


async def test_a_server_on_localhost_only(world: Any) -> None:
    folder = world.project(7)
    output(folder, "vite7-localhost")
    text = (folder / "output.log").read_text().replace("3220", "3000")
    (folder / "output.log").write_text(text)
    service = world.service()
    await service.start_preview(7, {"HOST": "127.0.0.1", "PRINT_FILE": "output.log", "READY": "none"})
    with pytest.raises(PreviewTimeoutError) as caught:
        await service.wait_until_ready(7, timeout=2)
    assert caught.value.last_known is not None
    assert "--host 0.0.0.0" in str(caught.value.last_known.detail)


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("edge-next15-portinuse", 0, "Port 3000 is taken inside the container"),
        ("edge-next15-badconfig", 1, "next.config.js"),
        ("edge-next15-nodevscript", 1, 'no script "dev": add it'),
        ("edge-next15-nonodemodules", 127, "npm install"),
        ("edge-nopackagejson", 254, "package.json"),
        ("vite7-badconfig", 1, "vite.config"),
        ("vite7-unknownoption", 1, "take it out of the command"),
    ],
)
async def test_a_server_that_ended_says_why(world: Any, name: str, code: int, words: str) -> None:
    folder = world.project(7)
    output(folder, name)
    service = world.service()
    with pytest.raises(PreviewFailedError) as caught:
        await service.start_preview(
            7, {"EXIT_CODE": str(code), "EXIT_MS": "300", "PRINT_FILE": "output.log"}, wait="ready"
        )
    assert caught.value.exit_code == code
    assert caught.value.last_known is not None
    assert caught.value.last_known.phase == "exited"
    assert words in str(caught.value.last_known.detail)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("package", "code", "words"),
    [
        ({"scripts": {"build": "true"}}, 1, 'no script "dev": add it'),
        ({"scripts": {"dev": "next dev"}}, 127, "`npm install`"),
        (None, 254, "no package.json"),
    ],
    ids=["no-script", "no-modules", "no-package"],
)
async def test_npm_itself_says_why(world: Any, package: dict[str, Any] | None, code: int, words: str) -> None:
    folder = world.project(7)
    if package is not None:
        (folder / "package.json").write_text(json.dumps({"name": "app", **package}))
    service = world.service(preview_command="cd /app && npm run dev -- -H 0.0.0.0")
    with pytest.raises(PreviewFailedError) as caught:
        await service.start_preview(7, wait="ready")
    assert caught.value.exit_code == code
    assert caught.value.last_known is not None
    assert words in str(caught.value.last_known.detail)


async def test_a_host_name_that_is_refused(world: Any) -> None:
    world.project(7)
    service = world.service(preview_public_host="preview.example")
    url = await service.start_preview(7, {"ALLOWED": "localhost"}, wait="ready")
    assert url.startswith("http://preview.example:")
    # It is asked for once the page is compiled.
    detail = None
    async with asyncio.timeout(SECONDS):
        while detail is None:
            detail = (await service.get_preview(7)).detail
            await asyncio.sleep(0.05)
    assert '"preview.example"' in detail
    assert "server.allowedHosts" in detail
    preview = await service.get_preview(7)
    assert (preview.phase, preview.is_responding) == ("ready", True)


async def test_a_host_name_that_is_not_refused(world: Any) -> None:
    world.project(7)
    service = world.service(preview_public_host="preview.example", preview_probe_ttl=60.0)
    url = await service.start_preview(7, wait="ready")
    here = f"http://localhost:{port_of(url)}"
    # One for the page, one under that name, and no more.
    for _ in range(100):
        if await requests(here) == 2:
            break
        await asyncio.sleep(0.05)
    assert await requests(here) == 2
    assert (await service.get_preview(7)).detail is None


async def test_localhost_is_not_asked_about(world: Any) -> None:
    world.project(7)
    service = world.service(preview_probe_ttl=60.0)
    url = await service.start_preview(7, {"ALLOWED": "localhost"}, wait="ready")
    assert (await service.get_preview(7)).detail is None
    assert await requests(url) == 1


async def test_a_server_for_localhost_only_that_says_nothing_of_it(world: Any, until: Any) -> None:
    world.project(7)
    script = "require('http').createServer((q, s) => s.end('ok')).listen(3000, '127.0.0.1', () => console.log('up'))"
    service = world.service(preview_command=["node", "-e", script], preview_ready_pattern="^up$")
    await service.start_preview(7)
    await until(service, 7, "compiling")
    detail = ""
    async with asyncio.timeout(30):
        while "0.0.0.0" not in detail:
            preview = await service.get_preview(7)
            assert preview is not None
            detail = preview.detail or ""
            await asyncio.sleep(0.05)
    assert "3000" in detail
    assert "PREVIEW_COMMAND" in detail

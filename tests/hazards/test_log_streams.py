"""Output without a line's end, raw, silent, in bits and pieces; and errors within a stream."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Literal

import pytest
from fake_engine import STDERR, Body, Drop, FakeEngine, Hang, Status
from kosuke_docker import ImageNotFoundError, KosukeDockerError
from waiting import SECONDS, eventually


def rss() -> int:
    """Bytes that this process holds in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


@pytest.fixture(params=[False, True], ids=["frames", "tty"])
def tty(request: pytest.FixtureRequest, fake_engine: FakeEngine) -> bool:
    fake_engine.tty = bool(request.param)
    return fake_engine.tty


async def test_ready_is_seen_in_frames_and_in_a_raw_stream(fake: Any, fake_engine: FakeEngine, tty: bool) -> None:
    fake_engine.ready_line = ""
    fake.project(7)
    service = fake.service()
    ready = asyncio.create_task(service.start_preview(7, wait="ready"))
    await eventually(lambda: any(call.endswith("/logs") for call in fake_engine.calls))
    for part in ("\x1b[32m ✓ Re", "ady in", " 5ms\r\n"):
        data = part.encode()
        # In the middle of a character, too.
        for piece in (data[:7], data[7:]):
            fake_engine.say(fake.name(7), piece)
    await asyncio.wait_for(ready, SECONDS)


async def test_a_megabyte_without_a_newline_harms_nobody(
    fake: Any, fake_engine: FakeEngine, tty: bool, until: Any
) -> None:
    fake.project(7)
    service = fake.service()
    await service.start_preview(7)
    for stream in (1, STDERR):
        fake_engine.say(fake.name(7), b"x" * 1_000_000, stream)
    fake_engine.say(fake.name(7), "\n ✓ Ready in 5ms\n".encode())
    await until(service, 7, "ready")
    fake_engine.exit(fake.name(7), 1)
    preview = await until(service, 7, "exited")
    assert sum(len(line) for line in preview.last_lines) < 500_000


async def test_output_without_end_does_not_fill_the_memory(fake: Any, fake_engine: FakeEngine, count: Any) -> None:
    fake.project(7)
    service = fake.service()
    await service.start_preview(7, wait="ready")
    name, megabytes = fake.name(7), count(1000)

    def flood(number: int) -> None:
        for _ in range(number):
            fake_engine.say(name, b"y" * 1_000_000)
            # The fake forgets what it said; what grows now is ours.
            fake_engine.container(name).logs[:-1] = [(1, 0, b"")] * (len(fake_engine.container(name).logs) - 1)

    await asyncio.to_thread(flood, 10)
    before = rss()
    await asyncio.to_thread(flood, megabytes)
    assert (await service.get_preview(7)).phase == "ready"
    assert rss() - before < 60_000_000


@pytest.mark.parametrize("which", ["follow", "all"])
async def test_a_silent_log_stream_holds_up_nothing(
    fake: Any, fake_engine: FakeEngine, until: Any, which: Literal["follow", "all"]
) -> None:
    fake_engine.silent_logs = which
    fake.project(7)
    service = fake.service(engine_timeout=1.0)
    url = await asyncio.wait_for(service.start_preview(7), SECONDS)
    # Nothing is said, but the page answers.
    await until(service, 7, "ready")
    fake_engine.exit(fake.name(7), 3)
    preview = await until(service, 7, "exited")
    assert (preview.exit_code, preview.url) == (3, None)
    assert (await asyncio.wait_for(service.restart_preview(7), SECONDS)).startswith(url.rpartition(":")[0])
    await asyncio.wait_for(service.stop_preview(7), SECONDS)
    assert fake.containers() == []


@pytest.mark.parametrize(
    "how",
    [Hang(), Drop(), Status(500, "boom"), Body(b"\x07garbage\xff" * 1000), Body(b"\x01\0\0\0\xff\xff\xff\xffx")],
    ids=["hang", "drop", "refusal", "garbage", "endless-frame"],
)
async def test_logs_that_cannot_be_read_hold_up_nothing(
    fake: Any, fake_engine: FakeEngine, how: Any, until: Any
) -> None:
    fake_engine.fail("/logs", how)
    fake.project(7)
    service = fake.service(engine_timeout=1.0)
    await asyncio.wait_for(service.start_preview(7, wait="ready"), SECONDS)
    await until(service, 7, "ready")
    fake_engine.exit(fake.name(7), 3)
    await until(service, 7, "exited")
    await asyncio.wait_for(service.stop_preview(7), SECONDS)


async def test_a_log_stream_that_breaks_is_read_on_without_a_gap(
    fake: Any, fake_engine: FakeEngine, until: Any
) -> None:
    fake_engine.page_status = 500
    fake.project(7)
    service = fake.service()
    await service.start_preview(7)
    name = fake.name(7)
    for _ in range(3):
        fake_engine.drop_connections()
        # Said while nobody reads.
        fake_engine.say(name, b" \xe2\xa8\xaf ./app/page.js\nError: Expected '>', got ';'\n")
        await until(service, 7, "compile_error")
        fake_engine.page_status = 200
        await until(service, 7, "ready")
        fake_engine.page_status = 500


async def test_an_error_within_the_stream_of_a_pull_is_an_error(fake: Any, fake_engine: FakeEngine) -> None:
    words = "manifest for kosuke-fake:1 not found: manifest unknown"
    fake_engine.images.clear()
    fake_engine.pull = [
        {"status": "Pulling from library/kosuke-fake", "id": "1"},
        {"errorDetail": {"message": words}, "error": words},
    ]
    fake.project(7)
    service = fake.service(preview_pull_policy="missing")
    for call in (service.ensure_image(), service.start_preview(7)):
        with pytest.raises(ImageNotFoundError, match="manifest unknown") as caught:
            await call
        assert words in (caught.value.engine_message or "")
    assert fake.containers() == []


async def test_a_pull_that_breaks_off_is_an_error(fake: Any, fake_engine: FakeEngine) -> None:
    fake_engine.images.clear()
    fake_engine.pull = [{"status": "Downloading", "id": str(number)} for number in range(100_000)]
    fake.project(7)
    service = fake.service(preview_pull_policy="missing")
    pull = asyncio.create_task(service.ensure_image())
    await eventually(lambda: "POST /images/create" in fake_engine.calls)
    fake_engine.drop_connections()
    with pytest.raises(KosukeDockerError) as caught:
        await asyncio.wait_for(pull, SECONDS)
    assert caught.value.operation == "image"

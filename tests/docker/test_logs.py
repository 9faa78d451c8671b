"""A preview's output, line by line."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dev_app import tell
from kosuke_docker import (
    DockerService,
    InvalidInputError,
    LogLine,
    PreviewFailedError,
    PreviewNotFoundError,
    ServiceClosedError,
)
from private_engine import PrivateEngine
from waiting import SECONDS, eventually

END_SECONDS = 2
"""What is promised is 0.5 s; this machine may be busy."""

# Two lines each 5 ms, numbered over restarts: the project's folder stays.
NUMBERS = """
const fs = require("fs");
let number = fs.existsSync("/app/number") ? Number(fs.readFileSync("/app/number", "utf8")) : 0;
process.on("SIGTERM", () => process.exit(0));
setInterval(() => {
  fs.writeFileSync("/app/number", String(number + 2));
  fs.writeSync(1, `line ${number++}\\n`);
  fs.writeSync(1, `line ${number++}\\n`);
}, 5);
"""


def node(script: str) -> dict[str, list[str]]:
    """The setting for a preview that runs this and then does nothing."""
    return {"preview_command": ["node", "-e", f"{script}\nsetInterval(() => {{}}, 1000);"]}


def ended(script: str) -> dict[str, list[str]]:
    return {"preview_command": ["node", "-e", script]}


async def started(world: Any, **changes: Any) -> DockerService:
    world.project(7)
    service: DockerService = world.service(**changes)
    # A script that ends by itself may have ended before the start sees it run.
    with contextlib.suppress(PreviewFailedError):
        await service.start_preview(7)
    return service


async def collect(stream: Any, into: list[LogLine] | None = None) -> list[LogLine]:
    lines = [] if into is None else into
    async for line in stream:
        lines.append(line)
    return lines


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


def sockets() -> int:
    found = 0
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found += str(entry.readlink()).startswith("socket:")
        except FileNotFoundError:  # Listing the folder took one itself.
            continue
    return found


def rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


# 50 ms apart: a busy engine reads the two streams in another order.
@pytest.mark.alone
async def test_lines_have_an_order_a_stream_and_a_time(world: Any) -> None:
    began = datetime.now(UTC)
    script = """
      const fs = require("fs");
      const wait = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
      for (const number of [1, 2, 3]) {
        fs.writeSync(1, `\\x1b[32mout\\x1b[39m ${number}\\n`); wait(50);
        fs.writeSync(2, `err ${number}\\r\\n`); wait(50);
      }
      fs.writeSync(1, "postgres://app:secret@db/app\\n");
    """
    service = await started(world, **ended(script))
    lines = await asyncio.wait_for(collect(service.logs(7)), SECONDS)
    numbered = [("stdout", f"out {number}", "stderr", f"err {number}") for number in (1, 2, 3)]
    expected = [pair for one in numbered for pair in (one[:2], one[2:])]
    assert [(line.stream, line.text) for line in lines[:-1]] == expected
    assert "secret" not in lines[-1].text
    times = [line.timestamp for line in lines]
    assert times == sorted(times)
    assert times[0].tzinfo is not None
    assert began - timedelta(seconds=1) < times[0] < times[-1] < datetime.now(UTC) + timedelta(seconds=1)
    assert times[-1] - times[0] >= timedelta(milliseconds=200)


async def test_the_tail_is_what_was_asked_for(world: Any) -> None:
    service = await started(world, **ended('console.log([...Array(300).keys()].map((n) => "n" + n).join("\\n"))'))
    everything = await asyncio.wait_for(collect(service.logs(7, tail=None)), SECONDS)
    assert texts(everything) == [f"n{number}" for number in range(300)]
    assert texts(await collect(service.logs(7, follow=False))) == [f"n{number}" for number in range(100, 300)]
    assert texts(await collect(service.logs(7, follow=False, tail=2))) == ["n298", "n299"]
    assert texts(await collect(service.logs(7, tail=2))) == ["n298", "n299"]
    assert await collect(service.logs(7, follow=False, tail=0)) == []
    for tail in (-1, 2**32):
        with pytest.raises(InvalidInputError):
            service.logs(7, tail=tail)


async def test_without_follow_it_ends_while_the_container_runs(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"PRINT": "first"}, wait="ready")
    lines = await asyncio.wait_for(collect(service.logs(7, follow=False)), SECONDS)
    assert lines[0].text == "first"
    assert any("Ready" in text for text in texts(lines))


@pytest.mark.alone
async def test_what_comes_comes_at_once(world: Any, record_property: Callable[[str, object], None]) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, wait="ready")
    await tell(url, "say", "hello\n")
    lines = service.logs(7)
    while (await asyncio.wait_for(anext(lines), SECONDS)).text != "hello":
        pass
    took = []
    for number in range(10):
        began = time.monotonic()
        await tell(url, "say-err", f"{number}\n")
        line = await asyncio.wait_for(anext(lines), SECONDS)
        took.append(time.monotonic() - began)
        assert (line.stream, line.text) == ("stderr", str(number))
    record_property("print_to_line_seconds", max(took))
    assert sorted(took)[len(took) // 2] < 1
    await lines.aclose()


@pytest.mark.alone
@pytest.mark.parametrize("how", ["exit", "kill", "remove", "stop_preview"])
async def test_it_ends_soon_after_the_container(
    world: Any, record_property: Callable[[str, object], None], how: str
) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, wait="ready")
    lines: list[LogLine] = []
    reading = asyncio.create_task(collect(service.logs(7), lines))
    await eventually(lambda: any("Compiled" in text for text in texts(lines)))
    container = world.container(7)
    if how == "exit":
        await tell(url, "exit/3")
        await asyncio.to_thread(container.wait)
    elif how == "kill":
        await asyncio.to_thread(container.kill)
        await asyncio.to_thread(container.wait)
    elif how == "remove":
        await asyncio.to_thread(container.remove, force=True)
    else:
        await service.stop_preview(7)
    began = time.monotonic()
    await asyncio.wait_for(reading, SECONDS)
    took = time.monotonic() - began
    record_property("exit_to_end_seconds", took)
    assert took < END_SECONDS


# Whether a container comes back is waited for a third of a second, and a busy engine takes longer.
@pytest.mark.alone
@pytest.mark.parametrize("how", ["restart_preview", "docker restart"])
async def test_a_restart_loses_nothing_and_repeats_nothing(world: Any, count: Callable[[int], int], how: str) -> None:
    service = await started(world, **ended(NUMBERS))
    lines: list[LogLine] = []
    reading = asyncio.create_task(collect(service.logs(7, tail=None), lines))
    for _ in range(count(20)):
        before = len(lines)
        await eventually(lambda before=before: len(lines) > before + 20)  # type: ignore[misc]
        if how == "restart_preview":
            await service.restart_preview(7)
        else:
            await asyncio.to_thread(world.container(7).restart, timeout=1)
    before = len(lines)
    await eventually(lambda: len(lines) > before + 20)
    await asyncio.to_thread(world.container(7).kill)
    await asyncio.wait_for(reading, SECONDS)
    assert texts(lines) == [f"line {number}" for number in range(len(lines))]
    assert texts(lines) == world.container(7).logs().decode().splitlines()


async def test_bytes_that_are_no_text_and_lines_without_an_end(world: Any) -> None:
    script = """
      const fs = require("fs");
      const write = (data) => { for (let at = 0; at < data.length; ) at += fs.writeSync(1, data, at); };
      write(Buffer.from([0x61, 0xff, 0xfe, 0x62, 0x0a]));
      write(Buffer.from("x".repeat(1_000_000) + "\\n"));
      write(Buffer.from("héllo\\n"));
      write(Buffer.from("the end"));
    """
    service = await started(world, **ended(script))
    lines = await asyncio.wait_for(collect(service.logs(7)), SECONDS)
    first, *long, hello, end = texts(lines)
    assert first.startswith("a")
    assert first.endswith("b")
    assert "\ufffd" in first
    assert (hello, end) == ("héllo", "the end")
    # It may come cut or in pieces, but is there, and is no gap.
    assert {line.stream for line in lines} == {"stdout"}
    assert set("".join(long)) <= set("x…")
    assert 8_000 <= len("".join(long)) <= 1_000_001


# A busy engine takes in output for seconds after it told of the end: what it lacks then is not for the reader to tell.
@pytest.mark.alone
async def test_a_slow_reader_is_told_how_much_it_lost(world: Any) -> None:
    total = 200_000
    script = f"""
      const fs = require("fs");
      for (let number = 0; number < {total}; number += 100) {{
        let text = "";
        for (let line = number; line < number + 100; line++) text += `line ${{line}}\\n`;
        for (let at = 0; at < text.length; ) {{
          try {{ at += fs.writeSync(1, text.slice(at)); }} catch (error) {{ if (error.code !== "EAGAIN") throw error; }}
        }}
      }}
    """
    service = await started(world, **ended(script))
    reader = service.logs(7, tail=None)
    first = await asyncio.wait_for(anext(reader), SECONDS)
    assert first.text == "line 0"
    await asyncio.to_thread(world.container(7).wait)
    # Slow is who takes nothing for more than a second.
    await asyncio.sleep(2.5)
    lines = [first, *await asyncio.wait_for(collect(reader), SECONDS)]
    expected, lost = 0, 0
    for line in lines:
        if line.stream == "gap":
            missing = int(line.text.split()[0])
            lost += missing
            expected += missing
        else:
            assert line.text == f"line {expected}"
            expected += 1
    assert expected == total
    assert lost > 0


async def test_many_followers_of_much_output_do_not_fill_the_memory(
    world: Any, count: Callable[[int], int], record_property: Callable[[str, object], None]
) -> None:
    """50 followers that take what comes; what is written is 200 kB/s, 10 MB/s over all of them."""
    script = """
      const fs = require("fs");
      const line = "y".repeat(199) + "\\n";
      setInterval(() => { for (let n = 0; n < 20; n++) fs.writeSync(1, line); }, 20);
    """
    service = await started(world, **ended(script))
    taken = 0

    async def follow() -> None:
        nonlocal taken
        async for line in service.logs(7, tail=0):
            taken += len(line.text)

    followers = [asyncio.create_task(follow()) for _ in range(50)]
    await eventually(lambda: taken > 2_000_000)
    before, wanted = rss(), taken + count(200) * 1_000_000
    async with asyncio.timeout(300):
        while taken < wanted:  # noqa: ASYNC110 - they count
            await asyncio.sleep(0.05)
    grown = rss() - before
    record_property("grown_bytes", grown)
    assert grown < 64_000_000
    for follower in followers:
        follower.cancel()
    await asyncio.gather(*followers, return_exceptions=True)


async def test_followers_that_take_nothing_do_not_fill_the_memory(
    world: Any, count: Callable[[int], int], record_property: Callable[[str, object], None]
) -> None:
    script = """
      const fs = require("fs");
      const line = "y".repeat(999) + "\\n";
      let written = 0;
      setInterval(() => {
        for (let n = 0; n < 100; n++) fs.writeSync(1, line);
        fs.writeFileSync("/app/written", String(written += 100_000));
      }, 100);
    """
    service = await started(world, **ended(script))
    written = world.folder / "7" / "written"
    readers = [service.logs(7, tail=1) for _ in range(50)]
    for reader in readers:
        await asyncio.wait_for(anext(reader), SECONDS)
    before, begin = rss(), int(written.read_text())
    async with asyncio.timeout(300):
        while int(written.read_text() or begin) < begin + count(50) * 1_000_000:  # noqa: ASYNC110 - a container writes
            await asyncio.sleep(0.05)
    grown = rss() - before
    record_property("grown_bytes", grown)
    assert grown < 64_000_000
    for reader in readers:
        await reader.aclose()


async def test_dropped_streams_leave_no_socket_on_the_real_engine(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, wait="ready")
    before = sockets()
    for _ in range(10):
        async for _line in service.logs(7):
            break
    await eventually(lambda: sockets() <= before + 1)


@pytest.mark.alone
async def test_a_reader_that_reads_nothing_does_not_hold_up_the_engine(world: Any) -> None:
    script = """
      const fs = require("fs");
      setInterval(() => { for (let n = 0; n < 100; n++) fs.writeSync(1, "z".repeat(999) + "\\n"); }, 10);
    """
    service = await started(world, **ended(script))
    abandoned = service.logs(7, tail=None)
    await asyncio.wait_for(anext(abandoned), SECONDS)
    size = len(world.container(7).logs())
    await eventually(lambda: len(world.container(7).logs(tail=10_000)) > min(size + 2_000_000, 9_000_000), 0.2)
    began = time.monotonic()
    await asyncio.to_thread(world.container(7).remove, force=True)
    assert time.monotonic() - began < 5
    assert (await asyncio.wait_for(collect(abandoned), SECONDS))[-1].text.startswith("z")


async def test_without_a_preview_it_says_so(world: Any) -> None:
    with pytest.raises(PreviewNotFoundError) as caught:
        await anext(world.service().logs(7))
    assert (caught.value.preview, caught.value.operation) == (7, "logs")


async def test_another_service_reads_what_the_first_one_began(world: Any) -> None:
    world.project(7)
    await world.service().start_preview(7, {"PRINT": "mine"}, wait="ready")
    [first, *_] = await collect(world.service().logs(7, follow=False))
    assert first.text == "mine"


async def test_many_readers_read_the_same(world: Any) -> None:
    service = await started(world, **ended("for (let n = 0; n < 1000; n++) console.log(n)"))
    read = await asyncio.wait_for(asyncio.gather(*(collect(service.logs(7, tail=None)) for _ in range(20))), SECONDS)
    assert texts(read[0]) == [str(number) for number in range(1000)]
    assert all(lines == read[0] for lines in read)


async def test_closing_the_service_ends_it(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, wait="ready")
    reading = asyncio.create_task(collect(service.logs(7)))
    await asyncio.wait([reading], timeout=0.2)
    assert not reading.done()
    await asyncio.wait_for(service.aclose(), SECONDS)
    with pytest.raises(ServiceClosedError):
        await asyncio.wait_for(reading, SECONDS)


async def test_it_is_closed_at_the_end_of_the_block(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, wait="ready")
    async with service.logs(7) as lines:
        assert (await anext(lines)).stream == "stdout"
    with pytest.raises(StopAsyncIteration):
        await anext(lines)
    await lines.aclose()


async def test_an_engine_that_restarts_ends_it_with_its_containers(
    world: Any, private_engine: PrivateEngine, record_property: Callable[[str, object], None]
) -> None:
    world.project(7)
    service = world.service(preview_network=private_engine.network)
    url = await service.start_preview(7, wait="ready")
    lines: list[LogLine] = []
    reading = asyncio.create_task(collect(service.logs(7, tail=None), lines))
    await tell(url, "say", "before\n")
    await eventually(lambda: bool(lines) and lines[-1].text == "before")
    await asyncio.to_thread(private_engine.stop)
    await asyncio.to_thread(private_engine.start)
    await asyncio.wait_for(reading, SECONDS)
    assert texts(lines).count("before") == 1


async def test_who_waits_for_moments_only_loses_nothing(world: Any) -> None:
    """As in `asyncio.wait_for(anext(lines), 0.001)`: the wait ends as a line comes."""
    service = await started(world, **ended(NUMBERS))
    lines, late = list[LogLine](), 0
    async with service.logs(7, tail=None) as stream:
        while len(lines) < 2000:
            try:
                lines.append(await asyncio.wait_for(anext(stream), (1 + len(lines) % 20) / 4000))
            except TimeoutError:
                late += 1
    assert late > 0
    assert texts(lines) == [f"line {number}" for number in range(len(lines))]

"""Logs and events, with an engine that fails and that counts its connections."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from fake_engine import FakeEngine
from kosuke_docker import DockerUnavailableError, LogLine
from waiting import SECONDS, eventually


async def collect(stream: Any, into: list[Any] | None = None) -> list[Any]:
    found = [] if into is None else into
    async for one in stream:
        found.append(one)
    return found


def texts(lines: list[LogLine]) -> list[str]:
    return [line.text for line in lines]


@pytest.mark.alone
@pytest.mark.parametrize("how", ["aclose", "drop", "break", "cancel"])
async def test_leaving_it_frees_its_connection(fake: Any, fake_engine: FakeEngine, how: str) -> None:
    fake.project(7)
    service = fake.service()
    await service.start_preview(7, wait="ready")
    # The service's own.
    await eventually(lambda: fake_engine.log_connections == 1)
    readers = [service.logs(7) for _ in range(10)]
    reader = None
    for reader in readers:
        await asyncio.wait_for(anext(reader), SECONDS)
    await eventually(lambda: fake_engine.log_connections == 11)
    began = time.monotonic()
    if how == "aclose":
        for reader in readers:
            await reader.aclose()
    elif how == "break":
        for reader in readers:
            async for _ in reader:
                break
    elif how == "cancel":
        # Whatever was said is taken; then each waits.
        waiting = [asyncio.create_task(collect(reader)) for reader in readers]
        await asyncio.wait(waiting, timeout=0.1)
        while waiting:
            waiting[-1].cancel()
            await asyncio.wait([waiting.pop()])
    readers.clear()
    reader = None
    await eventually(lambda: fake_engine.log_connections == 1)
    # The engine saw it: its connections were closed, or it would wait for what the containers say next.
    assert time.monotonic() - began < 1.5


async def test_it_goes_on_after_connections_were_lost(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(7)
    service = fake.service()
    await service.start_preview(7, wait="ready")
    name, lines = fake.name(7), list[LogLine]()
    reading = asyncio.create_task(collect(service.logs(7, tail=1), lines))
    await eventually(lambda: len(lines) == 1)
    for number in range(0, 100, 10):
        for line in range(number, number + 10):
            fake_engine.say(name, f"line {line}\n".encode())
            if line == number:
                await eventually(lambda line=line: bool(lines) and lines[-1].text == f"line {line}")  # type: ignore[misc]
        fake_engine.drop_connections()
    fake_engine.say(name, b"the ")
    fake_engine.drop_connections()
    fake_engine.say(name, b"end\n")
    await eventually(lambda: lines[-1].text == "the end")
    fake_engine.exit(name, 0)
    await asyncio.wait_for(reading, SECONDS)
    assert texts(lines[1:]) == [*(f"line {number}" for number in range(100)), "the end"]


async def test_it_goes_on_when_the_engine_was_away_for_a_while(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(7)
    service = fake.service()
    await service.start_preview(7, wait="ready")
    name, lines = fake.name(7), list[LogLine]()
    reading = asyncio.create_task(collect(service.logs(7, tail=1), lines))
    await eventually(lambda: len(lines) == 1)
    fake_engine.stop_listening()
    fake_engine.say(name, b"said while nobody could hear\n")
    await asyncio.wait([reading], timeout=1)
    fake_engine.listen()
    await eventually(lambda: lines[-1].text == "said while nobody could hear")
    fake_engine.remove(name)
    await asyncio.wait_for(reading, SECONDS)
    assert len(lines) == 2


async def test_what_comes_after_a_restart_is_new_to_who_wanted_nothing_old(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(7)
    service = fake.service()
    await service.start_preview(7, wait="ready")
    opened, lines = fake_engine.calls.count(f"GET /containers/{fake.containers()[0].id}/logs"), list[LogLine]()
    reading = asyncio.create_task(collect(service.logs(7, tail=0), lines))
    await eventually(lambda: fake_engine.calls.count(f"GET /containers/{fake.containers()[0].id}/logs") > opened)
    fake_engine.ready_line = "up again"
    await service.restart_preview(7)
    await eventually(lambda: "up again" in texts(lines))
    fake_engine.exit(fake.name(7), 0)
    await asyncio.wait_for(reading, SECONDS)
    assert texts(lines).count("up again") == 1


async def test_any_number_of_subscribers_share_one_connection(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(7)
    service, other = fake.service(), fake.service(preview_probe_ttl=2.0)
    streams = [one.events(*which) for one in (service, other) for which in ((7,), (), (8,))]
    told: list[list[Any]] = [[] for _ in streams]
    for stream in streams:
        await stream.__aenter__()
    reading = [asyncio.create_task(collect(stream, into)) for stream, into in zip(streams, told, strict=True)]
    await service.start_preview(7, wait="ready")
    await eventually(lambda: all(told[index] for index in (0, 1, 3, 4)))
    assert fake_engine.event_connections == 1
    for stream in streams:
        await stream.aclose()
    await asyncio.wait_for(asyncio.gather(*reading), SECONDS)
    assert told[2] == told[5] == []
    for one in (service, other):
        await one.aclose()
    await eventually(lambda: fake_engine.event_connections == 0)


async def test_a_slow_subscriber_gets_a_gap(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(7)
    service = fake.service()
    await service.start_preview(7, wait="ready")
    name = fake.name(7)
    async with service.events(7) as slow, service.events(7) as quick:
        events = []
        for number in range(1100):
            fake_engine.set_paused(name, paused=number % 2 == 0)
            events.append(event := await asyncio.wait_for(anext(quick), SECONDS))
            assert event.kind == "phase"
            assert event.preview.phase == ("paused" if number % 2 == 0 else "ready")
        first = await asyncio.wait_for(anext(slow), SECONDS)
        assert (first.kind, first.project_id, first.preview) == ("gap", None, None)
        rest = [await asyncio.wait_for(anext(slow), SECONDS) for _ in range(1024)]
        assert rest[-1].at == events[-1].at
        assert all(event.kind == "phase" for event in rest)
    fake_engine.set_paused(name, paused=True)
    fake_engine.set_paused(name, paused=False)


async def test_an_engine_that_was_away_is_told_and_what_happened_meanwhile(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(7)
    service = fake.service()
    await service.start_preview(7, wait="ready")
    told: list[Any] = []
    stream = service.events()
    async with stream:
        reading = asyncio.create_task(collect(stream, told))
        fake_engine.stop_listening()
        await eventually(lambda: bool(told))
        assert told[0].preview.phase == "engine_unreachable"
        fake_engine.remove(fake.name(7))
        fake_engine.listen()
        await eventually(lambda: told[-1].kind == "removed")
    await asyncio.wait_for(reading, SECONDS)


async def test_an_engine_that_cannot_be_asked_is_an_error(fake: Any, fake_engine: FakeEngine) -> None:
    fake_engine.stop_listening()
    with pytest.raises(DockerUnavailableError):
        await anext(fake.service().events())
    with pytest.raises(DockerUnavailableError):
        await anext(fake.service().logs(7))
    fake_engine.listen()


async def test_who_waits_for_moments_only_loses_no_event(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(7)
    service = fake.service()
    await service.start_preview(7, wait="ready")
    name, phases, late = fake.name(7), list[str](), 0
    async with service.events(7) as events:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 0.01)
        for number in range(200):
            fake_engine.set_paused(name, paused=number % 2 == 0)
            while len(phases) <= number:
                try:
                    event = await asyncio.wait_for(anext(events), (1 + number % 20) / 4000)
                    phases.append(event.preview.phase)
                except TimeoutError:
                    late += 1
                    assert late < 100_000
    assert phases == ["paused", "ready"] * 100

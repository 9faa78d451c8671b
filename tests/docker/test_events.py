"""What happens to previews, as a stream of events."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from dev_app import tell
from kosuke_docker import PreviewEvent
from waiting import SECONDS, eventually

NOTICED_SECONDS = 1.5
"""What is promised is 0.3 s; this machine may be busy."""
ERROR = " \u2a2f ./app/page.js:3:7\nError: Expected '>', got ';'\n"


class Heard:
    """Collects what a subscription tells."""

    def __init__(self, stream: Any) -> None:
        self.events: list[PreviewEvent] = []
        self._stream = stream
        self._task: asyncio.Task[None] | None = None

    async def _collect(self) -> None:
        async for event in self._stream:
            self.events.append(event)

    async def __aenter__(self) -> Heard:
        await self._stream.__aenter__()
        self._task = asyncio.create_task(self._collect())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stream.aclose()
        assert self._task is not None
        await asyncio.wait_for(self._task, SECONDS)

    def phases(self) -> list[str]:
        return [event.preview.phase for event in self.events if event.kind == "phase" and event.preview is not None]

    async def phase(self, phase: str) -> PreviewEvent:
        await eventually(lambda: self.phases()[-1:] == [phase])
        return self.events[-1]

    async def kind(self, kind: str) -> PreviewEvent:
        await eventually(lambda: any(event.kind == kind for event in self.events))
        return next(event for event in self.events if event.kind == kind)


def chained(events: list[PreviewEvent]) -> None:
    """Each phase is the next one's previous phase."""
    changes = [event for event in events if event.kind in ("phase", "removed")]
    for before, after in itertools.pairwise(changes):
        assert after.previous_phase == (before.preview.phase if before.preview else None), changes
    times = [event.at for event in events]
    assert times == sorted(times)


async def test_a_life_is_told_phase_by_phase(world: Any) -> None:
    world.project(7)
    service = world.service()
    async with Heard(service.events(7)) as heard:
        url = await service.start_preview(7, {"LISTEN_MS": "500", "COMPILE_MS": "800"}, wait="ready")
        await heard.phase("ready")
        await tell(url, "status/500", "/")
        await tell(url, "say-err", ERROR)
        broken = await heard.phase("compile_error")
        await tell(url, "status/200", "/")
        await tell(url, "say", " GET / 200 in 12ms\n")
        await heard.phase("ready")
        await service.stop_preview(7)
        removed = await heard.kind("removed")
    phases = [phase for phase, _ in itertools.groupby(heard.phases())]
    assert phases == heard.phases(), "no phase is told twice"
    assert phases == ["creating", "starting", "compiling", "ready", "compile_error", "ready", "stopping"]
    assert [event.kind for event in heard.events if event.kind != "phase"] == ["errors", "errors", "removed"]
    chained(heard.events)
    assert heard.events[0].previous_phase is None
    assert all(event.project_id == 7 for event in heard.events)
    assert broken.preview is not None
    [error] = broken.preview.errors
    assert (error.file, error.line, error.column) == ("app/page.js", 3, 7)
    assert (removed.preview, removed.previous_phase) == (None, "stopping")


async def test_errors_that_change_are_told_within_one_phase(world: Any) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, wait="ready")
    async with Heard(service.events(7)) as heard:
        await tell(url, "status/500", "/")
        await tell(url, "say-err", ERROR)
        await heard.phase("compile_error")
        await tell(url, "say-err", " \u2a2f ./app/other.js:1:1\nModule not found: Can't resolve 'nope'\n")
        await eventually(lambda: sum(event.kind == "errors" for event in heard.events) >= 2)
        assert heard.phases() == ["compile_error"]
        last = heard.events[-1].preview
        assert last is not None
        assert "app/other.js" in [error.file for error in last.errors]


@pytest.mark.alone
async def test_what_others_do_is_noticed_at_once(world: Any, record_property: Callable[[str, object], None]) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, wait="ready")
    container, took = world.container(7), dict[str, float]()
    async with Heard(service.events(7)) as heard:
        for name, phase in (("pause", "paused"), ("unpause", "ready"), ("kill", "exited"), ("start", "ready")):
            await asyncio.to_thread(getattr(container, name))
            began = time.monotonic()
            await heard.phase(phase)
            took[name] = time.monotonic() - began
            # A start has to compile anew.
            assert name == "start" or took[name] < NOTICED_SECONDS
        await asyncio.to_thread(container.remove, force=True)
        began = time.monotonic()
        await heard.kind("removed")
        took["remove"] = time.monotonic() - began
        assert took["remove"] < NOTICED_SECONDS
    record_property("fact_to_event_seconds", took)
    assert await service.get_preview(7) is None
    chained(heard.events)
    exited = next(event.preview for event in heard.events if event.preview and event.preview.phase == "exited")
    assert exited.exit_code == 137


@pytest.mark.alone
async def test_an_error_is_told_soon_after_it_was_printed(
    world: Any, record_property: Callable[[str, object], None]
) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, wait="ready")
    async with Heard(service.events(7)) as heard:
        began = time.monotonic()
        await tell(url, "say-err", ERROR)
        await heard.phase("compile_error")
        took = time.monotonic() - began
    record_property("print_to_event_seconds", took)
    assert took < NOTICED_SECONDS


async def test_subscribers_hear_the_same(world: Any) -> None:
    world.project(7)
    service, other = world.service(), world.service()
    streams = [Heard(one.events(*which)) for one in (service, other) for which in ((7,), ())]
    async with streams[0], streams[1], streams[2], streams[3]:
        await service.start_preview(7, wait="ready")
        await service.stop_preview(7)
        for heard in streams:
            await heard.kind("removed")
    told = [[event.model_dump() for event in heard.events] for heard in streams]
    assert told[0][-1]["kind"] == "removed"
    assert all(events == told[0] for events in told)


async def test_one_project_hears_nothing_of_another(world: Any) -> None:
    service = world.service()
    for project in (1, 2):
        world.project(project)
    async with Heard(service.events(1)) as heard, Heard(service.events()) as everything:
        await asyncio.gather(*(service.start_preview(project, wait="ready") for project in (1, 2)))
        await eventually(lambda: everything.phases().count("ready") == 2)
        await heard.phase("ready")
    assert {event.project_id for event in heard.events} == {1}
    for project in (1, 2):
        chained([event for event in everything.events if event.project_id == project])


async def test_what_is_there_when_it_begins_is_no_event(world: Any) -> None:
    world.project(7)
    await world.service().start_preview(7, wait="ready")
    service = world.service(preview_probe_ttl=2.0)  # Another core, which knows nothing yet.
    async with Heard(service.events()) as heard:
        [preview] = await service.list_previews()
        assert preview.project_id == 7
        await asyncio.to_thread(world.container(7).kill)
        await heard.phase("exited")
    assert "creating" not in heard.phases()
    assert heard.events[0].previous_phase is not None


async def test_a_block_misses_nothing_between_the_look_and_the_events(world: Any) -> None:
    world.project(7)
    service = world.service()
    async with service.events(7) as events:
        assert await service.get_preview(7) is None
        await service.start_preview(7, wait="ready")
        await service.stop_preview(7)
        # Nobody has asked for an event until now.
        told: list[PreviewEvent] = []
        while not told or told[-1].kind != "removed":
            told.append(await asyncio.wait_for(anext(events), SECONDS))
    assert told[0].previous_phase is None
    assert "ready" in [event.preview.phase for event in told if event.preview]
    chained(told)


SCRIPT = """
import asyncio
from kosuke_docker import DockerService

async def main():
    service = DockerService()
    await service.start_preview(8, wait="ready")
    print("ready", flush=True)
    input()
    await service.stop_preview(8)

asyncio.run(main())
"""


async def test_previews_of_another_process_are_heard_of(world: Any, run_python: Any) -> None:
    world.project(8)
    service = world.service()
    async with Heard(service.events()) as heard:
        process = run_python(SCRIPT, service.settings)
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"
        ready = await heard.phase("ready")
        assert ready.preview is not None
        assert (ready.project_id, ready.preview.url is not None) == (8, True)
        process.stdin.write("\n")
        process.stdin.flush()
        await heard.kind("removed")
    chained(heard.events)
    assert heard.phases()[0] in ("creating", "starting")


async def test_a_restart_is_told(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, wait="ready")
    async with Heard(service.events(7)) as heard:
        await service.restart_preview(7)
        await heard.phase("ready")
    assert "starting" in heard.phases()
    assert not any(event.kind == "removed" for event in heard.events)
    chained(heard.events)


async def test_closing_ends_whoever_waits(world: Any) -> None:
    service = world.service()
    stream = service.events()
    async with stream:
        waiting = asyncio.create_task(anext(stream, None))
        await asyncio.wait([waiting], timeout=0.1)
        assert not waiting.done()
        await stream.aclose()
        assert await asyncio.wait_for(waiting, SECONDS) is None
    other = service.events(7)
    async with other:
        waiting = asyncio.create_task(anext(other, None))
        await asyncio.wait([waiting], timeout=0.1)
        assert not waiting.done()
        await asyncio.wait_for(service.aclose(), SECONDS)
        assert await asyncio.wait_for(waiting, SECONDS) is None


async def test_closing_while_it_begins_ends_it(world: Any) -> None:
    stream = world.service().events()
    waiting = asyncio.create_task(anext(stream, None))
    await asyncio.sleep(0)
    await stream.aclose()
    assert await asyncio.wait_for(waiting, SECONDS) is None


async def test_an_event_has_its_time(world: Any) -> None:
    world.project(7)
    service = world.service()
    began = datetime.now(UTC)
    async with Heard(service.events(7)) as heard:
        await service.start_preview(7, wait="ready")
        ready = await heard.phase("ready")
    assert began <= ready.at <= datetime.now(UTC) + timedelta(seconds=1)
    assert ready.at.tzinfo is not None

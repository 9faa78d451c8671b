"""The engine's event stream: one for all, read on after a break, in storms, and never the only witness."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from fake_engine import FakeEngine, Hang
from kosuke_docker import DockerService, Preview
from waiting import SECONDS, eventually

pytestmark = pytest.mark.alone

EVENTS = "GET /events"
PINGS = ("GET /_ping", "HEAD /_ping")
PREVIEWS = 20
STORM = 1_000
SOON = 3.0
"""Seconds: 1 is promised, machines that run tests are busy."""


async def told(service: DockerService, project: int, phase: str | None, seconds: float = SOON) -> Preview | None:
    """Polls until the preview is in that phase, and gives it."""
    ends = time.monotonic() + seconds
    while True:
        preview = await asyncio.wait_for(service.get_preview(project), SECONDS)
        if (preview and preview.phase) == phase:
            return preview
        assert time.monotonic() < ends, f"not {phase} within {seconds} s: {preview}"
        await asyncio.sleep(0.005)


async def oom_count(service: DockerService, project: int, count: int) -> None:
    """Polls until so many OOM kills are told: every event before them was taken in."""
    ends = time.monotonic() + SOON
    while (preview := await service.get_preview(project)) is None or preview.oom_count < count:
        assert time.monotonic() < ends, preview
        await asyncio.sleep(0.005)
    assert preview.oom_count == count


def streams(engine: FakeEngine) -> list[dict[str, str]]:
    """The queries of the calls for events that last; what the engine remembers is asked for before, with an end."""
    return [query for query in engine.events_asked if "until" not in query]


def inspects(engine: FakeEngine, since: int = 0) -> list[str]:
    return [call for call in engine.calls[since:] if call.startswith("GET /containers/") and call.endswith("/json")]


class Hooked(DockerService):
    """A core of its own: a hook is replaced."""

    async def _get_project_environment(self, project_id: int) -> dict[str, str]:
        return {"MINE": str(project_id)}


async def test_any_number_of_previews_and_services_share_one_stream(fake: Any, fake_engine: FakeEngine) -> None:
    settings = fake.settings()
    first = fake.service()
    for project in range(PREVIEWS):
        fake.project(project)
    await asyncio.gather(*(first.start_preview(project, wait="ready") for project in range(PREVIEWS)))

    async def answers(url: str) -> bool:
        return True

    patched = DockerService(settings)
    patched._check_container_health = answers  # type: ignore[method-assign]
    other = fake.service(preview_probe_ttl=0.0)
    services = [first, DockerService(settings), Hooked(settings), patched, other]
    for service in services:
        previews = await asyncio.gather(*(service.get_preview(project) for project in range(PREVIEWS)))
        assert {preview.phase for preview in previews} == {"ready"}
    assert len({id(service.containers) for service in services}) == 4, "cores of their own"
    assert (fake_engine.event_connections, len(streams(fake_engine))) == (1, 1)
    # And each of them hears of what happens.
    fake_engine.exit(fake.name(3), 1)
    for service in services:
        assert await told(service, 3, "exited") is not None
    for service in services[1:4]:
        await service.aclose()
    assert (fake_engine.event_connections, len(streams(fake_engine))) == (1, 1)


async def test_what_is_known_is_told_without_asking_the_engine(fake: Any, fake_engine: FakeEngine) -> None:
    for project in (1, 2, 3):
        fake.project(project)
    service = fake.service(engine_heartbeat_interval=0.1)
    for project in (1, 2, 3):
        await service.start_preview(project, wait="ready")
    fake_engine.set_paused(fake.name(2), paused=True)
    fake_engine.exit(fake.name(3), 1)
    await told(service, 2, "paused")
    await told(service, 3, "exited")
    before = len(fake_engine.calls)
    rounds = 0
    while sum(call in PINGS for call in fake_engine.calls[before:]) < 5:
        for project, phase in ((1, "ready"), (2, "paused"), (3, "exited")):
            # A service per request, as an agent has it.
            preview = await DockerService(service.settings).get_preview(project)
            assert preview is not None
            assert preview.phase == phase
            await service.get_preview_status(project)
        rounds += 1
    assert rounds >= 5
    assert {call for call in fake_engine.calls[before:] if call not in PINGS} == set()


async def test_heartbeats_are_as_rare_as_they_are_set(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(1)
    service = fake.service(engine_heartbeat_interval=0.5)
    await service.start_preview(1, wait="ready")
    before, began = len(fake_engine.calls), time.monotonic()
    await eventually(lambda: sum(call in PINGS for call in fake_engine.calls[before:]) >= 3)
    assert time.monotonic() - began > 2 * 0.45


async def read_on_after_a_break(engine: FakeEngine) -> None:
    last, calls, asked = engine.last_event, len(engine.calls), len(streams(engine))
    engine.drop_connections()
    await eventually(lambda: len(streams(engine)) > asked)
    seconds, nanos = divmod(last + 1, 1_000_000_000)
    assert streams(engine)[asked]["since"] == f"{seconds}.{nanos:09d}"
    # What is remembered is looked at, whatever the events say.
    await eventually(lambda: "GET /containers/json" in engine.calls[calls:] and bool(inspects(engine, calls)))


async def test_a_stream_that_broke_is_read_on_after_the_last_event(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(1)
    service = fake.service()
    await service.start_preview(1, wait="ready")
    fake_engine.emit_oom(fake.name(1))
    await oom_count(service, 1, 1)
    for count in range(1, 4):
        await read_on_after_a_break(fake_engine)
        await oom_count(service, 1, count)
        fake_engine.emit_oom(fake.name(1))
        await oom_count(service, 1, count + 1)
    assert fake_engine.event_connections == 1


async def test_what_no_event_told_is_found_after_a_break(fake: Any, fake_engine: FakeEngine) -> None:
    """A daemon that restarts keeps no events."""
    for project in (1, 2, 3):
        fake.project(project)
    service = fake.service()
    for project in (1, 2, 3):
        await service.start_preview(project, wait="ready")
    fake_engine.stop_listening()
    for project in (1, 2, 3):
        await told(service, project, "engine_unreachable")
    fake_engine.exit(fake.name(1), 3)
    fake_engine.remove(fake.name(2))
    fake_engine.restart_daemon()
    ended = await told(service, 1, "exited")
    assert ended is not None
    assert ended.exit_code == 3
    await told(service, 2, None)
    await told(service, 3, "ready")


async def test_an_engine_that_ends_every_stream_is_not_asked_without_pause(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(1)
    service = fake.service()
    await service.start_preview(1, wait="ready")
    began, before = time.monotonic(), len(streams(fake_engine))
    while time.monotonic() - began < 1:
        fake_engine.drop_connections()
        await asyncio.sleep(0.01)
    assert 1 <= len(streams(fake_engine)) - before <= 20
    await told(service, 1, "ready")
    await eventually(lambda: fake_engine.event_connections == 1)


async def test_a_storm_of_events_leads_to_few_looks(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(1)
    service = fake.service()
    await service.start_preview(1, wait="ready")
    # The first look stands at the gate while the storm passes.
    gate = fake_engine.gate(f"GET /containers/{fake.name(1)}/json", after=True)
    before = len(fake_engine.calls)
    fake_engine.emit(fake.name(1), "oom")
    await gate.reached()
    fake_engine.emit(fake.name(1), "oom", STORM - 1)
    await oom_count(service, 1, STORM)
    # That one, and those of who asked meanwhile and did not want to wait for it.
    assert len(inspects(fake_engine, before)) <= 4
    fake_engine.exit(fake.name(1), 1)
    gate.release()
    await told(service, 1, "exited")
    assert len(inspects(fake_engine, before)) <= 8


async def test_a_storm_of_events_is_followed_to_its_end(fake: Any, fake_engine: FakeEngine) -> None:
    """Nothing holds it up: looks follow each other while it lasts, one at a time."""
    fake.project(1)
    service = fake.service()
    await service.start_preview(1, wait="ready")
    before = len(fake_engine.calls)
    # More than may wait to be read.
    fake_engine.emit(fake.name(1), "oom", 3 * STORM)
    await oom_count(service, 1, 3 * STORM)
    fake_engine.exit(fake.name(1), 1)
    await told(service, 1, "exited")
    assert len(inspects(fake_engine, before)) < STORM / 4


async def test_events_of_others_lead_to_no_call(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(1)
    service = fake.service()
    await service.start_preview(1, wait="ready")
    labels = {"kosuke.preview": "true", "kosuke.project_id": "1", "kosuke.owner": "somebody"}
    foreign = [f"foreign-{number}" for number in range(5)] + [f"{fake.prefix}99"]
    before = len(fake_engine.calls)
    for name in foreign:
        fake_engine.create_foreign(name, labels)
        for action in ("update", "oom", "kill"):
            fake_engine.emit(name, action, 30)
        fake_engine.exit(name, 137, oom=True)
        fake_engine.remove(name)
    assert {call for call in fake_engine.calls[before:] if call not in PINGS} == set()
    fake_engine.emit_oom(fake.name(1))
    await oom_count(service, 1, 1)
    assert set(inspects(fake_engine, before)) == {f"GET /containers/{fake.name(1)}/json"}


async def test_an_answer_that_is_late_does_not_win_over_a_later_look(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(1)
    await fake.service().start_preview(1, wait="ready")
    # A core that knows nothing: its first two callers look for themselves.
    service = fake.service(preview_probe_ttl=0.5)
    gate = fake_engine.gate(f"GET /containers/{fake.name(1)}/json", after=True)
    late = asyncio.create_task(service.get_preview(1))
    await gate.reached()
    fake_engine.exit(fake.name(1), 3)
    ended = await told(service, 1, "exited")
    assert ended is not None
    gate.release()
    stale = await asyncio.wait_for(late, SECONDS)
    assert stale is not None
    assert (stale.phase, stale.running, stale.exit_code) == ("exited", False, 3)
    for _ in range(20):
        assert await told(service, 1, "exited", 0) is not None


async def test_a_late_answer_does_not_bring_back_what_was_removed(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(1)
    await fake.service().start_preview(1, wait="ready")
    service = fake.service(preview_probe_ttl=0.5)
    gate = fake_engine.gate(f"GET /containers/{fake.name(1)}/json", after=True)
    late = asyncio.create_task(service.get_preview(1))
    await gate.reached()
    fake_engine.remove(fake.name(1))
    await told(service, 1, None)
    gate.release()
    assert await asyncio.wait_for(late, SECONDS) is None
    for _ in range(20):
        assert await service.get_preview(1) is None


async def test_a_death_during_the_look_that_an_event_led_to_is_told(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(1)
    service = fake.service()
    await service.start_preview(1, wait="ready")
    gate = fake_engine.gate(f"GET /containers/{fake.name(1)}/json", after=True)
    fake_engine.emit(fake.name(1), "update")
    await gate.reached()
    fake_engine.exit(fake.name(1), 3)
    gate.release()
    ended = await told(service, 1, "exited")
    assert ended is not None
    assert ended.exit_code == 3


async def test_a_death_during_the_last_look_of_a_start_is_told(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(1)
    service = fake.service()
    assert await service.get_preview(1) is None
    gate = fake_engine.gate("GET /containers/[0-9a-f]{64}/json", after=True)
    start = asyncio.create_task(service.start_preview(1))
    await gate.reached()
    assert fake_engine.container(fake.name(1)).is_running
    fake_engine.exit(fake.name(1), 3)
    gate.release()
    await asyncio.wait_for(start, SECONDS)
    ended = await told(service, 1, "exited")
    assert ended is not None
    assert ended.exit_code == 3


async def test_the_last_service_that_closes_ends_the_stream(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(1)
    first, second = fake.service(), fake.service(preview_probe_ttl=0.5)
    await first.start_preview(1, wait="ready")
    await second.get_preview(1)
    await first.aclose()
    fake_engine.exit(fake.name(1), 1)
    await told(second, 1, "exited")
    assert (fake_engine.event_connections, len(streams(fake_engine))) == (1, 1)
    await second.aclose()
    await eventually(lambda: fake_engine.event_connections == 0)
    asked = len(streams(fake_engine))
    # What needs no events does not begin a new one.
    assert await first.is_docker_available()
    assert (len(streams(fake_engine)), fake_engine.event_connections) == (asked, 0)
    await first.get_preview(1)
    await eventually(lambda: fake_engine.event_connections == 1)


async def test_ooms_from_before_this_process_came_are_counted(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(1)
    first = fake.service()
    await first.start_preview(1, wait="ready")
    await first.aclose()
    for _ in range(3):
        fake_engine.emit_oom(fake.name(1))
    second = fake.service()
    # Already in the first answer.
    preview = await second.get_preview(1)
    assert preview is not None
    assert preview.oom_count == 3
    assert preview.last_oom_at is not None
    assert await told(second, 1, "ready", SECONDS) is not None


async def test_an_engine_that_does_not_tell_what_it_remembers_holds_nobody_for_long(
    fake: Any, fake_engine: FakeEngine, until: Any
) -> None:
    fake.project(1)
    await fake.service().start_preview(1, wait="ready")
    fake_engine.fail(EVENTS, Hang(), times=1)
    service = fake.service(engine_timeout=29.0)
    began = time.monotonic()
    first = await asyncio.wait_for(service.get_preview(1), SECONDS)
    assert first is not None
    assert first.running is True
    assert time.monotonic() - began < SOON
    # The stream is another matter.
    await eventually(lambda: fake_engine.event_connections == 2)
    fake_engine.exit(fake.name(1), 1)
    await told(service, 1, "exited")


async def test_ooms_are_counted_once_when_the_stream_is_begun_anew(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(1)
    first = fake.service()
    await first.start_preview(1, wait="ready")
    fake_engine.emit_oom(fake.name(1))
    await oom_count(first, 1, 1)
    # It shares the connection, and has not made a call yet.
    second = fake.service(preview_probe_ttl=0.5)
    await first.aclose()
    await eventually(lambda: fake_engine.event_connections == 0)
    fake_engine.emit_oom(fake.name(1))
    await oom_count(second, 1, 2)
    assert len(streams(fake_engine)) == 2

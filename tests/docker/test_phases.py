"""Every phase is told soon after what led to it was done from outside, by who knows the preview and by a new core."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
import urllib.request
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from kosuke_docker import DockerService, Preview, PreviewFailedError

pytestmark = pytest.mark.alone

BOUND = 3
"""Seconds: 1 is promised, machines that run tests are busy."""
AS_OF = timedelta(seconds=5)
"""A heartbeat's interval, and the same leeway."""
LIMIT = "160m"
LINES = [f"line {number}" for number in range(70)]
LAST = 50
OTHER_CORE = {"engine_timeout": 59.0}

Measured = Callable[[str, float], None]


@dataclass
class Scene:
    """A preview that was ready, and what others do to it. What blocks returns when it is done."""

    service: DockerService
    container: Any
    url: str

    def get(self, path: str) -> str:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as response:
            return str(response.read().decode())

    def kill(self) -> None:
        self.container.kill()

    def stop(self) -> None:
        self.container.stop(timeout=5)

    def pause(self) -> None:
        self.container.pause()

    def exit(self, code: int) -> None:
        self.get(f"/exit/{code}")
        self.container.wait(timeout=30)

    def limit(self) -> None:
        self.container.update(mem_limit=LIMIT, memswap_limit=LIMIT)

    def oom(self) -> None:
        self.limit()
        self.get("/eat")
        self.container.wait(timeout=30)

    def child_oom(self) -> None:
        self.limit()
        assert self.get("/eat-child") == "SIGKILL"

    def restart(self) -> None:
        self.container.restart(timeout=1)

    def remove(self) -> None:
        self.container.remove(force=True)

    def state(self) -> dict[str, Any]:
        self.container.reload()
        state: dict[str, Any] = self.container.attrs["State"]
        return state


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Measured:
    """Keeps how long something took with the test's report, and prints it."""

    def note(what: str, seconds: float) -> None:
        request.node.user_properties.append((what, round(seconds, 3)))
        print(f"{what}: {seconds:.3f} s")

    return note


@pytest.fixture
def scene(world: Any) -> Callable[..., Awaitable[Scene]]:
    async def make(variables: dict[str, str] | None = None, **changes: Any) -> Scene:
        world.project(7)
        service = world.service(**changes)
        url = await service.start_preview(7, {"PRINT": "\n".join(LINES), **(variables or {})}, wait="ready")
        return Scene(service, world.container(7), url)

    return make


async def after(
    act: Callable[[], None],
    service: DockerService,
    phase: str | None,
    measured: Measured,
    what: str = "seconds",
    *,
    ended: bool = False,
) -> Preview | None:
    """Does it, and polls until the preview is in that phase; the time is recorded and has a bound."""
    await asyncio.to_thread(act)
    return await turned(service, phase, measured, what, ended=ended)


async def turned(
    service: DockerService, phase: str | None, measured: Measured, what: str, *, ended: bool = False
) -> Preview | None:
    began = time.monotonic()
    while True:
        preview = await service.get_preview(7)
        took = time.monotonic() - began
        # Newer engines tell of an OOM kill a moment before the container's end.
        if (preview and preview.phase) == phase and not (ended and preview and preview.running):
            measured(what, took)
            assert took < BOUND
            return preview
        assert took < BOUND, f"not {phase} within {BOUND} s: {preview}"
        await asyncio.sleep(0.01)


def is_moment(at: datetime | None, text: str) -> bool:
    """Whether this is what the engine says, but for rounding: it counts nanoseconds."""
    head, _, fraction = text.removesuffix("Z").partition(".")
    said = datetime.fromisoformat(f"{head}.{fraction[:6].ljust(6, '0')}+00:00")
    return at is not None and abs(at - said) <= timedelta(microseconds=2)


def plain(preview: Preview) -> dict[str, Any]:
    """What does not depend on who tells it, and when."""
    return preview.model_dump(exclude={"as_of", "ready_at", "is_responding", "http_status", "compilation_complete"})


async def check(scene: Scene, preview: Preview) -> None:
    """What holds in every phase: the fields agree with each other, with the engine, and with the short status."""
    state = await asyncio.to_thread(scene.state)
    lives = state["Status"] in ("running", "paused")
    assert preview.running is lives
    if lives:
        [binding] = scene.container.attrs["NetworkSettings"]["Ports"]["3000/tcp"]
        assert preview.url == f"http://localhost:{binding['HostPort']}"
        assert preview.port == int(binding["HostPort"])
        assert (preview.exit_code, preview.finished_at, preview.last_lines) == (None, None, [])
    else:
        assert (preview.url, preview.port) == (None, None)
        assert preview.exit_code == state["ExitCode"]
        assert is_moment(preview.finished_at, state["FinishedAt"])
        said = scene.container.logs(tail=LAST).decode().splitlines()
        assert [line.strip() for line in preview.last_lines] == [line.strip() for line in said]
        assert len(preview.last_lines) == LAST, "more was printed, and 50 lines are kept"
    assert preview.container_id == scene.container.id
    assert preview.started_at is not None
    assert is_moment(preview.started_at, state["StartedAt"])
    assert preview.created_at is not None
    assert preview.created_at <= preview.started_at
    now = datetime.now(UTC)
    assert max(preview.started_at, preview.finished_at or preview.started_at) <= preview.as_of <= now
    assert now - preview.as_of < AS_OF
    assert (preview.oom_count > 0) == (preview.last_oom_at is not None)
    if preview.last_oom_at is not None:
        assert preview.created_at < preview.last_oom_at <= now
    if preview.phase == "ready":
        assert preview.detail is None
        assert preview.ready_at is not None
        assert preview.started_at < preview.ready_at <= now
    else:
        assert preview.detail is not None
        assert re.fullmatch(r"\S[^\n]*[^.]\.", preview.detail), preview.detail
    status = await scene.service.get_preview_status(7)
    assert (status.running, status.url) == (preview.running, preview.url)
    if not lives or preview.phase == "paused":
        assert status.is_responding is False
    if not lives:
        assert status.compilation_complete is False


async def agreed(world: Any, scene: Scene, preview: Preview, measured: Measured) -> None:
    """A core that knew nothing tells the same: of what ended in its first answer."""
    other = world.service(**OTHER_CORE)
    assert other.containers is not scene.service.containers
    began = time.monotonic()
    second = await other.get_preview(7)
    assert second is not None
    assert (second.oom_count, second.last_oom_at) == (preview.oom_count, preview.last_oom_at)
    # A page that is asked for the first time may take longer to answer than the first caller waits.
    while preview.running and plain(second) != plain(preview) and time.monotonic() - began < BOUND:
        await asyncio.sleep(0.01)
        second = await other.get_preview(7)
        assert second is not None
    measured("other core", time.monotonic() - began)
    assert plain(second) == plain(preview)


@dataclass(frozen=True)
class Row:
    name: str
    act: Callable[[Scene], None]
    phase: str
    code: int | None
    words: str
    """A part of the detail."""
    ooms: int = 0
    before: Callable[[Scene], None] | None = None
    """Leaves it ready."""
    command: str | None = None


def old_child_oom(scene: Scene) -> None:
    scene.child_oom()
    scene.get("/heal")


ROWS = [
    Row("killed", Scene.kill, "exited", 137, "killed from outside"),
    Row("stopped", Scene.stop, "exited", 143, "told to end from outside"),
    Row("exit 0", lambda scene: scene.exit(0), "exited", 0, "by itself"),
    Row("exit 1", lambda scene: scene.exit(1), "exited", 1, "exit code 1"),
    Row(
        "command not found",
        lambda scene: scene.exit(0),
        "exited",
        127,
        "not found",
        command="node dev.js; no-such-dev-server --port 3000",
    ),
    Row("out of memory", Scene.oom, "oom_killed", 137, "memory", ooms=1),
    Row("child out of memory", Scene.child_oom, "oom_killed", None, "memory", ooms=1),
    Row("exit 1 after a child's OOM", lambda scene: scene.exit(1), "exited", 1, "code 1", ooms=1, before=old_child_oom),
    Row("killed after a child's OOM", Scene.kill, "exited", 137, "from outside", ooms=1, before=old_child_oom),
    Row("out of memory after a child's", Scene.oom, "oom_killed", 137, "memory", ooms=2, before=old_child_oom),
    Row("paused", Scene.pause, "paused", None, "paused"),
    Row("killed while paused", Scene.kill, "exited", 137, "from outside", before=Scene.pause),
]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
async def test_what_happens_to_a_container_is_told_soon(
    row: Row, world: Any, scene: Any, until: Any, measured: Measured
) -> None:
    made = await scene(**({"preview_command": row.command} if row.command else {}))
    if row.before is not None:
        await asyncio.to_thread(row.before, made)
        await until(made.service, 7, "paused" if row.before is Scene.pause else "ready")
    ended = row.code is not None
    preview = await after(lambda: row.act(made), made.service, row.phase, measured, ended=ended)
    assert preview is not None
    assert preview.exit_code == row.code
    # The engine tells of each process that was killed.
    assert preview.oom_count >= row.ooms if row.ooms else preview.oom_count == 0
    await check(made, preview)
    assert preview.detail is not None
    assert row.words in preview.detail
    [listed] = await made.service.list_previews()
    assert plain(listed) == plain(preview)
    await agreed(world, made, preview, measured)


@pytest.mark.parametrize("command", ["no-such-dev-server --port 3000", ["no-such-dev-server"]], ids=["shell", "argv"])
async def test_a_command_that_is_not_there_is_told(
    world: Any, until: Any, measured: Measured, command: str | list[str]
) -> None:
    world.project(7)
    service = world.service(preview_command=command)
    # Whether the start still sees it run is a matter of moments.
    with contextlib.suppress(PreviewFailedError):
        await service.start_preview(7)
    preview = await turned(service, "exited", measured, "seconds")
    assert preview is not None
    assert (preview.exit_code, preview.running, preview.url) == (127, False, None)
    assert preview.detail is not None
    assert "not found" in preview.detail
    assert any("no-such-dev-server" in line for line in preview.last_lines)


async def test_a_page_that_does_not_answer_any_more_is_unresponsive_until_it_does(
    scene: Any, measured: Measured
) -> None:
    made = await scene(preview_probe_timeout=0.5, preview_probe_ttl=0.1)
    preview = await after(lambda: made.get("/hang"), made.service, "unresponsive", measured)
    assert preview is not None
    assert (preview.running, preview.url, preview.is_responding) == (True, made.url, False)
    assert preview.compilation_complete is True
    await check(made, preview)
    assert preview.detail == "It answered before, and does not answer within 0.5 s now."
    ready = await after(lambda: made.get("/heal"), made.service, "ready", measured, "healed")
    assert ready is not None
    assert ready.is_responding is True
    await check(made, ready)


async def test_an_app_that_hangs_becomes_an_event_though_nobody_asks(scene: Any) -> None:
    made = await scene(preview_probe_timeout=0.5, preview_probe_interval=0.5)
    async with made.service.events(7) as events, asyncio.timeout(30):
        await asyncio.to_thread(made.get, "/hang")
        phases = []
        async for event in events:
            phases.append(event.preview and event.preview.phase)
            if phases == ["unresponsive"]:
                await asyncio.to_thread(made.get, "/heal")
            elif len(phases) > 1:
                break
    assert phases == ["unresponsive", "ready"]


async def test_a_removed_container_is_no_preview(world: Any, scene: Any, measured: Measured) -> None:
    made = await scene()
    assert await after(made.remove, made.service, None, measured) is None
    status = await made.service.get_preview_status(7)
    assert (status.running, status.url, status.compilation_complete, status.is_responding) == (
        False,
        None,
        False,
        False,
    )
    assert await made.service.list_previews() == []
    assert await world.service(**OTHER_CORE).get_preview(7) is None


async def test_an_exited_container_that_is_removed_is_no_preview(scene: Any, measured: Measured) -> None:
    made = await scene()
    assert await after(made.kill, made.service, "exited", measured) is not None
    assert await after(made.remove, made.service, None, measured, "removed") is None


async def test_an_unpaused_container_is_what_it_was(scene: Any, measured: Measured) -> None:
    made = await scene()
    paused = await after(made.pause, made.service, "paused", measured)
    assert paused is not None
    assert (paused.running, paused.url, paused.is_responding) == (True, made.url, False)
    ready = await after(made.container.unpause, made.service, "ready", measured, "unpaused")
    assert ready is not None
    await check(made, ready)
    assert (ready.compilation_complete, ready.started_at) == (True, paused.started_at)


async def test_after_a_childs_oom_a_good_answer_makes_it_ready_again(
    world: Any, scene: Any, measured: Measured
) -> None:
    made = await scene()
    told = await after(made.child_oom, made.service, "oom_killed", measured)
    assert told is not None
    assert (told.running, told.url, told.exit_code, told.oom_count) == (True, made.url, None, 1)
    # However often it is asked: a page that answers 500 is not well.
    answered = 0
    while answered < 2:
        still = await made.service.get_preview(7)
        assert still is not None
        assert (still.phase, still.running, still.url) == ("oom_killed", True, made.url)
        answered += still.http_status == 500
        await asyncio.sleep(0.1)
    status = await made.service.get_preview_status(7)
    assert (status.running, status.url, status.is_responding) == (True, made.url, False)
    ready = await after(lambda: made.get("/heal"), made.service, "ready", measured, "healed")
    assert ready is not None
    await check(made, ready)
    assert (ready.oom_count, ready.last_oom_at) == (told.oom_count, told.last_oom_at)
    await agreed(world, made, ready, measured)


async def test_a_restart_from_outside_is_a_new_run_with_its_own_address(
    world: Any, scene: Any, measured: Measured
) -> None:
    made = await scene({"LISTEN_MS": "1500", "COMPILE_MS": "1000"})
    before = await made.service.get_preview(7)
    assert before is not None
    starting = await after(made.restart, made.service, "starting", measured)
    assert starting is not None
    await check(made, starting)
    assert starting.started_at is not None
    assert starting.started_at > before.started_at
    assert (starting.compilation_complete, starting.is_responding, starting.ready_at) == (False, False, None)
    seen = ["starting"]
    ends = time.monotonic() + 30
    while True:
        assert time.monotonic() < ends, seen
        preview = await made.service.get_preview(7)
        assert preview is not None
        assert (preview.running, preview.url) == (True, starting.url)
        if preview.phase != seen[-1]:
            seen.append(preview.phase)
        if preview.phase == "ready":
            break
        await asyncio.sleep(0.01)
    assert seen == ["starting", "compiling", "ready"]
    assert preview.ready_at is not None
    assert preview.ready_at > starting.started_at
    await check(made, preview)
    assert made.service.containers[7].url == starting.url
    await agreed(world, made, preview, measured)


async def test_an_oom_of_an_earlier_run_says_nothing_about_this_one(scene: Any, measured: Measured) -> None:
    made = await scene()
    assert await after(made.oom, made.service, "oom_killed", measured) is not None
    await asyncio.to_thread(made.restart)
    ready = await turned(made.service, "ready", measured, "restarted")
    assert ready is not None
    assert (ready.exit_code, ready.finished_at, ready.last_lines) == (None, None, [])
    assert ready.oom_count >= 1
    made.container.reload()
    killed = await after(made.kill, made.service, "exited", measured, "killed")
    assert killed is not None
    assert killed.exit_code == 137
    await check(made, killed)

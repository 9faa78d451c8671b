"""Cancelling at every engine call, before and after it took effect, leaves a whole preview or none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from fake_engine import FakeEngine, Gate
from waiting import SECONDS, eventually

CALLS = r"^(?!.*(/logs|/events|/_ping))"
"""Not the streams, which are nobody's calls."""


async def stands(gate: Gate, task: asyncio.Task[Any]) -> bool:
    """Whether the call came to the gate; False: the operation ended without it."""
    arrival = asyncio.create_task(gate.reached())
    await asyncio.wait([arrival, task], return_when=asyncio.FIRST_COMPLETED)
    arrival.cancel()
    return gate.is_reached


async def settled(fake: Any) -> None:
    """Returns when the engine has been left alone for a moment and every container runs or is gone."""
    async with asyncio.timeout(SECONDS):
        quiet, calls = 0, -1
        while quiet < 3:
            whole = all(container.status == "running" for container in fake.containers())
            quiet = quiet + 1 if whole and len(fake.engine.calls) == calls else 0
            calls = len(fake.engine.calls)
            await asyncio.sleep(0.01)


def rounds(fake: Any, engine: FakeEngine, after: bool) -> Iterator[tuple[int, Any, Callable[[], Gate]]]:
    """A preview after the other; the next one's gate stands a call later. Each on a core and a network of its own."""
    for nth in range(1, 100):
        fake.project(nth)
        service = fake.service(preview_network=f"kosuke-fake-{nth}")
        yield nth, service, lambda nth=nth: engine.gate(CALLS, nth, after=after)  # type: ignore[misc]


async def cancelled_at(gate: Gate, operation: Awaitable[Any]) -> bool:
    """Cancels the operation when its call stands at the gate; False: it ended without that call."""
    task = asyncio.ensure_future(operation)
    reached = await stands(gate, task)
    if reached:
        task.cancel()
    results = await asyncio.gather(task, return_exceptions=True)
    gate.release()
    # A call in the background may have come to the gate when the operation was done.
    assert isinstance(results[0], (asyncio.CancelledError, str, type(None))), results
    return reached


@pytest.fixture(params=[False, True], ids=["before-effect", "after-effect"])
def after(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


async def test_a_start_cancelled_at_any_engine_call_is_undone_or_whole(
    fake: Any, fake_engine: FakeEngine, after: bool
) -> None:
    nth = 0
    for nth, service, gate in rounds(fake, fake_engine, after):
        if not await cancelled_at(gate(), service.start_preview(nth)):
            break
        await settled(fake)
        for preview in await service.list_previews():
            assert (preview.running, preview.url is None) == (True, False), (nth, preview)
        # Behind what is queued: nothing may come after it.
        await service.stop_preview(nth)
        assert fake.containers() == [], (nth, fake_engine.calls[-12:])
    assert nth > 7, "a start makes more calls than that"


async def test_a_joined_caller_gets_its_preview_wherever_the_other_is_cancelled(
    fake: Any, fake_engine: FakeEngine, after: bool
) -> None:
    nth = 0
    for nth, service, gate in rounds(fake, fake_engine, after):
        held = gate()
        first = asyncio.create_task(service.start_preview(nth))
        second = asyncio.create_task(service.start_preview(nth))
        reached = await cancelled_at(held, first)
        url = await asyncio.wait_for(second, SECONDS)
        [container] = fake.containers()
        assert container.status == "running", nth
        assert url.endswith(f":{container.ports['3000/tcp'][1]}"), nth
        assert (await service.get_preview(nth)).url == url, nth
        await service.stop_preview(nth)
        if not reached:
            break
    assert nth > 7


async def test_a_caller_that_comes_after_a_cancelled_start_gets_its_preview(
    fake: Any, fake_engine: FakeEngine, after: bool
) -> None:
    nth = 0
    for nth, service, gate in rounds(fake, fake_engine, after):
        held = gate()
        first = asyncio.create_task(service.start_preview(nth))
        reached = await stands(held, first)
        first.cancel()
        second = asyncio.create_task(service.start_preview(nth))
        # So that it is queued before the call goes on.
        await asyncio.sleep(0)
        held.release()
        url = await asyncio.wait_for(second, SECONDS)
        await asyncio.gather(first, return_exceptions=True)
        [container] = fake.containers()
        assert url.endswith(f":{container.ports['3000/tcp'][1]}"), nth
        await service.stop_preview(nth)
        if not reached:
            break
    assert nth > 7


@pytest.mark.parametrize("state", ["running", "exited"])
async def test_a_stop_cancelled_at_any_engine_call_is_done_all_the_same(
    fake: Any, fake_engine: FakeEngine, after: bool, state: str
) -> None:
    nth = 0
    for nth, service, gate in rounds(fake, fake_engine, after):
        await service.start_preview(nth, wait="ready")
        if state == "exited":
            fake_engine.exit(fake.name(nth), 1)
        reached = await cancelled_at(gate(), service.stop_preview(nth))
        await eventually(lambda: not fake.containers())
        # Behind the stop in the queue: nothing is left for it to do.
        await service.stop_preview(nth)
        assert await service.get_preview(nth) is None, nth
        if not reached:
            break
    assert nth > 2


async def test_a_restart_cancelled_at_any_engine_call_is_done_all_the_same(
    fake: Any, fake_engine: FakeEngine, after: bool
) -> None:
    nth = 0
    for nth, service, gate in rounds(fake, fake_engine, after):
        await service.start_preview(nth, wait="ready")
        before = fake_engine.container(fake.name(nth)).id
        reached = await cancelled_at(gate(), service.restart_preview(nth))
        # Behind the restart in the queue; it finds the container and makes none.
        url = await asyncio.wait_for(service.start_preview(nth), SECONDS)
        [container] = fake.containers()
        assert (container.id, container.status) == (before, "running"), nth
        assert url.endswith(f":{container.ports['3000/tcp'][1]}"), nth
        await service.stop_preview(nth)
        if not reached:
            break
    assert nth > 3


async def test_a_cancelled_status_leaves_the_preview_alone(fake: Any, fake_engine: FakeEngine, after: bool) -> None:
    nth = 0
    for nth, service, gate in rounds(fake, fake_engine, after):
        url = await service.start_preview(nth, wait="ready")
        # One that remembers nothing: the status of a preview that is remembered makes no call.
        stranger = fake.service(preview_network=f"kosuke-fake-{nth}", preview_probe_ttl=0.5)
        held = gate()
        task = asyncio.create_task(stranger.get_preview(nth))
        reached = await stands(held, task)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        held.release()
        assert (await service.get_preview(nth)).url == url, nth
        await service.stop_preview(nth)
        if not reached:
            break
    assert nth > 1

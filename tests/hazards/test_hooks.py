"""Hooks that call the service for their own preview, that hang, that raise; streams whose service was dropped."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from fake_engine import FakeEngine
from kosuke_docker import (
    DockerService,
    HookReentryError,
    KosukeDockerError,
    OperationTimeoutError,
    PullProgress,
    Settings,
    SettingsError,
)

Call = Callable[[DockerService], Awaitable[object]]
SECONDS = 10
CALLS: dict[str, Call] = {
    "start_preview": lambda service: service.start_preview(7),
    "wait_until_ready": lambda service: service.wait_until_ready(7, None),
    "restart_preview": lambda service: service.restart_preview(7),
    "stop_preview": lambda service: service.stop_preview(7),
    "stop_all_previews": lambda service: service.stop_all_previews(),
    "sweep": lambda service: service.sweep(),
    "reset_database": lambda service: service.reset_database(7),
    "drop_project_database": lambda service: service.drop_project_database(7),
    "clone_database": lambda service: service.clone_database(8, 7),
}


class Calling(DockerService):
    """Calls something when its database is to be made."""

    def __init__(self, settings: Settings, call: Call) -> None:
        super().__init__(settings)
        self.call = call

    async def _ensure_project_database(self, project_id: int) -> None:
        if project_id == 7:
            await self.call(self)


def calling(fake: Any, call: Call, **settings: Any) -> Calling:
    fake.use()
    return Calling(fake.settings(**settings), call)


@pytest.mark.parametrize("operation", CALLS)
async def test_a_hook_that_would_wait_for_itself_is_told_at_once(fake: Any, operation: str) -> None:
    fake.project(7)
    async with calling(fake, CALLS[operation]) as service:
        with pytest.raises(HookReentryError, match=f"_ensure_project_database calls {operation}") as raised:
            await asyncio.wait_for(service.start_preview(7), SECONDS)
    assert (raised.value.preview, raised.value.hook) == (7, "_ensure_project_database")
    assert fake.containers() == []


async def test_a_hook_may_ask_and_may_start_other_previews(fake: Any) -> None:
    for project in (7, 8):
        fake.project(project)

    async def work(service: DockerService) -> None:
        await service.get_preview(7)
        await service.start_preview(8)

    async with calling(fake, work) as service:
        await asyncio.wait_for(service.start_preview(7), SECONDS)
        assert len(fake.containers()) == 2


async def test_what_a_hook_started_may_wait_for_the_preview_after_it(fake: Any) -> None:
    fake.project(7)
    returned, later = asyncio.Event(), []

    async def work(service: DockerService) -> None:
        async def stop() -> None:
            await returned.wait()
            await service.stop_preview(7)

        later.append(asyncio.create_task(stop()))

    async with calling(fake, work) as service:
        await service.start_preview(7)
        returned.set()
        await asyncio.wait_for(later[0], SECONDS)
        assert fake.containers() == []


async def test_a_hook_that_hangs_is_ended_and_leaves_nothing(fake: Any) -> None:
    fake.project(7)
    async with calling(fake, lambda _: asyncio.Event().wait(), preview_hook_timeout=0.2) as service:
        with pytest.raises(OperationTimeoutError, match=r"within 0\.2 s .*PREVIEW_HOOK_TIMEOUT") as raised:
            await asyncio.wait_for(service.start_preview(7), SECONDS)
        assert (raised.value.preview, raised.value.operation) == (7, "_ensure_project_database")
        assert fake.containers() == []
    with pytest.raises((SettingsError, ValueError), match="preview_hook_timeout"):
        fake.settings(preview_hook_timeout=0)


async def test_a_handler_that_raises_ends_its_own_call_only(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(7)
    service = fake.service(preview_default_image="kosuke-fake:2")

    def refuse(_: PullProgress) -> None:
        raise LookupError("of this caller")

    held = fake_engine.gate("the end of the pull")
    fake_engine.pull.insert(1, held)
    # The first call opens the start, and its handler is used.
    first = asyncio.create_task(service.start_preview(7, on_progress=refuse))
    second = asyncio.create_task(service.start_preview(7))
    with pytest.raises(LookupError, match="of this caller"):
        await asyncio.wait_for(first, SECONDS)
    with pytest.raises(LookupError, match="of this caller"):
        await asyncio.wait_for(service.ensure_image(refuse), SECONDS)
    held.release()
    assert await asyncio.wait_for(second, SECONDS)
    assert len(fake.containers()) == 1


async def test_a_stream_keeps_its_service(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(7)

    async def quiet(service: DockerService) -> None: ...

    async with calling(fake, quiet) as service:
        await service.start_preview(7, wait="ready")
        other = calling(fake, quiet)
        other._check_container_health = None  # type: ignore[assignment, method-assign] # It has a core of its own.
        events, lines = other.events(7), other.logs(7)
        del other
        async with events:
            gc.collect()
            fake_engine.exit(fake.name(7), 3)
            phases = []
            async with asyncio.timeout(SECONDS):
                while "exited" not in phases:
                    event = await anext(events)
                    phases.append(event.preview and event.preview.phase)
            # Its container has ended, and with it the output.
            async with asyncio.timeout(SECONDS):
                async for _ in lines:
                    pass


def test_the_error_is_one_of_ours() -> None:
    assert issubclass(HookReentryError, KosukeDockerError)
    assert issubclass(HookReentryError, RuntimeError)

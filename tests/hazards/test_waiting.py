"""Waiting for a preview, with an engine that fails."""

from __future__ import annotations

import asyncio
from typing import Any

from fake_engine import Drop, FakeEngine
from waiting import SECONDS, eventually


async def test_what_was_ready_is_not_told_as_ready_while_looks_fail(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(7)
    service = fake.service()
    await service.start_preview(7, wait="ready")
    looks = fake_engine.fail("GET /containers/[^/]*/json", Drop())
    asked = len(fake_engine.events_asked)
    fake_engine.drop_connections()
    # The stream is there again, and whatever was seen before it may be true no more.
    await eventually(lambda: len(fake_engine.events_asked) > asked)
    waiting = asyncio.create_task(service.wait_until_ready(7, timeout=SECONDS))
    seen = looks.seen
    await eventually(lambda: looks.seen > seen + 2 or waiting.done())
    assert not waiting.done()
    fake_engine.heal()
    assert (await asyncio.wait_for(waiting, SECONDS)).phase == "ready"

"""Cancelling at every message to the database server leaves a whole preview, with a database that works, or none."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from postgres_gate import PostgresGate
from waiting import SECONDS, eventually

MESSAGES = 60
"""More than a start sends."""


async def check_database(container: Any, postgres: dict[str, Any]) -> None:
    """The container's own URL opens its own database."""
    url = urlsplit(container.environment["DATABASE_URL"])
    connection = await asyncpg.connect(
        host=postgres["postgres_host"],
        port=postgres["postgres_port"],
        user=url.username,
        password=url.password,
        database=url.path.removeprefix("/"),
    )
    await connection.execute("CREATE TABLE IF NOT EXISTS seen (id int)")
    await connection.close()


@pytest.mark.parametrize("joined", [False, True], ids=["alone", "joined"])
@pytest.mark.parametrize("after", [False, True], ids=["before-effect", "after-effect"])
async def test_a_start_cancelled_at_any_database_call_is_undone_or_whole(
    fake: Any, postgres: dict[str, Any], after: bool, joined: bool
) -> None:
    first = 10**9 + secrets.randbelow(10**9)
    nth = 0
    for nth in range(1, MESSAGES):
        project = first + nth
        fake.project(project)
        async with PostgresGate(postgres["postgres_host"], postgres["postgres_port"], nth, after=after) as gate:
            service = fake.service(**{**postgres, "postgres_port": gate.port}, postgres_required=True)
            start = asyncio.create_task(service.start_preview(project))
            other = asyncio.create_task(service.start_preview(project)) if joined else None
            reached = asyncio.create_task(gate.reached.wait())
            await asyncio.wait([start, reached], return_when=asyncio.FIRST_COMPLETED, timeout=SECONDS)
            reached.cancel()
            start.cancel()
            gate.release()
            await asyncio.gather(start, return_exceptions=True)
            if other is not None:
                await asyncio.wait_for(other, SECONDS)
            else:
                await eventually(lambda: all(container.is_running for container in fake.containers()))
                # Another caller finds what runs, or makes it.
                await asyncio.wait_for(service.start_preview(project), SECONDS)
            [container] = fake.containers()
            assert container.is_running, nth
            await check_database(container, postgres)
            await service.stop_preview(project)
            await service.aclose()
            assert fake.containers() == [], nth
        if not gate.reached.is_set():
            break
    assert 8 < nth < MESSAGES - 1, "every message was held once"

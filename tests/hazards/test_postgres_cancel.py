"""Calls that are cancelled, and a thousand that are not, leave nothing on the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pg import LEFT, Server


async def gone(server: Server) -> None:
    """Waits until nothing of ours is on the server."""
    await server.until(LEFT, some=False)


async def test_a_cancelled_call_stops_waiting_on_the_server_too(world: Any, cluster: Server, project_id: int) -> None:
    world.project(project_id)
    name = f"kosuke_project_{project_id}"
    service = world.service(**cluster.settings, postgres_connection_limit=7)
    await world.service(**cluster.settings)._ensure_project_database(project_id)
    holder = await cluster.connect()
    # An open transaction holds the role's row: ours waits for it.
    await holder.execute(f"BEGIN; ALTER ROLE {name} CONNECTION LIMIT 9")
    for call in (service._ensure_project_database, service.start_preview):
        task = asyncio.create_task(call(project_id))
        await cluster.until(f"{LEFT} AND wait_event_type = 'Lock'")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        # While the lock is still held: the statement itself was cancelled, and its session ended.
        await gone(cluster)
    await holder.execute("ROLLBACK")
    await holder.close()
    assert world.containers() == []
    await service._ensure_project_database(project_id)
    assert await cluster.value("SELECT rolconnlimit FROM pg_roles WHERE rolname = $1", name) == 7


async def test_a_late_call_stops_waiting_on_the_server_too(
    world: Any, cluster: Server, project_id: int, caplog: Any
) -> None:
    name = f"kosuke_project_{project_id}"
    await world.service(**cluster.settings)._ensure_project_database(project_id)
    holder = await cluster.connect()
    await holder.execute(f"BEGIN; ALTER ROLE {name} CONNECTION LIMIT 9")
    await world.service(**cluster.settings, postgres_connection_limit=7)._ensure_project_database(project_id)
    assert "Error creating database" in caplog.text
    await gone(cluster)
    await holder.execute("ROLLBACK")
    await holder.close()


async def test_calls_cancelled_at_any_moment_leave_nothing(world: Any, cluster: Server, project_id: int) -> None:
    service = world.service(**cluster.settings)
    for delay_ms in range(0, 200, 8):
        task = asyncio.create_task(service._ensure_project_database(project_id))
        await asyncio.sleep(delay_ms / 1000)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await gone(cluster)
    await service.reset_database(project_id)
    assert (await service.database_info(project_id)).owner == f"kosuke_project_{project_id}"
    await gone(cluster)


@pytest.mark.timeout(1800)
async def test_many_starts_and_stops_leave_the_server_as_it_was(
    world: Any, cluster: Server, project_id: int, count: Callable[[int], int]
) -> None:
    sql = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    world.project(project_id)
    world.project(project_id + 1)
    service = world.service(**cluster.settings, postgres_required=True, preview_stop_timeout=0)
    before = await cluster.value(sql)

    async def cycle(project: int) -> None:
        await service.start_preview(project)
        await service.stop_preview(project)

    for _ in range(count(1000) // 2):
        await asyncio.gather(cycle(project_id), cycle(project_id + 1))
    await gone(cluster)
    assert await cluster.value(sql) == before

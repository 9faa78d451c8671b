"""Dropping a preview's database: whoever is connected, with its role; one that fails is ended later."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from kosuke_docker import DatabaseError
from pg import Server, environment, login, started


@contextlib.asynccontextmanager
async def reconnecting(server: Server, who: dict[str, Any], clients: int = 3) -> AsyncIterator[list[int]]:
    """Clients that connect again as soon as they are thrown out; gives how often each got in."""
    counts = [0] * clients
    first = asyncio.Event()

    async def client(index: int) -> None:
        while True:
            try:
                connection = await server.connect(**who, timeout=10)
                counts[index] += 1
                first.set()
                while True:
                    await connection.fetch("SELECT pg_sleep(0.01)")
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
                await asyncio.sleep(0)

    tasks = [asyncio.create_task(client(index)) for index in range(clients)]
    try:
        await asyncio.wait_for(first.wait(), 30)
        yield counts
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_stop_keeps_the_data_unless_it_is_told_to_remove_it(
    world: Any, server: Server, project_id: int
) -> None:
    service, mine = await started(world, server, project_id)
    name = f"kosuke_project_{project_id}"
    await server.fetch("CREATE TABLE mine (id int)", **mine)
    await service.stop_preview(project_id)
    assert await server.exists(name) == (True, True)
    await service.start_preview(project_id)
    await service.stop_preview(project_id, remove_database=True)
    assert world.containers() == []
    assert await server.exists(name) == (False, False)
    # Nothing there is no error, and the next start begins empty.
    await service.stop_preview(project_id, remove_database=True)
    await service.start_preview(project_id)
    assert (await service.database_info(project_id)).tables == []


@pytest.mark.parametrize("as_admin", [False, True], ids=["role", "admin"])
async def test_drops_win_against_clients_that_reconnect(
    world: Any, server: Server, project_id: int, count: Callable[[int], int], as_admin: bool
) -> None:
    service, mine = await started(world, server, project_id)
    who = {"database": mine["database"]} if as_admin else mine
    for _ in range(count(50)):
        async with reconnecting(server, who) as counts:
            await service.drop_project_database(project_id)
            assert await server.exists(mine["database"]) == (False, False)
        assert sum(counts) > 0
        # The same password again, so that the clients of the next round get in.
        await service._ensure_project_database(project_id)
        await server.fetch(f"ALTER ROLE {mine['user']} PASSWORD '{mine['password']}'")


async def test_the_way_before_postgres_13_wins_too(world: Any, server: Server, project_id: int) -> None:
    """A proxy makes the server say that it is Postgres 12; there is no WITH (FORCE) in what it is sent then."""
    version = str(await server.value("SHOW server_version_num"))
    sent: list[bytes] = []

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, to_client: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                if to_client:
                    # An int4 in a binary row: 150018 is told as 120018.
                    told, wanted = (int(text).to_bytes(4, "big") for text in (version, "12" + version[2:]))
                    data = data.replace(b"\0\0\0\4" + told, b"\0\0\0\4" + wanted)
                else:
                    sent.append(data)
                sink.write(data)
                await sink.drain()
        sink.close()

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other = await asyncio.open_connection("127.0.0.1", server.settings["postgres_port"])
        await asyncio.gather(pump(reader, other[1], False), pump(other[0], writer, True))

    listener = await asyncio.start_server(proxy, "127.0.0.1", 0)
    _, mine = await started(world, server, project_id)
    older = world.service(**{**server.settings, "postgres_port": listener.sockets[0].getsockname()[1]})
    async with reconnecting(server, mine):
        await older.drop_project_database(project_id)
        assert await server.exists(mine["database"]) == (False, False)
    statements = b"".join(sent)
    assert b"DROP DATABASE" in statements
    assert b"FORCE" not in statements
    await older.aclose()
    listener.close()


async def test_what_a_role_was_given_elsewhere_does_not_keep_it(world: Any, server: Server, project_id: int) -> None:
    service, mine = await started(world, server, project_id)
    role = mine["user"]
    await server.fetch(f"CREATE DATABASE shared_{project_id}")
    shared = {"database": f"shared_{project_id}"}
    await server.fetch(f"GRANT CONNECT ON DATABASE shared_{project_id} TO {role}")
    await server.fetch(f"CREATE SCHEMA theirs AUTHORIZATION {role}", **shared)
    await service.stop_preview(project_id, remove_database=True)
    assert await server.exists(role) == (False, False)
    # It is not the admin's now: it went with its owner.
    assert await server.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'theirs'", **shared) == 0


async def test_a_drop_that_fails_is_raised_marked_and_ended_later(world: Any, cluster: Server, project_id: int) -> None:
    service, mine = await started(world, cluster, project_id)
    name = mine["database"]
    # A prepared transaction holds a database against every drop.
    holder = await cluster.connect(**mine)
    await holder.execute("BEGIN; CREATE TABLE held (id int); PREPARE TRANSACTION 'held'")
    with pytest.raises(DatabaseError) as caught:
        await service.stop_preview(project_id, remove_database=True)
    assert (caught.value.step, caught.value.sqlstate, caught.value.preview) == ("drop database", "55006", project_id)
    assert caught.value.engine_message is not None
    assert world.containers() == []
    assert await cluster.exists(name) == (True, True)
    sql = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1"
    assert json.loads(await cluster.value(sql, name))["dropping"] is True

    await cluster.fetch("ROLLBACK PREPARED 'held'", database=name)
    # Another process: all that is known stands on the server.
    await world.service(**cluster.settings, preview_probe_ttl=0.5).orphan_databases()
    assert await cluster.exists(name) == (False, False)


async def test_a_start_after_a_failed_drop_begins_empty(world: Any, cluster: Server, project_id: int) -> None:
    service, mine = await started(world, cluster, project_id)
    holder = await cluster.connect(**mine)
    await holder.execute("CREATE TABLE old (id int)")
    await holder.execute("BEGIN; CREATE TABLE held (id int); PREPARE TRANSACTION 'held'")
    with pytest.raises(DatabaseError):
        await service.stop_preview(project_id, remove_database=True)
    await cluster.fetch("ROLLBACK PREPARED 'held'", database=mine["database"])
    await service.start_preview(project_id)
    assert (await service.get_preview(project_id)).database == "ready"
    assert (await service.database_info(project_id)).tables == []


async def test_operations_on_one_preview_wait_for_each_other(world: Any, server: Server, project_id: int) -> None:
    world.project(project_id)
    service = world.service(**server.settings, postgres_required=True)
    await asyncio.gather(
        service.start_preview(project_id),
        service.reset_database(project_id),
        service.stop_preview(project_id, remove_database=True),
        service.start_preview(project_id),
        service.drop_project_database(project_id),
        service.stop_preview(project_id),
        service.start_preview(project_id),
    )
    [container] = world.containers()
    assert await server.value("SELECT 1", **login(environment(container)["DATABASE_URL"])) == 1


async def test_without_a_server_there_is_nothing_to_remove(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7)
    # Who asks for it is told: the data may be on a server that the settings should name.
    with pytest.raises(DatabaseError, match="no database server is configured: POSTGRES_HOST") as caught:
        await service.stop_preview(7, remove_database=True)
    assert caught.value.preview == 7
    assert world.containers() == []
    await service.stop_preview(7)
    for call in (service.drop_project_database, service.database_info, service.reset_database):
        with pytest.raises(DatabaseError, match="no database server is configured"):
            await call(7)


async def test_a_preview_whose_database_was_dropped_says_so_and_a_restart_makes_another(
    world: Any, server: Server, project_id: int
) -> None:
    name = f"kosuke_project_{project_id}"
    world.project(project_id)
    service, other = world.service(**server.settings), world.service(**server.settings, preview_probe_ttl=0.5)
    await service.start_preview(project_id, {"MINE": "yes"})
    assert (await other.get_preview(project_id)).database == "ready"
    await service.drop_project_database(project_id)
    preview = await service.get_preview(project_id)
    assert (preview.running, preview.database, preview.database_isolation) == (True, "unavailable", None)
    assert "was dropped" in preview.database_detail
    assert "restart_preview()" in preview.database_detail
    # The server tells everybody the truth; what another process remembers is the label, until it asks the server.
    for told_by in (service, other):
        with pytest.raises(DatabaseError, match="there is no database"):
            await told_by.database_info(project_id)
    await other.sweep()
    assert (await other.get_preview(project_id)).database_detail == preview.database_detail

    # A third one was not told at all.
    await world.service(**server.settings, preview_probe_ttl=0.25).restart_preview(project_id)
    [container] = world.containers()
    assert "MINE=yes" in container.attrs["Config"]["Env"]
    for told_by in (service, other):
        preview = await told_by.get_preview(project_id)
        assert (preview.database, preview.database_name) == ("ready", name)
        assert (await told_by.database_info(project_id)).tables == []
    assert await server.value("SELECT 1", **login(environment(container)["DATABASE_URL"])) == 1

"""Info, reset and copy, with clients connected."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import asyncpg
import pytest
from kosuke_docker import DatabaseError, InvalidInputError
from pg import LEFT, Server, started

MEGABYTES = 50


async def test_the_info_is_what_the_server_says(world: Any, server: Server, project_id: int) -> None:
    service, mine = await started(world, server, project_id)
    name = mine["database"]
    await server.fetch("CREATE SCHEMA more", **mine)
    await server.fetch("CREATE TABLE more.empty (id int)", **mine)
    await server.fetch("CREATE TABLE rows AS SELECT generate_series(1, 5000) AS id", **mine)
    await server.fetch("ANALYZE rows", **mine)
    held = [await server.connect(**mine) for _ in range(3)]
    info = await service.database_info(project_id)
    assert (info.name, info.owner, info.isolation, info.connection_limit) == (name, name, "partial", 10)
    assert info.connections == 3
    assert info.size_bytes == await server.value("SELECT pg_database_size($1::name)", name)
    sizes = {
        table: await server.value(f"SELECT pg_total_relation_size('{table}')", **mine)
        for table in ("more.empty", "rows")
    }
    assert [(t.schema_name, t.name, t.row_estimate, t.size_bytes) for t in info.tables] == [
        ("more", "empty", None, sizes["more.empty"]),
        ("public", "rows", 5000, sizes["rows"]),
    ]
    for connection in held:
        await connection.close()
    with pytest.raises(DatabaseError, match="there is no database") as caught:
        await service.database_info(project_id + 1)
    assert caught.value.step == "find database"


async def test_a_reset_empties_the_database_under_a_running_container(
    world: Any, server: Server, project_id: int
) -> None:
    service, mine = await started(world, server, project_id, postgres_extensions=["uuid-ossp"])
    await server.fetch("CREATE TABLE mine (id int)", **mine)
    client = await server.connect(**mine)
    await service.reset_database(project_id)
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
        await client.fetch("SELECT 1")
    # The same credentials, and again all that a new database gets.
    assert await server.value("SELECT count(*) FROM pg_tables WHERE tablename = 'mine'", **mine) == 0
    assert await server.value("SELECT count(*) FROM pg_extension WHERE extname = 'uuid-ossp'", **mine) == 1
    await server.fetch("CREATE TABLE mine (id int)", **mine)
    info = await service.database_info(project_id)
    assert (info.owner, [table.name for table in info.tables]) == (mine["user"], ["mine"])
    assert await leftovers(server) == []


async def test_a_reset_makes_a_database_that_is_missing(world: Any, server: Server, project_id: int) -> None:
    service = world.service(**server.settings)
    await service.reset_database(project_id)
    assert await server.exists(f"kosuke_project_{project_id}") == (True, True)


async def leftovers(server: Server) -> list[str]:
    sql = "SELECT datname FROM pg_database WHERE datname LIKE 'kosuke\\_passing%'"
    return [row[0] for row in await server.fetch(sql)]


@pytest.mark.alone
async def test_a_copy_of_50_mb_belongs_to_its_new_role(world: Any, server: Server, project_id: int) -> None:
    service, source = await started(world, server, project_id)
    _, mine = await started(world, server, project_id + 1)
    await server.fetch("CREATE TABLE mine (id int)", **mine)
    for sql in (
        "CREATE SCHEMA more",
        "CREATE TYPE more.mood AS ENUM ('fine')",
        "CREATE TABLE big (id serial PRIMARY KEY, mood more.mood, words text)",
        "ALTER DEFAULT PRIVILEGES IN SCHEMA more GRANT SELECT ON TABLES TO PUBLIC",
        "CREATE FUNCTION more.one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE EXTENSION hstore",
        "ALTER TABLE big ALTER words SET STORAGE PLAIN",
        f"INSERT INTO big (mood, words) SELECT 'fine', repeat('x', 1000) FROM generate_series(1, {MEGABYTES * 1000})",
    ):
        await server.fetch(sql, **source)
    assert await server.value("SELECT pg_database_size($1::name)", source["database"]) > MEGABYTES * 1_000_000

    # Clients of the source that come back all the time, and one that never lets go.
    idle = await server.connect(**source)
    stop = asyncio.Event()

    async def restless() -> None:
        while not stop.is_set():
            try:
                await server.fetch("SELECT count(*) FROM more.one()", **source)
            except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await asyncio.sleep(0)

    clients = [asyncio.create_task(restless()) for _ in range(3)]
    began = time.monotonic()
    await service.clone_database(project_id + 1, project_id)
    took = time.monotonic() - began
    stop.set()
    await asyncio.gather(*clients)
    assert took < 20, took
    print(f"copied {MEGABYTES} MB in {took:.2f} s")
    idle.terminate()

    assert await server.value("SELECT count(*) FROM big", **mine) == MEGABYTES * 1000
    await server.fetch("ALTER TABLE big ADD COLUMN more int", **mine)
    await server.fetch("INSERT INTO big (mood) VALUES ('fine')", **mine)
    await server.fetch("ALTER TYPE more.mood ADD VALUE 'good'", **mine)
    await server.fetch("DROP FUNCTION more.one()", **mine)
    await server.fetch("DROP EXTENSION hstore", **mine)
    with pytest.raises(asyncpg.UndefinedTableError):
        await server.fetch("SELECT * FROM mine", **mine)
    # The source is whole, its role's own, and as closed as before.
    assert await server.value("SELECT count(*) FROM big", **source) == MEGABYTES * 1000
    owner = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = $1"
    for login_ in (source, mine):
        assert await server.value(owner, login_["database"]) == login_["user"]
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await server.fetch("SELECT 1", **{**source, "database": mine["database"]})
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await server.fetch("SELECT 1", **{**mine, "database": source["database"]})
    assert await leftovers(server) == []
    # Neither role is needed by the other's database.
    for project in (project_id, project_id + 1):
        await service.stop_preview(project, remove_database=True)
    await server.until(LEFT, some=False)


async def test_a_copy_that_fails_leaves_both_as_they_were(world: Any, server: Server, project_id: int) -> None:
    service, mine = await started(world, server, project_id)
    await server.fetch("CREATE TABLE mine (id int)", **mine)
    with pytest.raises(DatabaseError, match="there is no database") as caught:
        await service.clone_database(project_id, project_id + 1)
    assert (caught.value.step, caught.value.preview) == ("find source", project_id)
    with pytest.raises(InvalidInputError) as same:
        await service.clone_database(project_id, project_id)
    assert same.value.field == "from_project_id"
    with pytest.raises(InvalidInputError) as wrong:
        await service.clone_database(project_id, -1)
    assert wrong.value.field == "from_project_id"
    assert await server.fetch("SELECT * FROM mine", **mine) == []
    assert await leftovers(server) == []


async def test_copies_both_ways_at_once_do_not_wait_for_each_other_for_ever(
    world: Any, server: Server, project_id: int
) -> None:
    service, mine = await started(world, server, project_id)
    await started(world, server, project_id + 1)
    await server.fetch("CREATE TABLE mine (id int)", **mine)
    async with asyncio.timeout(60):
        await asyncio.gather(*(service.clone_database(project_id + (n + 1) % 2, project_id + n % 2) for n in range(4)))
    for project in (project_id, project_id + 1):
        assert [table.name for table in (await service.database_info(project)).tables] == ["mine"]


async def test_an_admin_that_is_no_superuser_can_do_all_of_it(world: Any, server: Server, project_id: int) -> None:
    admin = f"maker_{project_id}"
    await server.fetch(f"CREATE ROLE {admin} LOGIN CREATEDB CREATEROLE PASSWORD 'maker'")
    maker = Server({**server.settings, "postgres_password": "maker"})
    service, source = await started(world, maker, project_id, postgres_user=admin)
    _, mine = await started(world, maker, project_id + 1, postgres_user=admin)
    await server.fetch("CREATE TABLE theirs AS SELECT 1 AS id", **source)
    held = [await server.connect(**source), await server.connect(**mine)]
    await service.clone_database(project_id + 1, project_id)
    await server.fetch("ALTER TABLE theirs ADD COLUMN more int", **mine)
    assert [table.name for table in (await service.database_info(project_id + 1)).tables] == ["theirs"]
    await service.reset_database(project_id)
    assert (await service.database_info(project_id)).tables == []
    for project in (project_id, project_id + 1):
        await service.stop_preview(project, remove_database=True)
        assert await server.exists(f"kosuke_project_{project}") == (False, False)
    for connection in held:
        connection.terminate()
    assert await leftovers(server) == []

"""Databases whose content and settings are against the admin: it reads them, and makes extensions in them, unharmed."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
import services
from kosuke_docker import DatabaseError
from pg import Server, environment, login, started

PROMPT_SECONDS = 5
MANY = 1_200
TOLD = 1_000


async def test_a_locked_table_does_not_hold_up_the_info(world: Any, server: Server, project_id: int) -> None:
    service, mine = await started(world, server, project_id)
    for table in ("free", "locked", "truncated", "indexed", "wanted"):
        await server.fetch(f"CREATE TABLE {table} (id int PRIMARY KEY, words text)", **mine)
    holder, reader, waiter = [await server.connect(**mine) for _ in range(3)]
    await holder.execute("BEGIN; LOCK TABLE locked IN ACCESS EXCLUSIVE MODE; TRUNCATE truncated")
    await holder.execute("REINDEX INDEX indexed_pkey")
    # Who waits for such a lock stands in the way of all that come later, too.
    await reader.execute("BEGIN; SELECT FROM wanted")
    waiting = asyncio.create_task(waiter.execute("BEGIN; LOCK TABLE wanted IN ACCESS EXCLUSIVE MODE"))
    await server.until("SELECT FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'")
    began = time.monotonic()
    info = await service.database_info(project_id)
    assert time.monotonic() - began < PROMPT_SECONDS
    sizes = {table.name: table.size_bytes for table in info.tables}
    assert {name for name, size in sizes.items() if size is None} == {"locked", "truncated", "indexed", "wanted"}
    assert sizes["free"] == await server.value("SELECT pg_total_relation_size('free')", **mine)
    # Nobody was thrown out.
    await reader.execute("ROLLBACK")
    await waiting
    assert await holder.fetchval("SELECT 1") == 1
    for connection in (holder, reader, waiter):
        connection.terminate()


async def test_any_number_of_tables_is_told_and_some_are_listed(world: Any, server: Server, project_id: int) -> None:
    service, mine = await started(world, server, project_id)
    await server.fetch(
        f"DO $$ BEGIN FOR n IN 1..{MANY} LOOP EXECUTE format('CREATE TABLE t%s ()', n); END LOOP; END $$", **mine
    )
    info = await service.database_info(project_id)
    assert (info.table_count, len(info.tables)) == (MANY, TOLD)


async def test_a_long_comment_is_not_read_to_its_end(world: Any, server: Server, project_id: int) -> None:
    service, mine = await started(world, server, project_id)
    await service.stop_preview(project_id)
    await server.fetch(f"COMMENT ON DATABASE {mine['database']} IS '{'x' * 1_000_000}'", database="postgres")
    await service.start_preview(project_id)
    assert (await service.get_preview(project_id)).database == "ready"
    # The mark takes its place, with its beginning as a note.
    sql = "SELECT length(shobj_description(oid, 'pg_database')) FROM pg_database WHERE datname = $1"
    assert 400 < await server.value(sql, mine["database"]) < 1_000


SETTINGS = {
    "role": "{role}",
    "session_authorization": "{role}",
    "default_transaction_read_only": "on",
    "transaction_read_only": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "local_preload_libraries": "no_such_library",
    "search_path": "evil",
    "statement_timeout": "1",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "idle_session_timeout": "1",
    "tcp_user_timeout": "1",
    "client_connection_check_interval": "1",
    "default_table_access_method": "other",
    "default_tablespace": "pg_global",
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "quote_all_identifiers": "on",
    "client_encoding": "SQL_ASCII",
    "DateStyle": "German",
    "bytea_output": "escape",
    "row_security": "off",
    "check_function_bodies": "on",
    "plpgsql.variable_conflict": "error",
    "plpgsql.extra_errors": "all",
}


async def test_settings_of_the_database_do_not_bind_the_admin(world: Any, server: Server, project_id: int) -> None:
    """Each alone, then all at once; what the server refuses is no attack."""
    service, mine = await started(world, server, project_id, postgres_required=True, postgres_extensions=["hstore"])
    name = mine["database"]
    outside = {**mine, "database": "postgres"}
    await server.fetch("CREATE SCHEMA evil", **mine)
    await server.fetch("CREATE TABLE mine (id int)", **mine)
    taken = []
    for setting, value in SETTINGS.items():
        try:
            await server.fetch(f"ALTER DATABASE {name} SET {setting} = '{value.format(role=name)}'", **outside)
        except asyncpg.PostgresError:
            continue
        taken.append(setting)
        assert [table.name for table in (await service.database_info(project_id)).tables] == ["mine"], setting
        # Postgres 18 takes some for good: then it stays beside the others.
        with contextlib.suppress(asyncpg.FeatureNotSupportedError):
            await server.fetch(f"ALTER DATABASE {name} RESET {setting}", **outside)
    assert {"role", "local_preload_libraries", "default_transaction_read_only", "idle_session_timeout"} <= set(taken)
    for setting in taken:
        value = SETTINGS[setting].format(role=name)
        await server.fetch(f"ALTER DATABASE {name} SET {setting} = '{value}'", **outside)
    await service.stop_preview(project_id)
    # An extension to make, as the admin.
    await world.service(
        **server.settings, postgres_required=True, postgres_extensions=["hstore", "citext"]
    ).start_preview(project_id)
    await service.clone_database(project_id + 1, project_id)
    assert [table.name for table in (await service.database_info(project_id + 1)).tables] == ["mine"]
    # It is the admin's that made it, not the app's in the admin's session.
    await server.fetch(f"ALTER DATABASE {name} RESET ALL")
    sql = "SELECT pg_get_userbyid(extowner)::text FROM pg_extension WHERE extname = 'citext'"
    assert await server.value(sql, database=name) == "postgres"


def sharedir() -> Path:
    """Where this machine's extensions are."""
    config = [str(services.postgres_programs() / "pg_config"), "--sharedir"]
    return Path(subprocess.run(config, check=True, capture_output=True, text=True).stdout.strip()) / "extension"


@pytest.fixture
def careless() -> Iterator[str]:
    """An extension whose script calls a function without its schema, as many do; gives its name."""
    name = f"careless_{secrets.token_hex(4)}"
    folder = sharedir()
    control, script = folder / f"{name}.control", folder / f"{name}--1.0.sql"
    control.write_text("default_version = '1.0'\nrelocatable = true\nsuperuser = true\n")
    script.write_text("CREATE TABLE made AS SELECT length('abc'::varchar) AS size;\n")
    yield name
    control.unlink()
    script.unlink()


async def plant(server: Server, who: dict[str, Any], schema: str = "public") -> None:
    """A function that fits better than the system's own, in a schema of the app's; it raises the app's role."""
    role = who["user"]
    for sql in (
        f"DROP SCHEMA IF EXISTS {schema} CASCADE",
        f"CREATE SCHEMA {schema}",
        f"CREATE FUNCTION {schema}.length(varchar) RETURNS int LANGUAGE plpgsql AS"
        f" $$ BEGIN EXECUTE 'ALTER ROLE {role} SUPERUSER'; RETURN 0; END $$",
    ):
        await server.fetch(sql, **who)


async def is_superuser(server: Server, role: str) -> bool:
    return bool(await server.value("SELECT rolsuper FROM pg_roles WHERE rolname = $1", role))


EXTENSION = """SELECT n.nspname::text, pg_get_userbyid(n.nspowner)::text FROM pg_extension e
               JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = $1"""


async def test_an_extensions_script_does_not_run_what_the_app_planted(
    world: Any, server: Server, project_id: int, careless: str
) -> None:
    service, mine = await started(world, server, project_id)
    await plant(server, mine)
    await service.stop_preview(project_id)
    other = world.service(**server.settings, postgres_extensions=[careless], postgres_required=True)
    await other.start_preview(project_id)
    assert not await is_superuser(server, mine["user"])
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    [[*where]] = await server.fetch(EXTENSION, careless, **mine)
    assert where == ["extensions", "postgres"]
    # The app finds it, and can neither change nor remove what is there.
    assert await server.value("SHOW search_path", **mine) == '"$user", public, extensions'
    for sql in (
        "CREATE TABLE extensions.mine ()",
        "DROP SCHEMA extensions CASCADE",
        "ALTER SCHEMA extensions RENAME TO x",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await server.fetch(sql, **mine)


async def test_a_new_database_gets_its_extensions_in_public(
    world: Any, server: Server, project_id: int, careless: str
) -> None:
    service, mine = await started(world, server, project_id, postgres_extensions=[careless, "hstore"])
    assert (await server.fetch(EXTENSION, careless, **mine))[0][0] == "public"
    assert await server.value("SELECT 'a=>1'::hstore -> 'a'", **mine) == "1"
    await server.fetch("CREATE TABLE mine (id int)", **mine)
    # An app may remove its schema with all that is in it: the next start makes it anew, where the app may not write.
    await plant(server, mine)
    await service.stop_preview(project_id)
    await service.start_preview(project_id)
    assert not await is_superuser(server, mine["user"])
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    assert (await server.fetch(EXTENSION, careless, **mine))[0][0] == "extensions"
    assert await server.value("SELECT 'a=>1'::hstore -> 'a'", **mine) == "1"
    await service.reset_database(project_id)
    assert (await server.fetch(EXTENSION, careless, **mine))[0][0] == "public"
    assert not await is_superuser(server, mine["user"])


async def test_a_search_path_that_the_app_set_stays_and_a_copy_finds_its_extensions(
    world: Any, server: Server, project_id: int
) -> None:
    service, mine = await started(world, server, project_id)
    await service.stop_preview(project_id)
    extended = world.service(**server.settings, postgres_extensions=["hstore"], postgres_required=True)
    await extended.start_preview(project_id)
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    await server.fetch(f"ALTER DATABASE {mine['database']} SET search_path = mine, extensions", **mine)
    await extended._ensure_project_database(project_id)
    assert await server.value("SHOW search_path", **mine) == "mine, extensions"
    world.project(project_id + 1)
    await extended.clone_database(project_id + 1, project_id)
    await extended.start_preview(project_id + 1)
    copy = login(environment(world.container(project_id + 1))["DATABASE_URL"])
    assert await server.value("SELECT 'a=>1'::hstore -> 'a'", **copy) == "1"


async def refused(world: Any, server: Server, project_id: int, extension: str) -> str:
    service = world.service(**server.settings, postgres_extensions=[extension], postgres_required=True)
    with pytest.raises(DatabaseError) as caught:
        await service.start_preview(project_id)
    assert caught.value.step == "create extension"
    return str(caught.value)


async def test_a_schema_of_that_name_that_is_the_apps_is_refused(
    world: Any, server: Server, project_id: int, careless: str
) -> None:
    service, mine = await started(world, server, project_id)
    await plant(server, mine, "extensions")
    await service.stop_preview(project_id)
    assert f"{mine['user']} may write to the schema extensions" in await refused(world, server, project_id, careless)
    assert not await is_superuser(server, mine["user"])


async def test_an_extension_with_a_schema_of_its_own_gets_it_from_the_admin_alone(
    world: Any, server: Server, project_id: int, careless: str
) -> None:
    control = sharedir() / f"{careless}.control"
    control.write_text(f"default_version = '1.0'\nrelocatable = false\nsuperuser = true\nschema = '{careless}'\n")
    service, mine = await started(world, server, project_id)
    await plant(server, mine, careless)
    await service.stop_preview(project_id)
    assert f"may write to the schema {careless}" in await refused(world, server, project_id, careless)
    assert not await is_superuser(server, mine["user"])
    await server.fetch(f"DROP SCHEMA {careless} CASCADE", database=mine["database"])
    # adminpack belongs into pg_catalog.
    extensions = [careless, "adminpack"]
    await world.service(**server.settings, postgres_extensions=extensions, postgres_required=True).start_preview(
        project_id
    )
    where = [tuple((await server.fetch(EXTENSION, name, database=mine["database"]))[0]) for name in extensions]
    assert where == [(careless, "postgres"), ("pg_catalog", "postgres")]


async def test_an_extension_on_another_that_is_the_apps_is_refused(world: Any, server: Server, project_id: int) -> None:
    """A script looks for names in the schemas of what it requires, too."""
    service, mine = await started(world, server, project_id)
    await server.fetch("CREATE EXTENSION cube", **mine)
    await service.stop_preview(project_id)
    problem = await refused(world, server, project_id, "earthdistance")
    assert "it requires cube: pg_database_owner may write to the schema public" in problem
    # In the admin's schema it may still belong to the app, which may move it any time.
    await server.fetch("DROP EXTENSION cube", database=mine["database"])
    await server.fetch("CREATE SCHEMA extensions", database=mine["database"])
    await server.fetch("CREATE EXTENSION cube SCHEMA extensions", **await again(world, server, project_id))
    assert "it requires cube, which belongs to" in await refused(world, server, project_id, "earthdistance")


async def again(world: Any, server: Server, project_id: int) -> dict[str, Any]:
    """A start, for its login, and a stop."""
    service = world.service(**server.settings)
    await service.start_preview(project_id)
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    await service.stop_preview(project_id)
    return mine

"""What a preview's role may do in its own database, and may not do elsewhere."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import asyncpg
import pg
import pytest
from kosuke_docker import DatabaseError
from pg import Server, environment, login

INSIDE = """
const { Client } = require("pg");
const url = process.argv[2] ? process.env.DATABASE_URL.replace(/[^/]+$/, process.argv[2]) : process.env.DATABASE_URL;
(async () => {
  const client = new Client({ connectionString: url });
  await client.connect();
  const results = [];
  for (const sql of JSON.parse(process.argv[1])) results.push((await client.query(sql)).rows);
  await client.end();
  console.log(JSON.stringify(results));
})().catch((error) => {
  console.log(JSON.stringify({ code: error.code, message: error.message }));
  process.exit();
});
"""


def inside(container: Any, *statements: str, database: str = "") -> Any:
    """Runs SQL from inside the container, with the environment that it really got."""
    command = ["node", "-e", INSIDE, json.dumps(statements), database]
    code, output = container.exec_run(command, workdir="/app")
    assert code == 0, output
    return json.loads(output)


async def start(world: Any, server: Server, project_id: int, **changes: Any) -> Any:
    """A preview's service, once it runs."""
    if not (world.folder / str(project_id)).exists():
        world.project(project_id)
    service = world.service(**server.settings, **changes)
    await service.start_preview(project_id)
    return service


async def test_an_app_migrates_and_queries_from_inside_its_container(world: Any, cluster: Server) -> None:
    pg.put_client(world.project(7))
    service = await start(world, cluster, 7, postgres_revoke_public=True, postgres_isolation="role")
    await start(world, cluster, 8)
    preview = await service.get_preview(7)
    assert (preview.database, preview.database_isolation, preview.database_detail) == ("ready", "role", None)
    container = world.container(7)
    results = inside(
        container,
        "CREATE SCHEMA drizzle",
        "CREATE TABLE drizzle.migrations (id serial PRIMARY KEY)",
        "CREATE TABLE users (id serial PRIMARY KEY, name text)",
        "CREATE EXTENSION IF NOT EXISTS pgcrypto",
        "CREATE TYPE mood AS ENUM ('fine')",
        "ALTER TABLE users ADD COLUMN mood mood",
        "INSERT INTO users (name, mood) VALUES ('me', 'fine')",
        "SELECT name, mood, length(gen_random_uuid()::text) FROM users",
        "SELECT current_user AS me, pg_get_userbyid(datdba) AS owner FROM pg_database"
        " WHERE datname = current_database()",
        "SELECT rolsuper, rolcreatedb, rolcreaterole, rolreplication, rolbypassrls, rolconnlimit FROM pg_roles"
        " WHERE rolname = current_user",
    )
    assert results[-3] == [{"name": "me", "mood": "fine", "length": 36}]
    assert results[-2] == [{"me": "kosuke_project_7", "owner": "kosuke_project_7"}]
    assert list(results[-1][0].values()) == [False, False, False, False, False, 10]

    for database in ("kosuke_project_8", "postgres", "template1"):
        refused = inside(container, "SELECT 1", database=database)
        assert refused["code"] == "42501", (database, refused)
    for sql in (
        "CREATE ROLE other",
        "CREATE DATABASE other",
        "ALTER ROLE kosuke_project_7 SUPERUSER",
        "ALTER ROLE kosuke_project_7 CONNECTION LIMIT 500",
        "CREATE EXTENSION file_fdw",
        "SELECT pg_read_file('/etc/passwd')",
        "COPY (SELECT 1) TO PROGRAM 'true'",
        "DROP DATABASE kosuke_project_8 WITH (FORCE)",
    ):
        assert inside(container, sql)["code"] == "42501", sql


async def test_without_revoke_the_preview_says_where_its_role_may_still_connect(world: Any, project_id: int) -> None:
    with pg.cluster() as server:
        service = await start(world, server, project_id)
        preview = await service.get_preview(project_id)
        assert preview.database_isolation == "partial"
        assert preview.database_detail == (
            "its role may connect to postgres, template1: POSTGRES_REVOKE_PUBLIC=true closes them to it"
        )
        mine = login(environment(world.container(project_id))["DATABASE_URL"])
        await server.fetch("SELECT 1", **{**mine, "database": "postgres"})


async def test_revoking_keeps_everybody_else_and_can_be_undone(world: Any, project_id: int) -> None:
    with pg.cluster() as server:
        await server.fetch("CREATE ROLE colleague LOGIN PASSWORD 'c'")
        await server.fetch("CREATE DATABASE theirs")
        await start(world, server, project_id)
        service = await start(world, server, project_id + 1, postgres_revoke_public=True)
        assert (await service.get_preview(project_id + 1)).database_isolation == "role"
        colleague = {"user": "colleague", "password": "c"}
        for database in ("postgres", "theirs", "template1"):
            await server.fetch("SELECT 1", **colleague, database=database)
            for project in (project_id, project_id + 1):
                mine = login(environment(world.container(project))["DATABASE_URL"])
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await server.fetch("SELECT 1", **{**mine, "database": database})
        # What docs/postgres.md says.
        for database in ("postgres", "theirs", "template1"):
            await server.fetch(f"GRANT CONNECT ON DATABASE {database} TO PUBLIC")
            await server.fetch(f"REVOKE CONNECT ON DATABASE {database} FROM colleague")
        await server.fetch("CREATE ROLE late LOGIN PASSWORD 'l'")
        await server.fetch("SELECT 1", user="late", password="l", database="theirs")


async def test_auto_takes_the_admin_where_roles_cannot_be_made_and_says_it_once(
    world: Any, server: Server, project_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    admin = f"limited_{project_id}"
    await server.fetch(f"CREATE ROLE {admin} LOGIN CREATEDB PASSWORD 'limited-secret'")
    limited = Server({**server.settings, "postgres_password": "limited-secret"})
    for project in (project_id, project_id + 1):
        service = await start(world, limited, project, postgres_user=admin)
    preview = await service.get_preview(project_id)
    assert (preview.database, preview.database_isolation) == ("ready", "admin")
    assert preview.database_detail == "the admin role may not create roles"
    assert sum("may not create roles" in message for message in caplog.messages) == 1
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    assert (mine["user"], mine["password"]) == (admin, "limited-secret")
    await server.fetch("CREATE TABLE mine (id int)", **mine)

    strict = world.service(**limited.settings, postgres_user=admin, postgres_isolation="role", postgres_required=True)
    world.project(project_id + 2)
    with pytest.raises(DatabaseError, match="may not create roles") as caught:
        await strict.start_preview(project_id + 2)
    assert caught.value.step == "create role"
    assert await server.exists(f"kosuke_project_{project_id + 2}") == (False, False)


async def test_admin_isolation_is_the_older_services_way(world: Any, server: Server, project_id: int) -> None:
    service = await start(world, server, project_id, postgres_isolation="admin")
    name = f"kosuke_project_{project_id}"
    assert (await service.get_preview(project_id)).database_isolation == "admin"
    assert login(environment(world.container(project_id))["DATABASE_URL"])["user"] == "postgres"
    assert await server.exists(name) == (True, False)
    # A deployment that goes on to roles takes it over.
    await service.stop_preview(project_id)
    await start(world, server, project_id)
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    assert mine["user"] == name
    await server.fetch("CREATE TABLE mine (id int)", **mine)


async def test_a_leaking_app_meets_its_own_limit_while_others_connect(
    world: Any, server: Server, project_id: int
) -> None:
    for project in (project_id, project_id + 1):
        await start(world, server, project, postgres_connection_limit=5)
    greedy, other = (
        login(environment(world.container(project))["DATABASE_URL"]) for project in (project_id, project_id + 1)
    )
    held = [await server.connect(**greedy) for _ in range(5)]
    with pytest.raises(asyncpg.TooManyConnectionsError, match="too many connections for role"):
        await server.connect(**greedy)
    assert await server.value("SELECT 1", **other) == 1
    for connection in held:
        await connection.close()


async def test_a_new_limit_holds_from_the_next_start(world: Any, server: Server, project_id: int) -> None:
    service = await start(world, server, project_id)
    await service.stop_preview(project_id)
    await start(world, server, project_id, postgres_connection_limit=3)
    sql = "SELECT rolconnlimit FROM pg_roles WHERE rolname = $1"
    assert await server.value(sql, f"kosuke_project_{project_id}") == 3


async def test_a_role_that_somebody_made_powerful_is_limited_again(world: Any, server: Server, project_id: int) -> None:
    name = f"kosuke_project_{project_id}"
    await server.fetch(f"CREATE ROLE {name} SUPERUSER CREATEDB")
    await start(world, server, project_id)
    [row] = await server.fetch("SELECT rolsuper, rolcreatedb, rolcanlogin FROM pg_roles WHERE rolname = $1", name)
    assert tuple(row) == (False, False, True)


async def test_what_an_app_plants_in_its_database_is_not_run_by_the_admin(
    world: Any, server: Server, project_id: int
) -> None:
    """An operator that fits better than the system's own would be taken, were its schema looked at."""
    service = await start(world, server, project_id)
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    for sql in (
        "CREATE TABLE seen (who text)",
        "CREATE FUNCTION trap(name, name) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN"
        " INSERT INTO public.seen VALUES (current_user); RETURN true; END $$",
        "CREATE OPERATOR public.!~ (FUNCTION = trap, LEFTARG = name, RIGHTARG = name)",
    ):
        await server.fetch(sql, **mine)
    # The trap works: this is what a careless admin would do.
    await server.fetch("SELECT relname !~ '^x' FROM pg_class LIMIT 1", database=mine["database"])
    assert await server.value("SELECT who FROM seen", **mine) == "postgres"
    await server.fetch("DELETE FROM seen", **mine)
    await service.database_info(project_id)
    await service.clone_database(project_id + 1, project_id)
    await service._ensure_project_database(project_id)
    for database in (mine["database"], f"kosuke_project_{project_id + 1}"):
        assert await server.fetch("SELECT who FROM seen", database=database) == []


async def test_listed_extensions_are_made_by_the_admin(world: Any, server: Server, project_id: int) -> None:
    await start(world, server, project_id, postgres_extensions=["file_fdw", "uuid-ossp"])
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    sql = "SELECT extname, pg_get_userbyid(extowner) FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1"
    assert [tuple(row) for row in await server.fetch(sql, **mine)] == [
        ("file_fdw", "postgres"),
        ("uuid-ossp", "postgres"),
    ]
    # A migration that wants it finds it.
    await server.fetch('CREATE EXTENSION IF NOT EXISTS "uuid-ossp"', **mine)


async def test_an_extension_that_is_not_there_is_told(world: Any, server: Server, project_id: int) -> None:
    service = await start(world, server, project_id, postgres_extensions=["no_such_extension"])
    preview = await service.get_preview(project_id)
    assert preview.database == "unavailable"
    assert "create extension" in preview.database_detail
    assert "no_such_extension" in preview.database_detail


async def test_another_owners_database_is_not_taken(world: Any, server: Server, project_id: int) -> None:
    await start(world, server, project_id)
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    other = world.service(
        **server.settings, preview_owner="somebody-else", preview_container_name_prefix=f"{world.prefix}x-"
    )
    await other.start_preview(project_id)
    preview = await other.get_preview(project_id)
    assert preview.database == "unavailable"
    assert "belongs to another deployment" in preview.database_detail
    assert await server.value("SELECT 1", **mine) == 1
    with pytest.raises(DatabaseError, match="belongs to another deployment"):
        await other.drop_project_database(project_id)


async def test_the_password_is_told_to_the_container_only(
    world: Any, project_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pg.cluster("log_statement = all", "log_min_messages = debug1", "log_connections = on") as server:
        service = await start(world, server, project_id)
        container = world.container(project_id)
        password = login(environment(container)["DATABASE_URL"])["password"]
        assert await server.value("SELECT 1", **login(environment(container)["DATABASE_URL"])) == 1
        errors = []
        for attempt in (service.clone_database(project_id, project_id + 5), service.database_info(project_id + 5)):
            with pytest.raises(DatabaseError) as caught:
                await attempt
            errors.append(f"{caught.value!r} {caught.value} {caught.value.__dict__}")
        preview = await service.get_preview(project_id)
        info = await service.database_info(project_id)
        log = (await server.home()).parent.joinpath("log").read_text()
        assert "ALTER ROLE" in log
        for secret in (password, server.settings["postgres_password"]):
            told = [
                caplog.text,
                log,
                repr(service),
                repr(service.settings),
                repr(preview),
                str(preview),
                repr(info),
                *errors,
            ]
            told += [json.dumps(container.labels), json.dumps([c.model_dump() for c in service.containers.values()])]
            assert [text for text in told if secret in text] == []
    # The server is gone: its errors hold no password either.
    await service.stop_preview(project_id)
    strict = world.service(**server.settings, postgres_required=True)
    with pytest.raises(DatabaseError) as gone:
        await strict.start_preview(project_id)
    assert server.settings["postgres_password"] not in f"{gone.value!r}{gone.value.__dict__}{caplog.text}"


async def test_two_deployments_processes_agree_on_the_winners_password(
    world: Any, server: Server, project_id: int, run_python: Any
) -> None:
    script = f"""
import asyncio
from kosuke_docker import DockerService

async def main():
    service = DockerService()
    await asyncio.gather(*(service.start_preview({project_id}) for _ in range(5)))

asyncio.run(main())
"""
    world.project(project_id)
    settings = world.settings(**server.settings, postgres_required=True)
    for _ in range(3):
        processes = [run_python(script, settings) for _ in range(2)]
        for process in processes:
            output, errors = await asyncio.to_thread(process.communicate)
            assert process.returncode == 0, (output, errors)
        [container] = world.containers()
        assert await server.value("SELECT 1", **login(environment(container)["DATABASE_URL"])) == 1
        await asyncio.to_thread(container.remove, force=True)

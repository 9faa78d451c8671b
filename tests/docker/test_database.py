"""The preview's database on the real server."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import asyncpg
import pytest
from kosuke_docker import DatabaseError
from pg import Server, environment, login


async def test_a_preview_gets_a_database_and_a_role_of_its_own(
    world: Any, postgres: dict[str, Any], server: Server, project_id: int
) -> None:
    world.project(project_id)
    service = world.service(**postgres)
    await service.start_preview(project_id)
    name = f"kosuke_project_{project_id}"
    preview = await service.get_preview(project_id)
    # The test server's `postgres` and `template1` are open to every role, as Postgres makes them.
    assert (preview.database, preview.database_name, preview.database_isolation) == ("ready", name, "partial")
    assert "may connect to" in preview.database_detail

    variables = environment(world.container(project_id))
    assert variables["POSTGRES_URL"] == variables["DATABASE_URL"]
    host, port = postgres["postgres_container_host"], postgres["postgres_port"]
    assert f"@{host}:{port}/{name}" in variables["DATABASE_URL"]
    [row] = await server.fetch(
        "SELECT current_user AS role, rolsuper, rolcreatedb, rolcreaterole FROM pg_roles WHERE rolname = current_user",
        **login(variables["DATABASE_URL"]),
    )
    assert tuple(row) == (name, False, False, False)
    await server.fetch("CREATE TABLE mine (id int)", **login(variables["DATABASE_URL"]))


async def test_a_role_cannot_connect_to_its_neighbours(
    world: Any, postgres: dict[str, Any], server: Server, project_id: int
) -> None:
    service = world.service(**postgres)
    for project in (project_id, project_id + 1):
        world.project(project)
        await service.start_preview(project)
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await server.fetch("SELECT 1", **{**mine, "database": f"kosuke_project_{project_id + 1}"})


async def test_adopting_leaves_the_password_alone(
    world: Any, postgres: dict[str, Any], server: Server, project_id: int
) -> None:
    world.project(project_id)
    await world.service(**postgres).start_preview(project_id)
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    other = world.service(**postgres, preview_probe_ttl=0.5)
    await other.start_preview(project_id)
    await other._ensure_project_database(project_id)
    assert await server.fetch("SELECT 1 AS one", **mine)


async def test_a_new_start_gets_a_new_password_and_the_same_data(
    world: Any, postgres: dict[str, Any], server: Server, project_id: int
) -> None:
    world.project(project_id)
    service = world.service(**postgres)
    await service.start_preview(project_id)
    first = login(environment(world.container(project_id))["DATABASE_URL"])
    await server.fetch("CREATE TABLE mine (id int)", **first)
    await service.stop_preview(project_id)
    await service.start_preview(project_id)
    second = login(environment(world.container(project_id))["DATABASE_URL"])
    assert first["password"] != second["password"]
    assert await server.fetch("SELECT * FROM mine", **second) == []
    with pytest.raises(asyncpg.InvalidPasswordError):
        await server.fetch("SELECT 1", **first)


async def test_the_environment_service_tells_the_password_that_the_next_start_sets(
    world: Any, postgres: dict[str, Any], project_id: int
) -> None:
    world.project(project_id)
    service = world.service(**postgres)
    told = service.environment_service.prepare_container_environment(project_id, {})["DATABASE_URL"]
    await service.start_preview(project_id)
    assert environment(world.container(project_id))["DATABASE_URL"] == told


async def test_thirty_concurrent_ensures_make_one_database_and_close_their_connections(
    world: Any, postgres: dict[str, Any], server: Server, project_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kosuke_docker")
    services = [world.service(**postgres, preview_probe_ttl=1.0 + index) for index in range(3)]
    await asyncio.gather(*(services[index % 3]._ensure_project_database(project_id) for index in range(30)))
    name = f"kosuke_project_{project_id}"
    assert len(await server.fetch("SELECT 1 FROM pg_database WHERE datname = $1", name)) == 1
    assert caplog.messages.count(f"Created database for project {project_id}") == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert await server.fetch("SELECT 1 FROM pg_stat_activity WHERE application_name = 'kosuke-docker'") == []


async def test_a_database_of_the_older_service_is_taken_over(
    world: Any, postgres: dict[str, Any], server: Server, project_id: int
) -> None:
    name = f"kosuke_project_{project_id}"
    await server.fetch(f"CREATE DATABASE {name}")
    for sql in (
        "CREATE TABLE old (id serial PRIMARY KEY, mood text)",
        "INSERT INTO old (mood) VALUES ('fine')",
        "CREATE SCHEMA more",
        "CREATE TYPE more.colour AS ENUM ('red')",
        "CREATE VIEW more.seen AS SELECT * FROM old",
        "CREATE FUNCTION more.one() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE EXTENSION hstore",
    ):
        await server.fetch(sql, database=name)
    world.project(project_id)
    service = world.service(**postgres)
    await service.start_preview(project_id)
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    await server.fetch("INSERT INTO old (mood) VALUES ('new')", **mine)
    await server.fetch("ALTER TABLE old ADD COLUMN more int", **mine)
    [row] = await server.fetch("SELECT count(*) AS rows, more.one() AS one FROM more.seen", **mine)
    assert (row["rows"], row["one"]) == (2, 1)


async def test_an_unreachable_server_is_logged_and_told(
    world: Any, postgres: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    world.project(7)
    service = world.service(**{**postgres, "postgres_port": 1})
    await service.start_preview(7)
    preview = await service.get_preview(7)
    assert (preview.database, preview.database_isolation, preview.running) == ("unavailable", None, True)
    assert any("Error creating database for project 7" in message for message in caplog.messages)


async def test_a_wrong_password_is_told_in_the_servers_words_without_the_password(
    world: Any, postgres: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    world.project(7)
    service = world.service(**{**postgres, "postgres_password": "wrong-secret"}, postgres_required=True)
    with pytest.raises(DatabaseError, match="password authentication failed") as caught:
        await service.start_preview(7)
    assert caught.value.preview == 7
    assert "wrong-secret" not in f"{caught.value!r}{caught.value.__dict__}{caplog.text}"
    assert world.containers() == []


async def test_no_server_configured_is_disabled(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7)
    preview = await service.get_preview(7)
    assert (preview.database, preview.database_name) == ("disabled", None)
    assert "DATABASE_URL" not in environment(world.container(7))


async def test_a_dsn_replaces_the_parts(world: Any, postgres: dict[str, Any], project_id: int) -> None:
    world.project(project_id)
    password, port = postgres["postgres_password"], postgres["postgres_port"]
    service = world.service(preview_postgres_url=f"postgresql://postgres:{password}@127.0.0.1:{port}/postgres")
    await service.start_preview(project_id)
    assert (await service.get_preview(project_id)).database == "ready"
    # The container's way to this machine, not its own loopback.
    [network] = world.container(project_id).attrs["NetworkSettings"]["Networks"].values()
    assert f"@{network['Gateway']}:{port}/" in environment(world.container(project_id))["DATABASE_URL"]


async def test_a_replaced_database_hook_means_admin(
    world: Any, postgres: dict[str, Any], server: Server, project_id: int
) -> None:
    world.project(project_id)
    service = world.service(**postgres)
    seen: list[int] = []

    async def ensure(project: int) -> None:
        seen.append(project)
        await server.fetch(f"CREATE DATABASE kosuke_project_{project}")

    service._ensure_project_database = ensure
    await service.start_preview(project_id)
    assert seen == [project_id]
    assert (await service.get_preview(project_id)).database_isolation == "admin"
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    assert (mine["user"], mine["password"]) == ("postgres", postgres["postgres_password"])


async def test_an_admin_that_is_no_superuser_hands_over_all_the_same(
    world: Any, postgres: dict[str, Any], server: Server, project_id: int
) -> None:
    admin = f"admin_{project_id}"
    await server.fetch(f"CREATE ROLE {admin} LOGIN CREATEDB CREATEROLE PASSWORD 'admin'")
    world.project(project_id)
    service = world.service(**{**postgres, "postgres_user": admin, "postgres_password": "admin"})
    await service.start_preview(project_id)
    preview = await service.get_preview(project_id)
    assert (preview.database, preview.database_isolation) == ("ready", "partial")
    assert "lacks rights" not in preview.database_detail
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    await server.fetch("CREATE TABLE mine (id int)", **mine)


async def test_a_frozen_server_is_unavailable_and_not_waited_for_without_end(
    world: Any, postgres: dict[str, Any]
) -> None:
    """A server that accepts and says nothing: the driver's own time-out ends with the TCP connection."""
    held: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(lambda _, writer: held.append(writer), "127.0.0.1", 0)
    port = silent.sockets[0].getsockname()[1]
    world.project(7)
    service = world.service(**{**postgres, "postgres_port": port})
    async with asyncio.timeout(60):
        await service.start_preview(7)
    assert (await service.get_preview(7)).database == "unavailable"
    for writer in held:
        writer.close()
    silent.close()

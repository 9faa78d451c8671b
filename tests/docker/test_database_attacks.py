"""What an app does with its own role, database and URL to get at the admin or to stand in the way of others."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg
import pytest
from kosuke_docker import DatabaseError
from pg import Server, environment, login, started

PROMPT_SECONDS = 12
"""Less than the 15 seconds after which the server ends a statement that waits."""


async def let_in(server: Server, host: dict[str, Any], guest: dict[str, Any]) -> dict[str, Any]:
    """The host's role opens its database and its schema to the guest's; gives the guest's login to it."""
    await server.fetch(f"GRANT CONNECT ON DATABASE {host['database']} TO {guest['user']}", **host)
    await server.fetch(f"GRANT CREATE, USAGE ON SCHEMA public TO {guest['user']}", **host)
    return {**guest, "database": host["database"]}


def function_that_raises(role: str) -> str:
    """Makes a superuser of the role, if it becomes a superuser's."""
    return (
        "CREATE FUNCTION public.up() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS"
        f" $$ BEGIN EXECUTE 'ALTER ROLE {role} SUPERUSER'; END $$"
    )


async def test_a_function_left_with_a_neighbour_does_not_become_the_admins(
    world: Any, server: Server, project_id: int
) -> None:
    service, mine = await started(world, server, project_id)
    _, theirs = await started(world, server, project_id + 1)
    await server.fetch("CREATE TABLE kept (id int)", **theirs)
    guest = await let_in(server, theirs, mine)
    await server.fetch(function_that_raises(theirs["user"]), **guest)
    await server.fetch("CREATE TABLE public.mine (id int)", **guest)
    await server.fetch("CREATE VIEW seen AS SELECT * FROM public.mine", **guest)

    await service.stop_preview(project_id, remove_database=True)
    with pytest.raises(asyncpg.UndefinedFunctionError):
        await server.fetch("SELECT public.up()", **theirs)
    assert await server.value("SELECT rolsuper FROM pg_roles WHERE rolname = $1", theirs["user"]) is False
    assert await server.exists(mine["user"]) == (False, False)
    tables = (
        "SELECT array_agg(relname::text) FROM pg_class "
        "WHERE relkind IN ('r', 'v') AND relnamespace = 'public'::regnamespace"
    )
    assert await server.value(tables, **theirs) == ["kept"]


async def test_nor_an_admins_that_is_no_superuser(world: Any, server: Server, project_id: int) -> None:
    admin = f"maker_{project_id}"
    await server.fetch(f"CREATE ROLE {admin} LOGIN CREATEDB CREATEROLE PASSWORD 'maker'")
    maker = Server({**server.settings, "postgres_password": "maker"})
    service, mine = await started(world, maker, project_id, postgres_user=admin)
    _, theirs = await started(world, maker, project_id + 1, postgres_user=admin)
    guest = await let_in(server, theirs, mine)
    await server.fetch(function_that_raises(theirs["user"]), **guest)
    await service.stop_preview(project_id, remove_database=True)
    assert await server.exists(mine["user"]) == (False, False)
    assert await server.value("SELECT count(*) FROM pg_proc WHERE proname = 'up'", **theirs) == 0


TRAPS = (
    "CREATE TABLE public.seen (who text)",
    "GRANT ALL ON public.seen TO PUBLIC",
    "CREATE FUNCTION public.trap(name, name) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN"
    " INSERT INTO public.seen VALUES (current_user); RETURN true; END $$",
    "CREATE OPERATOR public.!~ (FUNCTION = public.trap, LEFTARG = name, RIGHTARG = name)",
    "CREATE OPERATOR public.<> (FUNCTION = public.trap, LEFTARG = name, RIGHTARG = name)",
)
"""What fits better than the system's own operators; it notes who ran it."""


async def test_what_a_neighbour_left_is_never_the_admins_when_a_database_is_handed_over_or_copied(
    world: Any, server: Server, project_id: int
) -> None:
    service, theirs = await started(world, server, project_id + 1)
    # A database of the older service, open to all roles of the server.
    name = f"kosuke_project_{project_id}"
    await server.fetch(f"CREATE DATABASE {name}")
    await server.fetch("CREATE TABLE old (id int)", database=name)
    await server.fetch("GRANT CREATE ON SCHEMA public TO PUBLIC", database=name)
    guest = {**theirs, "database": name}
    for sql in (*TRAPS, function_that_raises(theirs["user"])):
        await server.fetch(sql, **guest)
    _, mine = await started(world, server, project_id)
    await server.fetch("ALTER TABLE old ADD COLUMN more int", **mine)
    await service.clone_database(project_id + 2, project_id)
    for database in (name, f"kosuke_project_{project_id + 2}"):
        sql = (
            "SELECT array_agg(DISTINCT proowner::regrole::text) FROM pg_proc "
            "WHERE pronamespace = 'public'::regnamespace"
        )
        assert await server.value(sql, database=database) == [theirs["user"]]
        assert await server.fetch("SELECT who FROM seen", database=database) == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await server.fetch("SELECT public.up()", **{**theirs, "database": database})
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await server.fetch("SELECT public.up()", **mine)


async def test_what_is_anothers_outside_of_previews_is_named_and_kept(
    world: Any, server: Server, project_id: int
) -> None:
    service, mine = await started(world, server, project_id)
    role, shared = mine["user"], f"shared_{project_id}"
    await server.fetch(f"CREATE DATABASE {shared}")
    await server.fetch(f"CREATE SCHEMA theirs AUTHORIZATION {role}", database=shared)
    await server.fetch("CREATE TABLE theirs.rows (id int)", **{**mine, "database": shared})
    await server.fetch("CREATE VIEW ours AS SELECT * FROM theirs.rows", database=shared)
    with pytest.raises(DatabaseError, match=f"database {shared}: ") as caught:
        await service.stop_preview(project_id, remove_database=True)
    assert (caught.value.step, caught.value.sqlstate) == ("disown", "2BP01")
    assert await server.fetch("SELECT * FROM ours", database=shared) == []
    # Its database is gone, and the role cannot log in; a sweep ends the drop once nothing is in the way.
    assert await server.exists(role) == (False, True)
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        await server.fetch("SELECT 1", **{**mine, "database": shared})
    await server.fetch("DROP VIEW ours", database=shared)
    await service.orphan_databases()
    assert await server.exists(role) == (False, False)
    assert await server.value("SELECT count(*) FROM pg_namespace WHERE nspname = 'theirs'", database=shared) == 0


async def test_another_database_that_somebody_gave_the_role_is_named_and_kept(
    world: Any, server: Server, project_id: int
) -> None:
    service, mine = await started(world, server, project_id)
    given = f"given_{project_id}"
    await server.fetch(f"CREATE DATABASE {given} OWNER {mine['user']}")
    with pytest.raises(DatabaseError, match=given):
        await service.stop_preview(project_id, remove_database=True)
    assert (
        await server.value("SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = $1", given)
        == (mine["user"])
    )
    await server.fetch(f"DROP DATABASE {given}")
    await service.orphan_databases()
    assert await server.exists(mine["user"]) == (False, False)


async def test_a_neighbour_cannot_keep_a_role_with_a_lock(world: Any, server: Server, project_id: int) -> None:
    """Who grants something to a role holds it, until the transaction ends."""
    service, mine = await started(world, server, project_id)
    _, theirs = await started(world, server, project_id + 1)
    holder = await server.connect(**theirs)
    await holder.execute(f"CREATE TABLE bait (id int); BEGIN; GRANT SELECT ON bait TO {mine['user']}")
    began = time.monotonic()
    await service.stop_preview(project_id, remove_database=True)
    assert time.monotonic() - began < PROMPT_SECONDS
    assert await server.exists(mine["user"]) == (False, False)
    holder.terminate()


@pytest.mark.parametrize(
    "hold",
    ["COMMENT ON DATABASE {0} IS 'x'", "ALTER ROLE {0} PASSWORD 'x'", "GRANT CONNECT ON DATABASE {0} TO PUBLIC"],
    ids=["comment", "password", "grant"],
)
@pytest.mark.parametrize("home", ["postgres", None], ids=["elsewhere", "inside"])
async def test_a_transaction_of_the_app_does_not_hold_up_a_start_or_a_drop(
    world: Any, server: Server, project_id: int, hold: str, home: str | None
) -> None:
    service, mine = await started(world, server, project_id, postgres_required=True, preview_stop_timeout=0)
    # So that the next start has something to do at the database, and at the role.
    await server.fetch(f"COMMENT ON DATABASE {mine['database']} IS NULL", **mine)
    await service.stop_preview(project_id)
    where = {**mine, "database": home or mine["database"]}

    async def holding() -> asyncpg.Connection:
        holder = await server.connect(**where)
        await holder.execute("BEGIN; " + hold.format(mine["user"]))
        return holder

    holder = await holding()
    began = time.monotonic()
    await service.start_preview(project_id)
    assert time.monotonic() - began < PROMPT_SECONDS
    assert (await service.get_preview(project_id)).database == "ready"
    holder.terminate()
    where["password"] = login(environment(world.container(project_id))["DATABASE_URL"])["password"]
    holder = await holding()
    began = time.monotonic()
    await service.stop_preview(project_id, remove_database=True)
    assert time.monotonic() - began < PROMPT_SECONDS
    assert await server.exists(mine["database"]) == (False, False)
    holder.terminate()


async def test_a_transaction_elsewhere_does_not_hold_up_a_reset_or_a_copy(
    world: Any, server: Server, project_id: int
) -> None:
    service, mine = await started(world, server, project_id)
    await server.fetch("CREATE TABLE mine (id int)", **mine)
    calls: list[Callable[[], Awaitable[None]]] = [
        lambda: service.clone_database(project_id + 1, project_id),
        lambda: service.reset_database(project_id),
    ]
    for call in calls:
        holder = await server.connect(**{**mine, "database": "postgres"})
        await holder.execute(f"BEGIN; COMMENT ON DATABASE {mine['database']} IS 'x'")
        began = time.monotonic()
        await call()
        assert time.monotonic() - began < PROMPT_SECONDS
        holder.terminate()
    assert (await service.database_info(project_id)).tables == []
    assert [table.name for table in (await service.database_info(project_id + 1)).tables] == ["mine"]


async def test_an_operators_transaction_is_not_ended(world: Any, server: Server, project_id: int) -> None:
    _service, mine = await started(world, server, project_id)
    holder = await server.connect()
    await holder.execute(f"BEGIN; ALTER ROLE {mine['user']} CONNECTION LIMIT 9")
    await world.service(**server.settings, postgres_connection_limit=7)._ensure_project_database(project_id)
    assert await holder.fetchval("SELECT 1") == 1
    await holder.close()


async def test_a_database_that_its_app_made_a_template_can_be_dropped(
    world: Any, server: Server, project_id: int
) -> None:
    service, mine = await started(world, server, project_id)
    await server.fetch(f"ALTER DATABASE {mine['database']} IS_TEMPLATE true", **mine)
    await service.reset_database(project_id)
    await server.fetch(f"ALTER DATABASE {mine['database']} IS_TEMPLATE true", **mine)
    await service.stop_preview(project_id, remove_database=True)
    assert await server.exists(mine["database"]) == (False, False)
    sql = "SELECT count(*) FROM pg_database WHERE datname LIKE 'kosuke\\_passing%' AND datistemplate"
    assert await server.value(sql) == 0


async def test_a_session_in_the_template_holds_nobody_up(world: Any, server: Server, project_id: int) -> None:
    service, mine = await started(world, server, project_id)
    visitor = await server.connect(**{**mine, "database": "template1"})
    began = time.monotonic()
    _, _theirs = await started(world, server, project_id + 1)
    await service.reset_database(project_id)
    assert time.monotonic() - began < PROMPT_SECONDS
    assert (await service.get_preview(project_id + 1)).database == "ready"
    await visitor.close()


async def test_what_somebody_put_into_the_template_does_not_arrive(
    world: Any, cluster: Server, project_id: int
) -> None:
    await cluster.fetch("CREATE TABLE public.planted (id int)", database="template1")
    service, mine = await started(world, cluster, project_id)
    assert (await service.database_info(project_id)).tables == []
    await service.reset_database(project_id)
    assert (await service.database_info(project_id)).tables == []
    sql = "SELECT pg_encoding_to_char(encoding), datcollate, datctype FROM pg_database WHERE datname = $1"
    [made] = await cluster.fetch(sql, mine["database"])
    [template] = await cluster.fetch(sql, "template0")
    assert tuple(made) == tuple(template)


async def test_words_of_the_language_are_names_as_any(world: Any, cluster: Server, project_id: int) -> None:
    await cluster.fetch("CREATE ROLE \"user\" LOGIN SUPERUSER PASSWORD 'word'")
    await cluster.fetch('CREATE DATABASE "order"')
    word = Server({**cluster.settings, "postgres_password": "word"})
    changes = {"postgres_user": "user", "postgres_db": "order", "postgres_revoke_public": True}
    service, mine = await started(world, word, project_id, **changes)
    assert (await service.get_preview(project_id)).database_isolation == "role"
    await service.reset_database(project_id)
    await service.clone_database(project_id + 1, project_id)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await cluster.fetch("SELECT 1", **{**mine, "database": "order"})
    assert await cluster.value("SELECT 1", user="user", password="word", database="order") == 1
    for project in (project_id, project_id + 1):
        await service.stop_preview(project, remove_database=True)

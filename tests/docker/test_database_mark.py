"""The comment on a database may be written by the app that owns it: it decides nothing."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from pg import Server, environment, login, started

MARK = "SELECT left(shobj_description(oid, 'pg_database'), 4096) FROM pg_database WHERE datname = $1"
FORGERIES: dict[str, dict[str, Any]] = {
    "owner": {"owner": "somebody-else"},
    "deployment": {"deployment": "0123456789abcdef0123456789abcdef"},
    "project": {"project_id": 1},
    "session": {"session": "another"},
    "dropping": {"dropping": True},
    "temporary": {"dropping": True, "temporary": 1},
    "temporary-for-ever": {"dropping": True, "temporary": int(time.time()) + 10**9},
    "long-note": {"note": "x" * 5000},
}
TEXTS = ["", "{", "[]", "null", '{"kosuke": "preview"}', "\\'; DROP DATABASE postgres; --"]


async def decides_nothing(world: Any, server: Server, project_id: int, service: Any, other: str) -> None:
    """After the forgery all is as before: what may be done with the database, by whom, and what is listed."""
    name = f"kosuke_project_{project_id}"
    stranger = world.service(**server.settings, projects_dir=other)
    for sweeping in (service, stranger):
        assert await sweeping.remove_orphan_databases() == []
    assert await server.exists(name) == (True, True)
    assert (await service.database_info(project_id)).name == name
    await service.stop_preview(project_id)
    await service.start_preview(project_id)
    preview = await service.get_preview(project_id)
    assert preview.database == "ready", preview.database_detail
    # Data that was there is still there: nothing was dropped and made anew.
    assert [table.name for table in (await service.database_info(project_id)).tables] == ["mine"]


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_an_app_that_rewrites_its_mark_changes_nothing(
    world: Any, server: Server, project_id: int, tmp_path_factory: pytest.TempPathFactory, forgery: str
) -> None:
    service, app = await started(world, server, project_id)
    await server.fetch("CREATE TABLE mine (id int)", **app)
    mark = {**json.loads(await server.value(MARK, app["database"])), **FORGERIES[forgery]}
    await server.fetch(f"COMMENT ON DATABASE {app['database']} IS '{json.dumps(mark)}'", **app)
    await decides_nothing(world, server, project_id, service, str(tmp_path_factory.mktemp("other")))
    app = login(environment(world.container(project_id))["DATABASE_URL"])
    await server.fetch(f"COMMENT ON DATABASE {app['database']} IS '{json.dumps(mark)}'", **app)
    await service.stop_preview(project_id)
    for file in (world.folder / str(project_id)).iterdir():
        file.unlink()
    (world.folder / str(project_id)).rmdir()
    [orphan] = await service.orphan_databases()
    assert (orphan.name, orphan.project_id, orphan.session) == (app["database"], project_id, None)
    assert not orphan.dropping
    assert await service.remove_orphan_databases() == [app["database"]]
    assert await server.exists(app["database"]) == (False, False)


@pytest.mark.parametrize("text", TEXTS)
async def test_a_mark_that_is_none_any_more_changes_nothing(
    world: Any, server: Server, project_id: int, tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    service, app = await started(world, server, project_id)
    await server.fetch("CREATE TABLE mine (id int)", **app)
    quoted = text.replace("'", "''")
    await server.fetch(f"COMMENT ON DATABASE {app['database']} IS '{quoted}'", **app)
    await decides_nothing(world, server, project_id, service, str(tmp_path_factory.mktemp("other")))
    await service.drop_project_database(project_id)
    assert await server.exists(app["database"]) == (False, False)


async def test_a_comment_of_100_mb_is_not_read(
    world: Any, server: Server, project_id: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    service, app = await started(world, server, project_id)
    await server.fetch("CREATE TABLE mine (id int)", **app)
    huge = (
        f"DO $do$ BEGIN EXECUTE 'COMMENT ON DATABASE {app['database']} IS ' || quote_literal(repeat('x', 100000000));"
        " END $do$"
    )
    await server.fetch(huge, **app)
    peak = _peak()
    await decides_nothing(world, server, project_id, service, str(tmp_path_factory.mktemp("other")))
    assert _peak() - peak < 50_000, "kilobytes: the comment came over the wire"
    await server.fetch(huge, **login(environment(world.container(project_id))["DATABASE_URL"]))
    await service.stop_preview(project_id, remove_database=True)
    assert await server.exists(app["database"]) == (False, False)


def _peak() -> int:
    """The most memory that this process ever used, in kilobytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


async def test_what_a_reset_leaves_is_found_whatever_the_app_wrote_on_it(
    world: Any, server: Server, project_id: int
) -> None:
    """The database that a reset builds has the app's role as its owner, too, until somebody removes it."""
    service, app = await started(world, server, project_id)
    old = int(time.time()) - 7200
    left = {f"kosuke_passing_{age:x}_{project_id:016x}": age for age in (0, old, int(time.time()))}
    for name in left:
        await server.fetch(f"CREATE DATABASE {name} OWNER {app['user']} ALLOW_CONNECTIONS false")
        await server.fetch(f"COMMENT ON DATABASE {name} IS 'mine now'", **app)
    # Somebody gave the role a database: it is not ours to remove, whatever stands on it.
    given = f"given_{project_id}"
    await server.fetch(f"CREATE DATABASE {given} OWNER {app['user']}")
    mark = {**json.loads(await server.value(MARK, app["database"])), "dropping": True}
    await server.fetch(f"COMMENT ON DATABASE {given} IS '{json.dumps(mark)}'", **app)
    await service.orphan_databases()
    assert [(await server.exists(name))[0] for name in left] == [False, False, True]
    assert (await server.exists(given))[0]
    await server.fetch(f"DROP DATABASE {list(left)[-1]}")
    await server.fetch(f"DROP DATABASE {given}")

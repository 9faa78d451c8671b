"""Databases of sessions, whatever these are called: on a real server, and back from its comments."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pg import Server

HOSTILE = [
    "",
    "main",
    "Main",
    "feature/log-in",
    "feature/log in",
    '"; DROP DATABASE postgres; --',
    "'; DROP ROLE postgres; --",
    "a'b\"c\\d",
    "$kosuke$ $1 %s {}",
    "line\nbreak\ttab",
    "nul\0inside",
    "日本語",
    "日本",
    "🦀",
    "x" * 500,
    "x" * 500 + "y",
    "../../etc",
]


async def test_every_session_gets_a_database_of_its_own_that_tells_whose_it_is(
    world: Any, server: Server, project_id: int
) -> None:
    service = world.service(**server.settings)
    core = service._attach().core
    for session in [None, *HOSTILE]:
        await core.ensure_database(project_id, session)
        await core.ensure_database(project_id, session)
    columns = "datname, shobj_description(oid, 'pg_database'), pg_get_userbyid(datdba)"
    sql = f"SELECT {columns} FROM pg_database WHERE datname LIKE $1"
    rows = await server.fetch(sql, f"kosuke\\_project\\_{project_id}%")
    told = {}
    for name, comment, owner in rows:
        mark = json.loads(comment)
        told[mark["session"]] = name
        assert (mark["project_id"], mark["owner"]) == (project_id, world.prefix.rstrip("-"))
        assert owner == name
        assert len(name.encode()) <= 63
    assert set(told) == {None, *HOSTILE}
    assert len(set(told.values())) == len(HOSTILE) + 1
    assert told[None] == f"kosuke_project_{project_id}"
    # All of them are this owner's: a sweep finds and removes exactly these.
    names = {orphan.name: orphan.session for orphan in await service.orphan_databases()}
    assert names == {name: session for session, name in told.items()}
    assert sorted(await service.remove_orphan_databases()) == sorted(told.values())
    assert await server.fetch(sql, f"kosuke\\_project\\_{project_id}%") == []


@pytest.mark.parametrize("comment", ["our shop's data", '{"kosuke": "other"}', "{"])
async def test_a_comment_that_stood_there_is_kept_in_the_mark(
    world: Any, server: Server, project_id: int, comment: str
) -> None:
    name = f"kosuke_project_{project_id}"
    await server.fetch(f"CREATE DATABASE {name}")
    quoted = comment.replace("'", "''")
    await server.fetch(f"COMMENT ON DATABASE {name} IS '{quoted}'")
    await world.service(**server.settings)._ensure_project_database(project_id)
    sql = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1"
    assert json.loads(await server.value(sql, name))["note"] == comment

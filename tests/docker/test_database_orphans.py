"""Databases whose project is gone: found, removed on request, and nobody else's touched."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import pytest
from kosuke_docker import DatabaseError, OrphanDatabase, SettingsError
from pg import Server


async def test_only_what_is_ours_and_without_a_folder_is_removed(world: Any, server: Server, project_id: int) -> None:
    gone, kept, running, alone = (project_id + index for index in range(4))
    names = {project: f"kosuke_project_{project}" for project in range(project_id, project_id + 6)}
    service = world.service(**server.settings)
    for project in (gone, kept, running, alone):
        await service._ensure_project_database(project)
    world.project(kept)
    world.project(running)
    await service.start_preview(running)
    shutil.rmtree(world.folder / str(running))
    # A role whose database somebody dropped by hand.
    await server.fetch(f"DROP DATABASE {names[alone]}")
    # Not ours: another owner's, one without a mark, and one with a name like ours.
    other = world.service(**server.settings, preview_owner=f"other-{project_id}")
    await other._ensure_project_database(project_id + 4)
    await server.fetch(f"CREATE DATABASE {names[project_id + 5]}")
    await server.fetch(f"CREATE ROLE {names[project_id + 5]}")

    orphans = await service.orphan_databases()
    assert all(isinstance(orphan, OrphanDatabase) for orphan in orphans)
    assert [(o.name, o.project_id, o.session, o.role_only, o.dropping) for o in orphans] == [
        (names[gone], gone, None, False, False),
        (names[alone], alone, None, True, False),
    ]
    assert orphans[0].size_bytes == await server.value("SELECT pg_database_size($1::name)", names[gone])
    assert await server.exists(names[gone]) == (True, True)

    assert await service.remove_orphan_databases() == [names[gone], names[alone]]
    assert await service.orphan_databases() == []
    assert {project: await server.exists(name) for project, name in names.items()} == {
        gone: (False, False),
        kept: (True, True),
        running: (True, True),
        alone: (False, False),
        project_id + 4: (True, True),
        project_id + 5: (True, True),
    }


async def test_a_projects_folder_that_cannot_be_read_makes_nothing_an_orphan(
    world: Any, server: Server, project_id: int
) -> None:
    lost = world.folder / "lost"
    lost.mkdir()
    service = world.service(**server.settings, projects_dir=str(lost))
    await service._ensure_project_database(project_id)
    shutil.rmtree(lost)
    for call in (service.orphan_databases, service.remove_orphan_databases):
        with pytest.raises(SettingsError) as caught:
            await call()
        assert caught.value.field == "projects_dir"
    assert await server.exists(f"kosuke_project_{project_id}") == (True, True)


async def test_one_that_cannot_be_removed_does_not_keep_the_others(
    world: Any, cluster: Server, project_id: int
) -> None:
    service = world.service(**cluster.settings)
    for project in (project_id, project_id + 1):
        await service._ensure_project_database(project)
    name = f"kosuke_project_{project_id}"
    holder = await cluster.connect(database=name)
    await holder.execute("BEGIN; CREATE TABLE held (id int); PREPARE TRANSACTION 'held'")
    with pytest.raises(DatabaseError) as caught:
        await service.remove_orphan_databases()
    assert caught.value.sqlstate == "55006"
    assert await cluster.exists(f"kosuke_project_{project_id + 1}") == (False, False)
    await cluster.fetch("ROLLBACK PREPARED 'held'", database=name)
    assert await service.orphan_databases() == []
    assert await cluster.exists(name) == (False, False)


async def test_what_a_killed_reset_left_goes_once_nobody_can_still_be_building_it(
    world: Any, server: Server, project_id: int
) -> None:
    owner = f"named-{project_id}"
    service = world.service(**server.settings, preview_owner=owner)
    left = {f"kosuke_passing_{project_id}_{age}": int(time.time()) - age for age in (60, 7200)}
    for name, since in left.items():
        await server.fetch(f"CREATE DATABASE {name} ALLOW_CONNECTIONS false")
        mark = {"kosuke": "preview", "project_id": project_id, "session": None, "owner": owner, "deployment": owner}
        mark |= {"dropping": True, "temporary": since}
        await server.fetch(f"COMMENT ON DATABASE {name} IS '{json.dumps(mark)}'")
    assert await service.orphan_databases() == []
    assert {name: (await server.exists(name))[0] for name in left} == dict(zip(left, (True, False), strict=True))
    await server.fetch(f"DROP DATABASE {next(iter(left))}")


async def test_without_a_server_there_are_none(world: Any) -> None:
    service = world.service()
    assert await service.orphan_databases() == []
    with pytest.raises(DatabaseError, match="no database server is configured"):
        await service.remove_orphan_databases()
    assert (await service.sweep()).problems == []
    [problem] = (await service.sweep(remove_orphan_databases=True)).problems
    assert "no database server is configured" in problem

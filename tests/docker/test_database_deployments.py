"""Several deployments on one database server: each has its own databases, whatever the others do."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from kosuke_docker import DatabaseError
from pg import Server, environment, login

MARK = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1"
ROLE_MARK = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1"
FILE = ".kosuke-deployment"


@pytest.fixture
def other(world: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of another deployment with the default owner: nothing but its folders and containers is its own."""
    # The owner is the prefix without what stands at its end.
    return {
        "projects_dir": str(tmp_path_factory.mktemp("other")),
        "preview_container_name_prefix": f"{world.prefix}_.",
    }


async def test_two_deployments_with_the_default_owner_leave_each_others_databases_alone(
    world: Any, server: Server, project_id: int, other: dict[str, Any]
) -> None:
    name = f"kosuke_project_{project_id}"
    world.project(project_id)
    service = world.service(**server.settings)
    await service.start_preview(project_id)
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    await server.fetch("CREATE TABLE mine (id int)", **mine)
    # A container keeps its database from being an orphan: without one, only the mark does.
    await service._ensure_project_database(project_id + 1)

    theirs = world.service(**server.settings, **other)
    assert await theirs.orphan_databases() == []
    assert await theirs.remove_orphan_databases() == []
    (Path(other["projects_dir"]) / str(project_id)).mkdir()
    (Path(other["projects_dir"]) / str(project_id) / "dev.js").write_bytes(
        (world.folder / str(project_id) / "dev.js").read_bytes()
    )
    await theirs.start_preview(project_id)
    preview = await theirs.get_preview(project_id)
    assert preview.database == "unavailable"
    assert "another deployment" in preview.database_detail
    assert "POSTGRES_DATABASE_PREFIX" in preview.database_detail
    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: theirs.drop_project_database(project_id),
        lambda: theirs.stop_preview(project_id, remove_database=True),
        lambda: theirs.reset_database(project_id),
        lambda: theirs.clone_database(project_id + 2, project_id),
        lambda: theirs.clone_database(project_id, project_id + 1),
        lambda: theirs.database_info(project_id),
    ]
    for call in calls:
        with pytest.raises(DatabaseError, match="belongs to another deployment") as caught:
            await call()
        assert "POSTGRES_DATABASE_PREFIX" in str(caught.value)
    assert await server.exists(name) == (True, True)
    assert await server.exists(f"kosuke_project_{project_id + 1}") == (True, True)
    assert await server.exists(f"kosuke_project_{project_id + 2}") == (False, False)
    # Data and password are as they were.
    assert await server.fetch("SELECT * FROM mine", **mine) == []
    assert [orphan.name for orphan in await service.orphan_databases()] == [f"kosuke_project_{project_id + 1}"]


async def test_a_role_that_another_deployment_left_is_not_taken(
    world: Any, server: Server, project_id: int, other: dict[str, Any]
) -> None:
    name = f"kosuke_project_{project_id}"
    await world.service(**server.settings)._ensure_project_database(project_id)
    await server.fetch(f"DROP DATABASE {name}")
    before = await server.value(ROLE_MARK, name)
    theirs = world.service(**server.settings, **other)
    await theirs._ensure_project_database(project_id)
    with pytest.raises(DatabaseError, match="belongs to another deployment"):
        await theirs.drop_project_database(project_id)
    assert await server.exists(name) == (False, True)
    assert await server.value(ROLE_MARK, name) == before


async def test_a_prefix_of_its_own_gives_each_deployment_its_databases(
    world: Any, server: Server, project_id: int, other: dict[str, Any]
) -> None:
    world.project(project_id)
    folder = Path(other["projects_dir"]) / str(project_id)
    folder.mkdir()
    (folder / "dev.js").write_bytes((world.folder / str(project_id) / "dev.js").read_bytes())
    first = world.service(**server.settings, postgres_database_prefix="shop_a_")
    second = world.service(**server.settings, **other, postgres_database_prefix="shop_b_")
    for service, prefix in ((first, "shop_a_"), (second, "shop_b_")):
        await service.start_preview(project_id)
        preview = await service.get_preview(project_id)
        assert (preview.database, preview.database_name) == ("ready", f"{prefix}{project_id}")
        assert (await service.database_info(project_id)).owner == f"{prefix}{project_id}"
    mine = login(environment(world.container(project_id))["DATABASE_URL"])
    assert (mine["user"], mine["database"]) == (f"shop_a_{project_id}", f"shop_a_{project_id}")
    await second.stop_preview(project_id, remove_database=True)
    assert await server.exists(f"shop_b_{project_id}") == (False, False)
    assert await server.value("SELECT 1", **mine) == 1


async def test_what_has_an_earlier_prefix_is_still_found_once_its_project_is_gone(
    world: Any, server: Server, project_id: int
) -> None:
    await world.service(**server.settings)._ensure_project_database(project_id)
    later = world.service(**server.settings, postgres_database_prefix="later_")
    await later._ensure_project_database(project_id)
    names = [f"kosuke_project_{project_id}", f"later_{project_id}"]
    assert [orphan.name for orphan in await later.orphan_databases()] == names
    assert await later.remove_orphan_databases() == names
    for name in names:
        assert await server.exists(name) == (False, False)


async def test_all_workers_of_a_deployment_are_one_also_when_they_begin_at_once(
    world: Any, server: Server, project_id: int, run_python: Any
) -> None:
    script = """
import asyncio, sys
from kosuke_docker import DockerService

async def main():
    async with DockerService() as service:
        await service._ensure_project_database(int(sys.stdin.readline()))

asyncio.run(main())
"""
    processes = [run_python(script, world.settings(**server.settings)) for _ in range(4)]
    for index, process in enumerate(processes):
        process.stdin.write(f"{project_id + index}\n")
    for process in processes:
        process.stdin.flush()
    for process in processes:
        output, errors = await asyncio.to_thread(process.communicate)
        assert process.returncode == 0, (output, errors)
    text = (world.folder / FILE).read_text()
    assert len(text.strip()) == 32
    for index in range(4):
        for sql in (MARK, ROLE_MARK):
            mark = json.loads(await server.value(sql, f"kosuke_project_{project_id + index}"))
            assert mark["deployment"] == text.strip()
    # One that comes later is the same, and nothing else was left in the folder.
    later = world.service(**server.settings)
    assert len(await later.remove_orphan_databases()) == 4
    assert [path.name for path in world.folder.iterdir()] == [FILE]


@pytest.mark.parametrize("kind", ["garbage", "long", "symlink", "fifo", "folder"])
async def test_a_file_that_is_no_identity_is_told_and_not_followed(
    world: Any, server: Server, project_id: int, kind: str
) -> None:
    path = world.folder / FILE
    if kind == "symlink":
        target = world.folder / "elsewhere"
        target.write_text("0123456789abcdef0123456789abcdef\n")
        path.symlink_to(target)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("not one" if kind == "garbage" else "0123456789abcdef" * 100_000)
    service = world.service(**server.settings)
    async with asyncio.timeout(10):
        with pytest.raises(DatabaseError, match=FILE) as caught:
            await service.database_info(project_id)
        assert "PREVIEW_OWNER" in str(caught.value)
        await service._ensure_project_database(project_id)
    assert await server.exists(f"kosuke_project_{project_id}") == (False, False)


async def test_a_folder_that_cannot_be_written_is_told_with_the_way_out(
    world: Any, server: Server, project_id: int
) -> None:
    readonly = {**server.settings, "projects_dir": "/sys/kernel"}
    with pytest.raises(DatabaseError, match="PROJECTS_DIR") as caught:
        await world.service(**readonly).database_info(project_id)
    assert "PREVIEW_OWNER" in str(caught.value)
    named = world.service(**readonly, preview_owner=f"named-{project_id}")
    await named._ensure_project_database(project_id)
    assert (await named.database_info(project_id)).name == f"kosuke_project_{project_id}"


async def old_state(server: Server, name: str, mark: dict[str, Any] | None) -> None:
    """What an earlier version left: a role that owns its database, each with a mark that names no deployment."""
    await server.fetch(f"CREATE ROLE {name} LOGIN")
    await server.fetch(f"CREATE DATABASE {name} OWNER {name}")
    await server.fetch("CREATE TABLE old (id int)", database=name)
    if mark is not None:
        for kind in ("DATABASE", "ROLE"):
            await server.fetch(f"COMMENT ON {kind} {name} IS '{json.dumps(mark)}'")


@pytest.mark.parametrize("marked", [True, False], ids=["marked", "unmarked"])
async def test_what_an_earlier_version_left_goes_to_whom_starts_it_and_is_never_an_orphan(
    world: Any, server: Server, project_id: int, other: dict[str, Any], marked: bool
) -> None:
    name, owner = f"kosuke_project_{project_id}", world.prefix.rstrip("-")
    mark = {"kosuke": "preview", "project_id": project_id, "session": None, "owner": owner}
    await old_state(server, name, mark if marked else None)
    mine, theirs = world.service(**server.settings), world.service(**server.settings, **other)
    for service in (mine, theirs):
        assert await service.orphan_databases() == []
        assert await service.remove_orphan_databases() == []
    world.project(project_id)
    await mine.start_preview(project_id)
    assert (await mine.get_preview(project_id)).database == "ready"
    assert [table.name for table in (await mine.database_info(project_id)).tables] == ["old"]
    deployment = (world.folder / FILE).read_text().strip()
    for sql in (MARK, ROLE_MARK):
        assert json.loads(await server.value(sql, name)) == {**mark, "deployment": deployment}
    with pytest.raises(DatabaseError, match="belongs to another deployment"):
        await theirs.drop_project_database(project_id)
    await mine.stop_preview(project_id, remove_database=True)
    assert await server.exists(name) == (False, False)


async def test_an_owner_that_was_set_counts_as_the_deployment(
    world: Any, server: Server, project_id: int, other: dict[str, Any]
) -> None:
    owner = f"named-{project_id}"
    name = f"kosuke_project_{project_id}"
    await old_state(server, name, {"kosuke": "preview", "project_id": project_id, "session": None, "owner": owner})
    await world.service(**server.settings, preview_owner=owner)._ensure_project_database(project_id + 1)
    # Another machine's folder, the same name: the operator said that these are one.
    elsewhere = world.service(**{**server.settings, **other, "preview_owner": owner})
    names = [name, f"kosuke_project_{project_id + 1}"]
    assert [orphan.name for orphan in await elsewhere.orphan_databases()] == names
    # The same name that is only derived is another deployment.
    derived = {**server.settings, "preview_container_name_prefix": f"{owner}-"}
    stranger = world.service(**derived)
    assert await stranger.remove_orphan_databases() == []
    with pytest.raises(DatabaseError, match="belongs to another deployment"):
        await stranger.drop_project_database(project_id + 1)
    assert await elsewhere.remove_orphan_databases() == names
    assert not (Path(other["projects_dir"]) / FILE).exists()

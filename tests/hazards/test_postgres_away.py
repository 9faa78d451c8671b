"""A database server that is down, frozen, full or closed to us: seen on the preview, or raised where it is required."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pg
import pytest
import services
from kosuke_docker import DatabaseError
from pg import Server, environment, login

DISK_MEGABYTES = 64


async def told(world: Any, settings: dict[str, Any], project_id: int) -> str:
    """Starts with and without POSTGRES_REQUIRED, and gives the reason that both tell."""
    if not (world.folder / str(project_id)).exists():
        world.project(project_id)
    strict = world.service(**settings, postgres_required=True)
    with pytest.raises(DatabaseError) as caught:
        await strict.start_preview(project_id)
    assert world.containers() == []
    assert caught.value.preview == project_id
    assert caught.value.step

    service = world.service(**settings)
    await service.start_preview(project_id)
    preview = await service.get_preview(project_id)
    assert (preview.running, preview.database, preview.database_isolation) == (True, "unavailable", None)
    label = world.container(project_id).labels["kosuke.database_detail"]
    assert preview.database_detail == label
    assert settings["postgres_password"] not in f"{label}{caught.value!r}{caught.value.__dict__}"
    # Another process reads it from the container.
    assert (await world.service(**settings, preview_probe_ttl=0.5).get_preview(project_id)).database_detail == label
    await service.stop_preview(project_id)
    return str(label)


async def recovered(world: Any, server: Server, project_id: int) -> None:
    """The next start has a database again."""
    service = world.service(**server.settings)
    await service.start_preview(project_id)
    preview = await service.get_preview(project_id)
    assert preview.database == "ready", preview.database_detail
    assert await server.value("SELECT 1", **login(environment(world.container(project_id))["DATABASE_URL"])) == 1
    await service.stop_preview(project_id)


@contextlib.asynccontextmanager
async def down(server: Server) -> AsyncIterator[None]:
    home = await server.home()
    ctl = [str(services.postgres_programs() / "pg_ctl"), "-D", str(home), "-w"]
    owner = home.stat()

    def run(*command: str) -> None:
        subprocess.run(
            [*ctl, *command], user=owner.st_uid, group=owner.st_gid, cwd=home, check=True, stdout=subprocess.DEVNULL
        )

    await asyncio.to_thread(run, "stop", "-m", "fast")
    try:
        yield
    finally:
        await asyncio.to_thread(run, "start", "-l", str(home.parent / "log"))


async def test_down_and_up_again(world: Any, project_id: int) -> None:
    with pg.cluster() as server:
        async with down(server):
            assert "connect" in await told(world, server.settings, project_id)
        await recovered(world, server, project_id)


async def test_a_preview_that_runs_without_a_database_gets_one_from_a_restart(world: Any, project_id: int) -> None:
    world.project(project_id)
    with pg.cluster() as server:
        service = world.service(**server.settings)
        async with down(server):
            await service.start_preview(project_id, {"MINE": "a=b"})
            first = world.container(project_id)
            preview = await service.get_preview(project_id)
            assert preview.database == "unavailable"
            assert "restart_preview()" in preview.database_detail
            # Still away: a plain restart.
            await service.restart_preview(project_id)
            assert world.container(project_id).id == first.id
            assert (await service.get_preview(project_id)).database == "unavailable"
        # Any process can do it.
        other = world.service(**server.settings, preview_probe_ttl=0.5)
        await other.restart_preview(project_id)
        [container] = world.containers()
        assert container.id != first.id
        assert "MINE=a=b" in container.attrs["Config"]["Env"]
        for told_by in (service, other):
            preview = await told_by.get_preview(project_id)
            assert (preview.running, preview.database) == (True, "ready"), preview.database_detail
        assert await server.value("SELECT 1", **login(environment(container)["DATABASE_URL"])) == 1
        # With a database it is the same container that runs once more, also while the server is away.
        await service.restart_preview(project_id)
        async with down(server):
            await other.restart_preview(project_id)
            assert world.container(project_id).id == container.id
        assert await server.value("SELECT 1", **login(environment(container)["DATABASE_URL"])) == 1


async def test_a_wrong_password(world: Any, server: Server, project_id: int) -> None:
    detail = await told(world, {**server.settings, "postgres_password": "wrong-secret"}, project_id)
    assert "password authentication failed" in detail
    assert "28P01" in detail
    await recovered(world, server, project_id)


async def test_no_connections_left(world: Any, project_id: int) -> None:
    with pg.cluster("max_connections = 10", "superuser_reserved_connections = 0") as server:
        held: list[asyncpg.Connection] = []
        with contextlib.suppress(asyncpg.TooManyConnectionsError):
            while True:
                held.append(await server.connect())
        detail = await told(world, server.settings, project_id)
        assert "53300" in detail
        for connection in held:
            await connection.close()
        await recovered(world, server, project_id)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    # Not pytest's own folder: only root may enter that.
    folder = Path(tempfile.mkdtemp(prefix="kosuke-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m,mode=755", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
    folder.rmdir()


async def test_a_full_disk(world: Any, project_id: int, small_disk: Path) -> None:
    with pg.cluster("min_wal_size = 32MB", "max_wal_size = 32MB", folder=small_disk) as server:
        filling = (await server.home()).parent / "filling"
        statistics = os.statvfs(small_disk)
        # A new database takes seven megabytes; the server itself goes on with two.
        filling.write_bytes(b"\0" * max(0, statistics.f_bavail * statistics.f_frsize - 2_000_000))
        detail = await told(world, server.settings, project_id)
        assert "53100" in detail, detail
        assert await server.exists(f"kosuke_project_{project_id}") == (False, False)
        filling.unlink()
        await recovered(world, server, project_id)


@contextlib.asynccontextmanager
async def frozen(server: Server) -> AsyncIterator[None]:
    postmaster = await server.postmaster()
    os.kill(postmaster, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(postmaster, signal.SIGCONT)


async def test_a_frozen_server_is_not_waited_for_without_end(world: Any, project_id: int) -> None:
    with pg.cluster() as server:
        async with frozen(server):
            began = time.monotonic()
            detail = await told(world, server.settings, project_id)
            assert time.monotonic() - began < 40
        assert "no answer within" in detail
        await recovered(world, server, project_id)


async def test_frozen_in_the_middle_of_a_statement(world: Any, project_id: int) -> None:
    """The session is there, its process stands still: neither the answer nor the goodbye comes."""
    with pg.cluster() as server:
        locker = await server.connect()
        world.project(project_id)
        service = world.service(**server.settings)
        await service._ensure_project_database(project_id)
        await locker.execute(f"BEGIN; ALTER ROLE kosuke_project_{project_id} CONNECTION LIMIT 1")
        start = asyncio.create_task(service.start_preview(project_id))
        sql = "SELECT pid FROM pg_stat_activity WHERE application_name = 'kosuke-docker' AND wait_event_type = 'Lock'"
        [[pid]] = await server.until(sql)
        os.kill(pid, signal.SIGSTOP)
        try:
            async with asyncio.timeout(60):
                await start
            preview = await service.get_preview(project_id)
            assert (preview.running, preview.database) == (True, "unavailable")
        finally:
            os.kill(pid, signal.SIGCONT)
        await locker.execute("ROLLBACK")
        await locker.close()
        await service.stop_preview(project_id)
        await recovered(world, server, project_id)
        await server.until(pg.LEFT, some=False)

"""What a preview may do: each wall by an attack from inside that fails, and whose files it makes."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import hostile
import pytest
import services
from kosuke_docker import DockerService, ProjectFolderError
from relay import relay

ENGINE = services.socket_path()

OWNER = 1234
SETUID = [
    "fs.writeFileSync('/app/a', ''); fs.chmodSync('/app/a', 0o4755)",
    "fs.writeFileSync('/app/b', ''); fs.chmodSync('/app/b', 0o2755)",
    "fs.writeFileSync('/app/c', ''); fs.fchmodSync(fs.openSync('/app/c'), 0o4755)",
    "fs.closeSync(fs.openSync('/app/d', 'w', 0o4755))",
    "fs.mkdtempSync('/app/e'); sh('cp /bin/sh /app/e.sh && chmod u+s /app/e.sh')",
]


@pytest.fixture
def folder(world: Any) -> Path:
    """The folder of project 7, which others than root can reach."""
    made: Path = world.project(7, "hostile.js")
    for parent in (made, *made.parents[:4]):
        parent.chmod(parent.stat().st_mode | 0o011)
    return made


def give(folder: Path, uid: int) -> None:
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, uid)


async def started(world: Any, **changes: Any) -> tuple[DockerService, str]:
    service = world.service(preview_command=hostile.COMMAND, **changes)
    return service, await service.start_preview(7, wait="ready")


async def refused(url: str, script: str) -> str:
    with pytest.raises(hostile.Refused) as caught:
        await hostile.run(url, script)
    return str(caught.value)


@pytest.mark.parametrize("uid", [0, OWNER], ids=["root's folder", "a user's folder"])
async def test_no_setuid_file_comes_into_the_hosts_folder(world: Any, folder: Path, uid: int) -> None:
    give(folder, uid)
    _, url = await started(world)
    assert await hostile.run(url, "return process.getuid()") == uid
    for script in SETUID:
        assert "EPERM" in (answer := await refused(url, script)) or "not permitted" in answer
    modes = [path.stat().st_mode for path in folder.rglob("*")]
    assert len(modes) > len(SETUID)
    assert not any(mode & (stat.S_ISUID | stat.S_ISGID) for mode in modes)
    # Other modes can be set.
    await hostile.run(url, "fs.writeFileSync('/app/x', ''); fs.chmodSync('/app/x', 0o1755)")
    assert stat.S_IMODE((folder / "x").stat().st_mode) == 0o1755


async def test_a_setuid_file_that_is_there_gains_nothing_and_loses_the_bit_when_written(
    world: Any, folder: Path
) -> None:
    old = folder / "old"
    old.write_bytes(b"\x7fELF")
    old.chmod(0o4755)
    _, url = await started(world)
    await hostile.run(url, "fs.appendFileSync('/app/old', 'x')")
    assert not old.stat().st_mode & stat.S_ISUID
    status = await hostile.run(url, "return fs.readFileSync('/proc/self/status', 'utf8')")
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status


@pytest.mark.parametrize(
    "line",
    [
        "mknod /app/disk b 8 0",
        "mknod /tmp/memory c 1 1",
        "mount -t tmpfs none /mnt",
        "mount -o remount,rw /proc/sys",
        "mount --bind /etc /app",
        "unshare -Ur true",
        "chroot /app true",
        "hostname other",
    ],
)
async def test_root_inside_is_not_root(world: Any, folder: Path, line: str) -> None:
    _, url = await started(world)
    answer = await refused(url, f"return sh({line!r})")
    assert "not permitted" in answer or "ermission denied" in answer
    assert not (folder / "disk").exists()


async def test_root_inside_has_the_capabilities_of_a_dev_server(world: Any, folder: Path) -> None:
    _, url = await started(world)
    status = await hostile.run(url, "return fs.readFileSync('/proc/self/status', 'utf8')")
    # CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID: bits 0, 1, 3, 5, 6, 7.
    assert {line for line in status.splitlines() if line.startswith(("CapEff", "CapBnd"))} == {
        "CapEff:\t00000000000000eb",
        "CapBnd:\t00000000000000eb",
    }


async def test_the_engines_socket_is_not_inside(world: Any, folder: Path) -> None:
    _, url = await started(world)
    found = "return sh('find / -xdev -name \"*docker*.sock\"; find /app /run /var/run -type s; true')"
    assert await hostile.run(url, found) == ""


async def test_a_folder_that_holds_the_engines_socket_is_refused(
    world: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = folder / "run" / "engine.sock"
    inside.parent.mkdir()

    async def serve(*connection: Any) -> None:
        await relay(connection, await asyncio.open_unix_connection(ENGINE))

    async with await asyncio.start_unix_server(serve, inside):
        monkeypatch.setenv("DOCKER_HOST", f"unix://{inside}")
        async with DockerService(world.settings()) as service:
            with pytest.raises(ProjectFolderError, match="holds the engine's socket") as caught:
                await service.start_preview(7)
    assert caught.value.path == str(folder)
    assert world.containers() == []


async def test_files_belong_to_the_folders_owner(world: Any, folder: Path) -> None:
    give(folder, OWNER)
    _, url = await started(world)
    assert world.container(7).attrs["Config"]["User"] == f"{OWNER}:{OWNER}"
    await hostile.run(
        url, "fs.mkdirSync('/app/.next/cache', { recursive: true }); fs.writeFileSync('/app/.next/x', '')"
    )
    made = folder / ".next" / "x"
    assert (made.stat().st_uid, made.stat().st_gid) == (OWNER, OWNER)
    # Its owner can edit and delete it.
    edit = ["sh", "-c", f"echo edited > {made} && rm -r {made.parent}"]
    await asyncio.to_thread(subprocess.run, edit, user=OWNER, group=OWNER, check=True)
    assert not made.parent.exists()


@pytest.mark.parametrize("uid", [0, OWNER], ids=["root", "a user"])
async def test_npm_can_install(world: Any, folder: Path, uid: int) -> None:
    package = folder / "package"
    package.mkdir()
    (package / "package.json").write_text(
        '{"name": "one", "version": "1.0.0", "scripts": {"install": "id -u > /app/by"}}'
    )
    (folder / "package.json").write_text('{"name": "app", "version": "1.0.0"}')
    give(folder, uid)
    _, url = await started(world)
    await hostile.run(url, "sh('cd /app && npm pack ./package && npm install --no-audit --no-fund ./one-1.0.0.tgz')")
    assert (folder / "node_modules" / "one" / "package.json").stat().st_uid == uid
    assert (folder / "by").read_text().strip() == str(uid)


@pytest.mark.parametrize("uid", [0, OWNER], ids=["root's folder", "a user's folder"])
async def test_what_the_older_service_left_as_root_still_works(world: Any, folder: Path, uid: int, until: Any) -> None:
    give(folder, uid)
    for name in ("node_modules", ".next"):
        (folder / name).mkdir()
        (folder / name / "old").write_text("of root")
    service, url = await started(world)
    for name in ("node_modules", ".next"):
        await hostile.run(url, f"fs.appendFileSync('/app/{name}/old', '!'); fs.writeFileSync('/app/{name}/new', '')")
    assert "EPERM" in await refused(url, SETUID[0])
    if uid == 0:
        return
    # Once all of it is the owner's, so is what is made from then on.
    await service.stop_preview(7)
    give(folder, uid)
    url = await service.start_preview(7, wait="ready")
    await hostile.run(url, "fs.appendFileSync('/app/.next/old', '!'); fs.writeFileSync('/app/.next/newer', '')")
    assert (folder / ".next" / "newer").stat().st_uid == uid


@pytest.mark.parametrize(
    ("user", "ids", "home"),
    [
        ("root", [0, 0], "/root"),
        ("image", [0, 0], "/root"),
        ("77:78", [77, 78], "/tmp"),
        ("worker", [999, 999], "/root"),
    ],
)
async def test_the_user_can_be_chosen(world: Any, folder: Path, user: str, ids: list[int], home: str) -> None:
    give(folder, OWNER)
    _, url = await started(world, preview_user=user)
    script = "return [process.getuid(), process.getgid(), process.env.HOME]"
    assert await hostile.run(url, script) == [*ids, home]


async def test_the_image_can_be_read_only(world: Any, folder: Path) -> None:
    _, url = await started(world, preview_read_only=True)
    for place in ("/usr/x", "/root/x", "/x"):
        assert await refused(url, f"fs.writeFileSync('{place}', '')") == "EROFS"
    for place in ("/tmp/x", "/run/x", "/var/tmp/x", "/app/x"):
        await hostile.run(url, f"fs.writeFileSync('{place}', '')")
    assert await hostile.run(url, "return process.env.HOME") == "/tmp"

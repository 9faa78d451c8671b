"""What a preview may use: each limit by inspect, and by an attack from inside that fails."""

from __future__ import annotations

import asyncio
import contextlib
import urllib.error
from pathlib import Path
from typing import Any

import hostile
import pytest
from dev_app import tell
from kosuke_docker import InvalidInputError, Limits

OFF: dict[str, Any] = {
    "preview_memory": 0,
    "preview_cpu_shares": 0,
    "preview_pids": 0,
    "preview_log_size": 0,
    "preview_user": "image",
    "preview_capabilities": None,
    "preview_no_new_privileges": False,
    "preview_refuse_setuid": False,
}
GIB = 1 << 30
# Whoever cannot fork any more ends: the others stay.
FORK = "while :; do (while :; do sleep 60 & done); done"
BOMB = f"require('child_process').spawn('sh', ['-c', {FORK!r}], {{ detached: true }}).unref();"


def environment(container: Any) -> dict[str, str]:
    return dict(line.split("=", 1) for line in container.attrs["Config"]["Env"])


def log_bytes(container: Any) -> int:
    """What the engine keeps of its output, on the host's disk."""
    log = Path(container.attrs["LogPath"])
    return sum(file.stat().st_size for file in log.parent.glob(f"{log.name}*"))


async def test_a_preview_has_every_limit_by_default(world: Any) -> None:
    world.project(7)
    await world.service().start_preview(7)
    container = world.container(7)
    host = container.attrs["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (2 * GIB, 2 * GIB)
    assert (host["CpuShares"], host["NanoCpus"], host["PidsLimit"]) == (512, 0, 512)
    assert host["CapDrop"] == ["ALL"]
    assert sorted(host["CapAdd"]) == ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert any(option.startswith("seccomp={") for option in host["SecurityOpt"])
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10485760", "max-file": "3"}}
    assert host["Ulimits"] == [{"Name": "core", "Hard": 0, "Soft": 0}]
    assert (host["Privileged"], host["ReadonlyRootfs"]) == (False, False)
    assert environment(container)["NODE_OPTIONS"] == "--max-old-space-size=1536"


async def test_each_limit_has_a_knob(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service(**OFF)
    await service.start_preview(7)
    container = world.container(7)
    host = container.attrs["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["CpuShares"], host["PidsLimit"]) == (0, 0, 0, None)
    assert (host["CapDrop"], host["CapAdd"], host["SecurityOpt"]) == (None, None, None)
    assert host["LogConfig"]["Config"] == {}
    assert "NODE_OPTIONS" not in environment(container)
    await service.stop_preview(7)

    service = world.service(
        preview_memory="512m",
        preview_cpu_shares=256,
        preview_cpus=1.5,
        preview_pids=100,
        preview_log_size="3m",
        preview_capabilities=[],
        preview_read_only=True,
    )
    await service.start_preview(7)
    container = world.container(7)
    host = container.attrs["HostConfig"]
    assert (host["Memory"], host["CpuShares"], host["PidsLimit"]) == (GIB // 2, 256, 100)
    assert host["NanoCpus"] == 1_500_000_000
    assert host["LogConfig"]["Config"]["max-size"] == "1048576"
    assert (host["CapDrop"], host["CapAdd"], host["ReadonlyRootfs"]) == (["ALL"], None, True)
    assert environment(container)["NODE_OPTIONS"] == "--max-old-space-size=384"
    await until(service, 7, "ready")


async def test_one_preview_may_have_limits_of_its_own_and_a_restart_keeps_them(world: Any) -> None:
    for project in (7, 8, 9):
        world.project(project)
    service = world.service()
    await service.start_preview(7, limits=Limits(memory="1g", cpus=0.5, pids=64))
    await service.start_preview(8, limits=Limits(pids=0))
    await service.start_preview(9, limits=Limits(memory=0))
    await service.restart_preview(7)
    # What runs keeps what it has.
    await service.start_preview(7, limits=Limits(memory="512m"))
    host = world.container(7).attrs["HostConfig"]
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (GIB, 500_000_000, 64)
    assert environment(world.container(7))["NODE_OPTIONS"] == "--max-old-space-size=768"
    host = world.container(8).attrs["HostConfig"]
    assert (host["Memory"], host["PidsLimit"]) == (2 * GIB, None)
    assert world.container(9).attrs["HostConfig"]["Memory"] == 0
    assert "NODE_OPTIONS" not in environment(world.container(9))


@pytest.mark.parametrize(
    ("limits", "field"),
    [
        (Limits(memory="lots"), "limits.memory"),
        (Limits(memory=1), "limits.memory"),
        (Limits(memory=-1), "limits.memory"),
        (Limits(cpus=0.001), "limits.cpus"),
        (Limits(cpus=float("nan")), "limits.cpus"),
        (Limits(pids=-1), "limits.pids"),
    ],
)
async def test_a_wrong_limit_is_named_before_anything_is_made(world: Any, limits: Limits, field: str) -> None:
    world.project(7)
    with pytest.raises(InvalidInputError) as caught:
        await world.service(preview_network="kosuke-test-never-made").start_preview(7, limits=limits)
    assert caught.value.field == field
    assert world.containers() == []
    assert world.engine.networks.list(names=["kosuke-test-never-made"]) == []


async def test_node_options_of_the_caller_or_the_image_are_left_alone(world: Any, image: str) -> None:
    for project in (7, 8):
        world.project(project)
    await world.service().start_preview(7, {"NODE_OPTIONS": "--no-warnings"})
    assert environment(world.container(7))["NODE_OPTIONS"] == "--no-warnings"
    own = f"{world.prefix}image"
    source = world.engine.containers.create(image)
    try:
        source.commit(own, changes=["ENV NODE_OPTIONS=--trace-uncaught"])
        await world.service(preview_default_image=own).start_preview(8)
        assert environment(world.container(8))["NODE_OPTIONS"] == "--trace-uncaught"
    finally:
        source.remove()
        world.container(8).remove(force=True)
        world.engine.images.remove(own)


async def test_a_fork_bomb_is_held_and_a_neighbour_answers(world: Any, until: Any) -> None:
    world.project(7, "hostile.js")
    world.project(8)
    bomber, neighbour = world.service(preview_command=hostile.COMMAND), world.service()
    url = await bomber.start_preview(7, wait="ready")
    await neighbour.start_preview(8, wait="ready")
    most = 0
    # It cannot answer any more, once it may start nothing.
    with contextlib.suppress(urllib.error.URLError, TimeoutError, ConnectionError, hostile.Refused):
        await hostile.run(url, BOMB, timeout=5)
    for _ in range(20):
        most = max(most, (await asyncio.to_thread(world.container(7).stats, stream=False))["pids_stats"]["current"])
        preview = await neighbour.get_preview(8)
        assert preview is not None
        assert (preview.phase, preview.is_responding) == ("ready", True)
        if most >= 400:
            break
    assert 400 <= most <= 512
    await bomber.stop_preview(7)
    assert (await until(neighbour, 8, "ready")).is_responding


async def test_a_memory_hog_is_killed_and_told(world: Any, until: Any) -> None:
    for project in (7, 8):
        world.project(project)
    service = world.service()
    url = await service.start_preview(7, wait="ready")
    await service.start_preview(8, wait="ready")
    await tell(url, "eat")
    await asyncio.to_thread(world.container(7).wait, timeout=60)
    async with asyncio.timeout(30):
        # Engine 28 tells of the OOM kill before the end.
        while (preview := await service.get_preview(7)) is None or preview.running:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (preview.phase, preview.exit_code, preview.oom_count) == ("oom_killed", 137, 1)
    assert (await until(service, 8, "ready")).is_responding


async def test_output_without_end_leaves_the_disk_flat(world: Any, until: Any) -> None:
    world.project(7, "hostile.js")
    service = world.service(preview_command=hostile.COMMAND, preview_log_size="3m")
    url = await service.start_preview(7, wait="ready")
    seen: list[str] = []

    async def follow() -> None:
        async for line in service.logs(7, tail=0):
            seen.append(line.text)
            if line.text == "the last line":
                return

    following = asyncio.create_task(follow())
    flood = "for (let n = 0; n < 30; n++) {{ process.stdout.write(('x'.repeat(1023) + '\\n').repeat(1024)); {pause} }}"
    await hostile.run(url, flood.format(pause="await new Promise((done) => setTimeout(done, 20));"))
    assert log_bytes(world.container(7)) <= 3.3 * (1 << 20)
    await hostile.run(url, "console.log('the last line')")
    await asyncio.wait_for(following, 30)
    assert [line.text async for line in service.logs(7, follow=False, tail=1)] == ["the last line"]
    # What follows the output for errors goes on, too.
    await hostile.run(url, r"console.error(' \u2a2f ./app/page.js\nError: Expected \'>\', got \';\'\n')")
    preview = await until(service, 7, "compile_error")
    assert [error.file for error in preview.errors] == ["app/page.js"]

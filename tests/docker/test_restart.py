"""restart_preview and is_container_running on the real engine."""

from __future__ import annotations

import asyncio
from typing import Any

from kosuke_docker import PreviewFailedError


async def test_a_restart_keeps_the_container_and_its_environment(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"MINE": "yes"}, wait="ready")
    before = world.container(7)
    url = await service.restart_preview(7)
    after = world.container(7)
    assert after.id == before.id
    assert after.attrs["State"]["StartedAt"] > before.attrs["State"]["StartedAt"]
    assert "MINE=yes" in after.attrs["Config"]["Env"]
    assert (await until(service, 7, "ready")).url == url
    [binding] = after.attrs["NetworkSettings"]["Ports"]["3000/tcp"]
    assert url == f"http://localhost:{binding['HostPort']}"


async def test_a_restart_of_nothing_is_a_start_and_of_an_exited_one_a_restart(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service()
    await service.restart_preview(7)
    first = world.container(7)
    first.kill()
    await until(service, 7, "exited")
    await service.restart_preview(7)
    assert world.container(7).id == first.id
    assert await service.is_container_running(7) is True


async def test_a_restart_that_ends_at_once_is_told(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service(preview_command=["sh", "-c", "test -e /app/ran && exit 5; touch /app/ran; node dev.js"])
    await service.start_preview(7, wait="ready")
    try:
        await service.restart_preview(7)
    except PreviewFailedError as error:
        code = error.exit_code
    else:  # It lived just long enough for its port to be read.
        code = (await until(service, 7, "exited")).exit_code
    assert code == 5


async def test_a_stop_called_after_a_restart_comes_after_it(world: Any) -> None:
    world.project(7)
    service = world.service()
    for _ in range(2):  # Without a container, and with one.
        restart = asyncio.create_task(service.restart_preview(7))
        await asyncio.sleep(0)
        stop = asyncio.create_task(service.stop_preview(7))
        await asyncio.gather(restart, stop)
        assert world.containers() == []
        await service.start_preview(7)


async def test_a_restart_never_looks_like_a_crash(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, wait="ready")
    restart = asyncio.create_task(service.restart_preview(7))
    while not restart.done():
        preview = await service.get_preview(7)
        assert preview is not None
        assert (preview.running, preview.exit_code) == (True, None), preview
        assert preview.url is not None
    await restart


async def test_running_or_not(world: Any) -> None:
    world.project(7)
    service = world.service()
    assert await service.is_container_running(7) is False
    await service.start_preview(7)
    assert await service.is_container_running(7) is True
    assert await world.service().is_container_running(7) is True
    world.container(7).kill()
    assert await service.is_container_running(7) is False


async def test_calling_anything_twice_is_harmless(world: Any) -> None:
    world.project(7)
    service = world.service()
    for call in (service.start_preview, service.restart_preview, service.stop_preview):
        await asyncio.gather(call(7), call(7))
    await asyncio.gather(service.stop_all_previews(), service.stop_all_previews())
    await asyncio.gather(service.ensure_image(), service.ensure_image())
    await asyncio.gather(service.aclose(), service.aclose())
    assert world.containers() == []

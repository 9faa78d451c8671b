"""get_preview, get_preview_status and list_previews on the real engine."""

from __future__ import annotations

import asyncio
import urllib.request
from typing import Any

import pytest
from kosuke_docker import ContainerInfo


async def test_phases_come_in_order(world: Any) -> None:
    world.project(7)
    service = world.service()
    start = asyncio.create_task(service.start_preview(7, {"LISTEN_MS": "600", "COMPILE_MS": "900"}))
    seen: list[str] = []
    while not seen or seen[-1] != "ready":
        preview = await service.get_preview(7)
        if preview is not None and (not seen or seen[-1] != preview.phase):
            seen.append(preview.phase)
            assert preview.running == (preview.phase in ("starting", "compiling", "ready"))
            assert (preview.url is not None) == preview.running
        await asyncio.sleep(0.02)
    await start
    # The engine answers no inspect while it starts a container, so `creating` may be too short to be seen.
    assert [phase for phase in seen if phase != "creating"] == ["starting", "compiling", "ready"]


async def test_compilation_is_complete_only_after_the_page_answered(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"COMPILE_MS": "4000"})
    preview = await until(service, 7, "compiling")
    assert (preview.compilation_complete, preview.is_responding) == (False, False)
    preview = await until(service, 7, "ready")
    assert (preview.compilation_complete, preview.is_responding) == (True, True)


async def test_one_warm_up_request_is_enough(world: Any, until: Any) -> None:
    """Nobody asks for the status: the cache learns it all the same."""
    world.project(7)
    service = world.service()
    url = await service.start_preview(7)
    async with asyncio.timeout(30):
        while not service.containers[7].compilation_complete:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.05)

    def requests() -> int:
        with urllib.request.urlopen(f"{url}/requests", timeout=5) as response:
            return int(response.read())

    assert await asyncio.to_thread(requests) == 1


async def test_a_server_that_says_nothing_is_found(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"READY": "none", "LISTEN_MS": "700"})
    assert (await until(service, 7, "ready")).compilation_complete is True


@pytest.mark.parametrize(
    "line",
    [
        "ready - started server on 0.0.0.0:3000, url: http://localhost:3000",
        "- \x1b[32mready\x1b[39m started server on 0.0.0.0:3000, url: http://localhost:3000",
        " ✓ Ready in 879ms\r",
        "✓ Ready in 556ms",
        "  VITE v8.3.8  ready in 369 ms",
    ],
)
async def test_ready_lines_of_each_family(world: Any, until: Any, line: str) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"READY": line})
    await until(service, 7, "ready")


async def test_an_app_that_answers_500_is_not_compiled(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"STATUS": "500", "ERROR": "1"})
    preview = await until(service, 7, "compile_error")
    assert (preview.running, preview.compilation_complete, preview.is_responding) == (True, False, False)


async def test_an_app_that_answers_404_is_compiled_and_does_not_respond(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"STATUS": "404"})
    preview = await until(service, 7, "ready")
    assert (preview.compilation_complete, preview.is_responding, preview.http_status) == (True, False, 404)


@pytest.mark.parametrize(
    ("target", "status", "good"),
    [("/login", 200, True), ("ORIGIN/login", 200, True), ("http://example.com/", 307, False)],
)
async def test_redirects_are_followed_within_the_preview_only(
    world: Any, until: Any, target: str, status: int, good: bool
) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"REDIRECT": target})
    preview = await until(service, 7, "ready")
    assert (preview.http_status, preview.is_responding) == (status, good)


async def test_a_dead_container_is_not_running(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, wait="ready")
    world.container(7).kill()
    # Engine 28 answers before the container has ended.
    assert (await until(service, 7, "exited")).exit_code == 137
    status = await service.get_preview_status(7)
    assert (status.running, status.url) == (False, None)
    [listed] = await service.list_previews()
    assert (listed.phase, listed.running) == ("exited", False)


async def test_a_paused_container_is_told(world: Any) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, wait="ready")
    container = world.container(7)
    container.pause()
    preview = await service.get_preview(7)
    assert (preview.phase, preview.running, preview.url, preview.is_responding) == ("paused", True, url, False)
    container.unpause()
    assert (await service.get_preview(7)).phase == "ready"


async def test_the_probe_is_shared_and_kept_for_its_ttl(world: Any) -> None:
    world.project(7)
    service = world.service(preview_probe_ttl=60.0)
    url = await service.start_preview(7, wait="ready")
    await asyncio.gather(*(service.get_preview_status(7) for _ in range(30)))

    def requests() -> int:
        with urllib.request.urlopen(f"{url}/requests", timeout=5) as response:
            return int(response.read())

    assert await asyncio.to_thread(requests) <= 2


async def test_an_entry_put_in_by_hand_is_verified(world: Any) -> None:
    service = world.service()
    service.containers[5] = ContainerInfo(
        project_id=5, container_id="none", container_name="none", port=3001, url="http://localhost:3001"
    )
    assert (await service.get_preview_status(5)).running is False
    assert 5 not in service.containers


async def test_listing_shows_every_preview_of_this_owner(world: Any) -> None:
    service = world.service()
    for project in (9, 2):
        world.project(project)
        await service.start_preview(project, wait="ready")
    previews = await world.service().list_previews()
    assert [(preview.project_id, preview.phase) for preview in previews] == [(2, "ready"), (9, "ready")]


async def test_monitor_compilation_follows_a_container_by_name(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"COMPILE_MS": "500"})
    await asyncio.wait_for(service._monitor_compilation(7, f"{world.prefix}7"), 30)
    assert service.containers[7].compilation_complete is True


async def test_health_of_a_url(world: Any) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, wait="ready")
    assert await service._check_container_health(url) is True
    await service.stop_preview(7)
    assert await service._check_container_health(url) is False
    assert await service._check_container_health("not a url") is False


async def test_what_is_known_is_told_without_a_turn_of_the_loop(world: Any) -> None:
    world.project(7)
    service = world.service(preview_probe_ttl=3600)
    url = await service.start_preview(7, wait="ready")
    await service.get_preview_status(7)
    for call in (service.get_preview_status, service.get_preview):
        with pytest.raises(StopIteration) as told:
            call(7).send(None)
        assert (told.value.value.running, told.value.value.url) == (True, url)


async def test_who_asks_without_a_pause_leaves_the_loop_to_others(world: Any) -> None:
    world.project(7)
    service = world.service(preview_probe_ttl=3600)
    await service.start_preview(7, wait="ready")
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    for _ in range(100):
        await service.get_preview_status(7)
    assert turned.is_set()


async def test_a_hook_that_is_replaced_later_is_asked(world: Any) -> None:
    world.project(7)
    service = world.service(preview_probe_ttl=3600)
    await service.start_preview(7, wait="ready")
    assert (await service.get_preview_status(7)).is_responding
    asked: list[str] = []

    async def unhealthy(url: str) -> bool:
        asked.append(url)
        return False

    service._check_container_health = unhealthy
    status = await service.get_preview_status(7)
    assert (status.is_responding, asked) == (False, [status.url])

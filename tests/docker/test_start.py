"""start_preview on the real engine."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError
from kosuke_docker import (
    ContainerConflictError,
    ContainerStartError,
    DockerService,
    ImageNotFoundError,
    InvalidInputError,
    PortRangeExhaustedError,
    PreviewFailedError,
    ProjectFolderError,
)


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:
        return str(response.read().decode())


async def test_a_preview_runs_with_what_it_was_given(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service()
    url = await service.start_preview(7, {"MINE": "yes", "NODE_ENV": "test", "GONE": None})
    preview = await until(service, 7, "ready")

    assert (preview.running, preview.url, preview.is_responding, preview.http_status) == (True, url, True, 200)
    assert "<title>" in await asyncio.to_thread(fetch, url)
    container = world.container(7)
    environment = dict(line.split("=", 1) for line in container.attrs["Config"]["Env"])
    assert environment["MINE"] == "yes"
    assert environment["NODE_ENV"] == "test"
    assert environment["PROJECT_ID"] == "7"
    assert environment["PORT"] == "3000"
    assert environment["NEXT_TELEMETRY_DISABLED"] == "1"
    assert "GONE" not in environment
    host = container.attrs["HostConfig"]
    assert host["Init"] is True
    [mount] = container.attrs["Mounts"]
    assert (mount["Type"], mount["Source"], mount["Destination"]) == ("bind", str(world.folder / "7"), "/app")
    assert mount["RW"] is True
    assert container.attrs["Config"]["WorkingDir"] == "/app"
    assert container.labels["kosuke.project_id"] == "7"
    assert container.labels["kosuke.owner"] == world.prefix.rstrip("-")
    assert service.containers[7].url == url
    assert service.containers[7].compilation_complete is True


async def test_fifty_concurrent_starts_make_one_container(world: Any) -> None:
    world.project(7)
    service = world.service()
    urls = await asyncio.gather(*(service.start_preview(7) for _ in range(50)))
    assert len(set(urls)) == 1
    assert len(world.containers()) == 1


async def test_a_second_start_gives_the_same_container(world: Any) -> None:
    world.project(7)
    url = await world.service().start_preview(7)
    before = world.container(7).id
    assert await world.service().start_preview(7) == url
    assert world.container(7).id == before


async def test_twenty_starts_at_once_get_twenty_ports_of_the_range(world: Any) -> None:
    service = world.service(preview_port_range_start=21000, preview_port_range_end=21099)
    for project in range(20):
        world.project(project)
    urls = await asyncio.gather(*(service.start_preview(project) for project in range(20)))
    ports = {int(url.rpartition(":")[2]) for url in urls}
    assert len(ports) == 20
    assert all(21000 <= port <= 21099 for port in ports)
    for container in world.containers():
        [binding] = container.attrs["NetworkSettings"]["Ports"]["3000/tcp"]
        assert binding["HostIp"] == "127.0.0.1"


async def test_an_exited_container_is_replaced(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"EXIT_CODE": "3"})
    preview = await until(service, 7, "exited")
    assert (preview.running, preview.url, preview.exit_code) == (False, None, 3)
    assert preview.last_lines == ["Error: it did not work"]
    assert 7 not in service.containers
    dead = world.container(7).id

    await service.start_preview(7)
    assert world.container(7).id != dead
    assert (await service.get_preview_status(7)).running is True


async def test_a_running_container_of_the_older_service_is_adopted(world: Any, image: str, until: Any) -> None:
    folder = world.project(7)
    world.engine.containers.run(
        image=image,
        name=f"{world.prefix}7",
        command=["node", "dev.js"],
        ports={"3000/tcp": ("127.0.0.1", None)},
        volumes={str(folder): {"bind": "/app", "mode": "rw"}},
        working_dir="/app",
        environment={"PORT": "3000"},
        detach=True,
    )
    container = world.container(7)
    port = container.attrs["NetworkSettings"]["Ports"]["3000/tcp"][0]["HostPort"]
    service = world.service()
    assert await service.start_preview(7) == f"http://localhost:{port}"
    assert world.container(7).id == container.id
    assert (await until(service, 7, "ready")).database is None
    await service.stop_preview(7)
    assert world.containers() == []


async def test_a_foreign_container_that_does_not_run_is_not_removed(world: Any, image: str) -> None:
    world.project(7)
    foreign = world.engine.containers.create(image=image, name=f"{world.prefix}7", command=["true"])
    service = world.service()
    with pytest.raises(ContainerConflictError, match=f"{world.prefix}7"):
        await service.start_preview(7)
    assert world.container(7).id == foreign.id
    assert await service.get_preview(7) is None


async def test_a_container_made_and_left_behind_is_replaced(world: Any, image: str) -> None:
    world.project(7)
    labels = {
        "kosuke.preview": "true",
        "kosuke.project_id": "7",
        "kosuke.owner": world.prefix.rstrip("-"),
    }
    left = world.engine.containers.create(image=image, name=f"{world.prefix}7", command=["true"], labels=labels)
    service = world.service()
    await service.start_preview(7)
    assert world.container(7).id != left.id


async def test_nothing_is_left_when_the_engine_refuses_to_start(world: Any) -> None:
    world.project(7)
    # An address of TEST-NET-1, which this machine has not: https://www.rfc-editor.org/rfc/rfc5737
    service = world.service(preview_bind_address="192.0.2.1")
    with pytest.raises(ContainerStartError) as caught:
        await service.start_preview(7)
    error = caught.value
    assert (error.operation, error.preview) == ("start", 7)
    assert error.engine_message is not None
    assert "cannot assign requested address" in error.engine_message
    assert world.containers() == []
    assert await service.get_preview(7) is None


@pytest.mark.parametrize("isolation", ["off", "auto"])
async def test_a_failed_start_leaves_no_network_that_it_made(world: Any, isolation: str) -> None:
    world.project(7)
    network = f"{world.prefix}services"
    mine = {"preview_network": network, "preview_network_isolation": isolation}
    names = [network, f"{world.prefix.rstrip('-')}-isolated"]
    with pytest.raises(ContainerStartError):
        await world.service(preview_bind_address="192.0.2.1", **mine).start_preview(7)
    assert world.engine.networks.list(names=names) == []
    service = world.service(**mine)
    await service.start_preview(7)
    world.project(8)
    with pytest.raises(ContainerStartError):
        await world.service(preview_bind_address="192.0.2.1", **mine).start_preview(8)
    assert len(world.engine.networks.list(names=names)) == 1, "a preview is on it"
    await service.stop_preview(7)
    for found in world.engine.networks.list(names=names):
        found.remove()


async def test_variables_that_a_running_container_lacks_are_named_and_can_be_given(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"SAME": "1", "OTHER": "a secret"})
    first = world.container(7).id
    await service.start_preview(7, {"SAME": "1", "OTHER": "another secret"})
    preview = await service.get_preview(7)
    assert preview is not None
    assert (preview.drift, world.container(7).id) == (["OTHER"], first)
    assert "secret" not in repr(preview)
    await service.start_preview(7, {"SAME": "1", "OTHER": "another secret"}, recreate="on_drift")
    made = world.container(7)
    assert made.id != first
    assert "OTHER=another secret" in made.attrs["Config"]["Env"]
    preview = await service.get_preview(7)
    assert preview is not None
    assert preview.drift == []
    with pytest.raises(InvalidInputError, match="recreate: must be 'never' or 'on_drift'"):
        await service.start_preview(7, recreate="always")


async def test_a_program_that_is_not_there_is_a_preview_that_failed(world: Any) -> None:
    world.project(7)
    service = world.service(preview_command=["/no/such/program"])
    with pytest.raises(PreviewFailedError, match="No such file") as caught:
        await service.start_preview(7, wait="ready")
    assert caught.value.exit_code == 127


async def test_wait_ready_returns_when_the_page_answered(world: Any) -> None:
    world.project(7)
    service = world.service()
    await service.start_preview(7, {"COMPILE_MS": "700"}, wait="ready")
    status = await service.get_preview_status(7)
    assert (status.compilation_complete, status.is_responding) == (True, True)


async def test_wait_ready_raises_when_the_container_ends(world: Any) -> None:
    world.project(7)
    service = world.service()
    with pytest.raises(PreviewFailedError) as caught:
        await service.start_preview(7, {"EXIT_CODE": "4", "EXIT_MS": "300"}, wait="ready")
    assert caught.value.exit_code == 4
    assert caught.value.last_lines == ["Error: it did not work"]
    preview = await service.get_preview(7)
    assert preview is not None
    assert preview.phase == "exited"


async def test_an_unknown_image_is_named(world: Any) -> None:
    world.project(7)
    service = world.service(preview_default_image="kosuke/none:1")
    with pytest.raises(ImageNotFoundError, match="kosuke/none:1") as caught:
        await service.start_preview(7)
    assert caught.value.image == "kosuke/none:1"
    assert world.containers() == []


async def test_no_free_port_is_told_with_the_range(world: Any) -> None:
    for project in (1, 2):
        world.project(project)
    service = world.service(preview_port_range_start=21200, preview_port_range_end=21200)
    await service.start_preview(1)
    with pytest.raises(PortRangeExhaustedError, match="21200-21200") as caught:
        await service.start_preview(2)
    assert (caught.value.first_port, caught.value.last_port) == (21200, 21200)
    assert len(world.containers()) == 1


async def test_a_port_held_by_another_program_is_stepped_over(world: Any) -> None:
    world.project(7)
    with socket.create_server(("127.0.0.1", 21300)):
        service = world.service(preview_port_range_start=21300, preview_port_range_end=21301)
        assert await service.start_preview(7) == "http://localhost:21301"


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda folder: None, "does not exist"),
        (lambda folder: folder.write_text(""), "is not a folder"),
        (lambda folder: folder.symlink_to("/etc"), "leads out of PROJECTS_DIR"),
    ],
    ids=["missing", "file", "symlink"],
)
async def test_a_bad_project_folder_is_refused_before_anything_is_made(
    world: Any, make: Callable[[Path], object], problem: str
) -> None:
    make(world.folder / "7")
    service = world.service(preview_network="kosuke-test-never-made")
    with pytest.raises(ProjectFolderError, match=problem) as caught:
        await service.start_preview(7)
    assert caught.value.path == str(world.folder / "7")
    assert world.containers() == []
    assert world.engine.networks.list(names=["kosuke-test-never-made"]) == []


async def test_a_folder_that_the_host_does_not_have_is_an_error_and_not_made(world: Any) -> None:
    world.project(7)
    nowhere = world.folder / "nowhere"
    service = world.service(host_workspace_dir=str(nowhere))
    with pytest.raises(ProjectFolderError, match="does not exist on the engine's machine") as caught:
        await service.start_preview(7)
    assert caught.value.path == str(nowhere / world.folder.name / "7")
    assert not nowhere.exists()
    assert world.containers() == []


@pytest.mark.parametrize("name", ["A=B", "", "A\0B"])
async def test_a_bad_variable_is_refused_before_anything_is_made(world: Any, name: str) -> None:
    world.project(7)
    service: DockerService = world.service()
    with pytest.raises(InvalidInputError, match="env_vars"):
        await service.start_preview(7, {name: "secret-value"})
    assert world.containers() == []


async def test_a_missing_network_is_made_once(world: Any) -> None:
    name = f"{world.prefix}net_default"
    service = world.service(preview_network=name)
    for project in range(6):
        world.project(project)
    await asyncio.gather(*(service.start_preview(project) for project in range(6)))
    try:
        [network] = world.engine.networks.list(names=[name])
        assert network.attrs["Labels"]["com.docker.compose.network"] == "default"
        assert network.attrs["Labels"]["com.docker.compose.project"] == name.removesuffix("_default")
    finally:
        await service.stop_all_previews()
        for network in world.engine.networks.list(names=[name]):
            network.remove()


async def test_a_second_network_of_the_name_that_was_left_behind_is_removed(world: Any) -> None:
    name = f"{world.prefix}twice"
    world.engine.networks.create(name, labels={"kosuke.network": "true"})
    # Engines refuse the second since 25: there the first is all there can be.
    with contextlib.suppress(APIError):
        world.engine.networks.create(name, labels={"kosuke.network": "true"})
    world.project(7)
    service = world.service(preview_network=name)
    try:
        await service.start_preview(7)
        assert len(world.engine.networks.list(names=[name])) == 1
    finally:
        await service.stop_all_previews()
        for network in world.engine.networks.list(names=[name]):
            network.remove()

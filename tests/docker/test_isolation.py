"""What a preview reaches from inside, and what it does not."""

from __future__ import annotations

import asyncio
import contextlib
import io
import secrets
import socket
import tarfile
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from attack import reached
from docker import DockerClient
from docker.types import IPAMConfig, IPAMPool
from kosuke_docker import ContainerStartError

METADATA = "169.254.169.254"


def addresses(container: Any) -> tuple[str, str]:
    """A container's address, and its gateway: the host."""
    container.reload()
    [network] = container.attrs["NetworkSettings"]["Networks"].values()
    return network["IPAddress"], network["Gateway"]


async def start_two(world: Any, service: Any) -> dict[int, str]:
    """The URLs of previews 7 and 8."""
    urls = {}
    for project in (7, 8):
        world.project(project)
        urls[project] = await service.start_preview(project, wait="ready")
    return urls


@contextlib.contextmanager
def host_service() -> Iterator[int]:
    """A service of the host that listens everywhere, as an agent's API does."""
    with socket.create_server(("0.0.0.0", 0), backlog=16) as server:
        yield server.getsockname()[1]


def own_address() -> str:
    """The host's address on its way out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.99", 9))
        return str(probe.getsockname()[0])


async def test_a_preview_reaches_no_neighbour_nor_the_host_nor_the_metadata(world: Any) -> None:
    service = world.service(preview_network_isolation="auto", preview_bind_address="0.0.0.0")
    urls = await start_two(world, service)
    attacker = world.container(7)
    neighbour, gateway = addresses(world.container(8))
    port = urlsplit(urls[8]).port
    assert port is not None
    with host_service() as agent:
        targets = [
            (neighbour, 3000),
            (gateway, port),
            (own_address(), port),
            (gateway, agent),
            (own_address(), agent),
            (METADATA, 80),
            ("172.17.0.1", agent),
        ]
        assert await reached(attacker, *targets) == set()
        # The attack works: it reaches itself.
        assert await reached(attacker, ("127.0.0.1", 3000)) == {"127.0.0.1:3000"}
    preview = await service.get_preview(7)
    assert preview is not None
    assert (preview.network_isolation, preview.network_detail) == ("full", None)
    assert preview.phase == "ready"


async def test_without_isolation_all_of_it_is_open(world: Any) -> None:
    service = world.service()
    await start_two(world, service)
    neighbour, gateway = addresses(world.container(8))
    with host_service() as agent:
        found = await reached(world.container(7), (neighbour, 3000), (gateway, agent))
    assert found == {f"{neighbour}:3000", f"{gateway}:{agent}"}
    preview = await service.get_preview(7)
    assert preview is not None
    assert (preview.network_isolation, preview.network_detail) == ("off", None)


async def test_a_preview_reaches_its_database_and_nothing_else_of_its_host(
    world: Any, postgres: dict[str, Any]
) -> None:
    world.project(7)
    service = world.service(**postgres, preview_network_isolation="auto")
    await service.start_preview(7, wait="ready")
    container = world.container(7)
    environment = dict(pair.split("=", 1) for pair in container.attrs["Config"]["Env"])
    url = urlsplit(environment["DATABASE_URL"])
    assert url.hostname is not None
    assert url.port is not None
    with host_service() as agent:
        found = await reached(container, (url.hostname, url.port), (url.hostname, agent), (url.hostname, 22))
    assert found == {f"{url.hostname}:{url.port}"}
    await service.drop_project_database(7)


async def test_rules_that_were_taken_away_are_set_again(world: Any, run_python: Any) -> None:
    world.project(7)
    service = world.service(preview_network_isolation="auto")
    await service.start_preview(7, wait="ready")
    container = world.container(7)
    _, gateway = addresses(container)
    [network] = world.engine.networks.list(names=[f"{world.prefix.rstrip('-')}-isolated"])
    bridge = f"br-{network.id[:12]}"
    for chain, jump in (("DOCKER-USER", "F"), ("INPUT", "I")):
        await iptables("-D", chain, "-i", bridge, "-j", f"KOSUKE-{jump}-{network.id[:12]}")
    with host_service() as agent:
        assert await reached(container, (gateway, agent)) == {f"{gateway}:{agent}"}
        # Another process of the deployment finds previews that are to be kept apart.
        script = """
import asyncio
from kosuke_docker import DockerService

async def main():
    async with DockerService() as service:
        async for event in service.events():
            break

asyncio.run(main())
"""
        process = run_python(script, world.settings(preview_network_isolation="auto"))
        try:
            while await reached(container, (gateway, agent)):
                assert process.poll() is None
        finally:
            process.kill()
            process.wait()


async def iptables(*words: str) -> None:
    process = await asyncio.create_subprocess_exec("iptables", "-w", "5", *words)
    assert await process.wait() == 0


async def filter_rules() -> str:
    listed = await asyncio.create_subprocess_exec("iptables", "-w", "5", "-S", stdout=asyncio.subprocess.PIPE)
    output, _ = await listed.communicate()
    return output.decode()


async def test_a_restart_does_not_inherit_the_trust_in_an_address(world: Any) -> None:
    """The engine gives the address of a container that is gone to the next one that starts."""
    service = world.service(preview_network_isolation="auto")
    await start_two(world, service)
    name = f"{world.prefix.rstrip('-')}-isolated"
    image = world.settings().preview_default_image
    agent = world.engine.containers.run(image, ["sleep", "600"], name=f"{world.prefix}agent", network=name, detach=True)
    trusted = f"-s {addresses(agent)[0]}/32"
    await service.stop_preview(8)
    await service.start_preview(8)
    assert trusted in await filter_rules()
    agent.remove(force=True)
    await service.restart_preview(7)
    assert trusted not in await filter_rules()


async def test_the_rules_of_networks_that_are_gone_are_taken_away(world: Any) -> None:
    world.project(7)
    name = f"{world.prefix.rstrip('-')}-isolated"
    chains = []
    for probe_ttl in (0.5, 0.6):
        service = world.service(preview_network_isolation="auto", preview_probe_ttl=probe_ttl)
        await service.start_preview(7)
        [network] = world.engine.networks.list(names=[name])
        chains.append(f"KOSUKE-F-{network.id[:12]}")
        await service.stop_preview(7)
        network.remove()
    rules = await filter_rules()
    assert [chain in rules for chain in chains] == [False, True]


@pytest.fixture
def closed_image(engine: DockerClient, image: str) -> Iterator[str]:
    """The image with a file where iptables keeps its lock: no container that is made of it can set rules."""
    container = engine.containers.create(image)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("run"), io.BytesIO())
    assert container.put_archive("/", archive.getvalue())
    name = f"kosuke-test-closed:{secrets.token_hex(4)}"
    container.commit(*name.split(":"))
    container.remove()
    yield name
    engine.images.remove(name, force=True)


async def test_where_rules_cannot_be_set_previews_are_still_apart_and_it_is_told(world: Any, closed_image: str) -> None:
    service = world.service(preview_network_isolation="auto", preview_default_image=closed_image)
    await start_two(world, service)
    neighbour, gateway = addresses(world.container(8))
    with host_service() as agent:
        found = await reached(world.container(7), (neighbour, 3000), (gateway, agent))
    assert found == {f"{gateway}:{agent}"}
    preview = await service.get_preview(7)
    assert preview is not None
    assert preview.network_isolation == "partial"
    assert preview.network_detail.startswith("rules for the packet filter cannot be set: ")
    assert world.engine.containers.list(all=True, filters={"label": "kosuke.rules", "ancestor": closed_image}) == []


ICC_OFF = {"com.docker.network.bridge.enable_icc": "false"}
IPV6 = {
    "enable_ipv6": True,
    "ipam": IPAMConfig(pool_configs=[IPAMPool(subnet="fd00:7e57::/64")]),
}


@pytest.mark.parametrize(
    ("made", "problem"),
    [
        ({}, "lets its containers reach each other"),
        ({"options": ICC_OFF, **IPV6}, "has IPv6, for which no rules are set"),
    ],
)
async def test_a_network_that_does_not_keep_apart_is_not_called_isolated(
    world: Any, made: dict[str, Any], problem: str
) -> None:
    name = f"{world.prefix.rstrip('-')}-isolated"
    world.engine.networks.create(name, **made)
    world.project(7)
    service = world.service(preview_network_isolation="auto")
    await service.start_preview(7)
    preview = await service.get_preview(7)
    assert preview is not None
    assert preview.network_isolation == "off"
    assert preview.network_detail == f"the network {name} exists and {problem}"


async def test_a_database_in_a_container_is_reached_by_its_name_and_at_its_port_only(
    world: Any, postgres: dict[str, Any]
) -> None:
    """As in compose, with the agent on the host: the container has a name on PREVIEW_NETWORK."""
    services = world.engine.networks.create(f"{world.prefix}services")
    listen = "for (const port of [5432, 8080]) require('net').createServer().listen(port)"
    server = world.engine.containers.create(
        world.settings().preview_default_image, ["node", "-e", listen], name=f"{world.prefix}db"
    )
    services.connect(server, aliases=["db"])
    server.start()
    world.project(7)
    settings = {**postgres, "postgres_container_host": "db", "postgres_container_port": 5432}
    service = world.service(**settings, preview_network=services.name, preview_network_isolation="auto")
    try:
        await service.start_preview(7, wait="ready")
        assert await reached(world.container(7), ("db", 5432), ("db", 8080)) == {"db:5432"}
        await service.drop_project_database(7)
    finally:
        await service.stop_preview(7)
        server.remove(force=True)
        services.remove()


async def test_a_start_that_is_given_up_leaves_no_container_that_sets_rules(world: Any) -> None:
    for project in (7, 8):
        world.project(project)
    # It keeps the network, which a start that fails would take away again.
    async with world.service(preview_network_isolation="auto") as keeper:
        await keeper.start_preview(8)
    for _ in range(6):
        service = world.service(preview_network_isolation="auto", preview_probe_ttl=secrets.randbelow(10_000) / 10)
        start = asyncio.create_task(service.start_preview(7))
        await asyncio.wait([start], timeout=secrets.randbelow(600) / 1000)
        start.cancel()
        await asyncio.gather(start, return_exceptions=True)
        await service.stop_preview(7)
        await service.aclose()
    [network] = world.engine.networks.list(names=[f"{world.prefix.rstrip('-')}-isolated"])
    of_this = {"label": f"kosuke.rules=br-{network.id[:12]}"}
    deadline = time.monotonic() + 20  # The engine takes away those that ended, a moment later.
    while left := world.engine.containers.list(all=True, filters=of_this, ignore_removed=True):
        assert time.monotonic() < deadline, left
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("isolation", ["auto", "off"])
@pytest.mark.parametrize("kind", ["internal", "none", "host"])
async def test_a_network_that_publishes_nothing_is_refused(world: Any, kind: str, isolation: str) -> None:
    """With a network of their own, too: it reaches the internet, which is not what was asked for."""
    world.project(7)
    name = f"{world.prefix}internal" if kind == "internal" else kind
    made = world.engine.networks.create(name, internal=True) if kind == "internal" else None
    try:
        service = world.service(preview_network=name, preview_network_isolation=isolation)
        with pytest.raises(ContainerStartError, match="publishes no port"):
            await service.start_preview(7)
        assert world.containers() == []
        assert await service.get_preview(7) is None
    finally:
        if made is not None:
            made.remove()

"""Where a container is told to look for the server: "this machine" is not the same one for the agent and for it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pg
import pytest
from attack import reached
from kosuke_docker import DatabaseError


@pytest.fixture(scope="module")
def everywhere() -> Iterator[dict[str, Any]]:
    """A server that listens on every address of this machine."""
    with pg.cluster() as server:
        yield {**server.settings, "postgres_container_host": None}


@pytest.fixture(scope="module")
def loopback() -> Iterator[dict[str, Any]]:
    """A server as a laptop has it: it listens on 127.0.0.1 alone."""
    with pg.cluster("listen_addresses = '127.0.0.1'") as server:
        yield {**server.settings, "postgres_container_host": None}


def project_id() -> int:
    return 3_000_000 + secrets.randbelow(1_000_000_000)


@pytest.mark.parametrize("isolation", ["auto", "off"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_this_machines_server_is_reached_by_its_address_on_the_network(
    world: Any, everywhere: dict[str, Any], host: str, isolation: str
) -> None:
    project = project_id()
    world.project(project)
    service = world.service(**{**everywhere, "postgres_host": host}, preview_network_isolation=isolation)
    await service.start_preview(project)
    container = world.container(project)
    url = urlsplit(pg.environment(container)["DATABASE_URL"])
    [network] = container.attrs["NetworkSettings"]["Networks"].values()
    assert url.hostname is not None
    assert url.port is not None
    assert (url.hostname, url.port) == (network["Gateway"], everywhere["postgres_port"])
    assert await reached(container, (url.hostname, url.port)) == {f"{url.hostname}:{url.port}"}
    preview = await service.get_preview(project)
    assert preview is not None
    assert preview.database == "ready", preview.database_detail


@pytest.mark.parametrize("isolation", ["auto", "off"])
async def test_a_server_on_loopback_alone_is_told_with_the_fix(
    world: Any, loopback: dict[str, Any], isolation: str
) -> None:
    project = project_id()
    world.project(project)
    service = world.service(**loopback, preview_network_isolation=isolation)
    await service.start_preview(project)
    preview = await service.get_preview(project)
    assert preview is not None
    assert preview.database == "unavailable"
    [network] = world.container(project).attrs["NetworkSettings"]["Networks"].values()
    assert f"{network['Gateway']}:{loopback['postgres_port']}" in preview.database_detail
    for fix in ("listen_addresses", "pg_hba.conf", "POSTGRES_CONTAINER_HOST"):
        assert fix in preview.database_detail


async def test_a_required_database_that_no_container_reaches_fails_the_start(
    world: Any, loopback: dict[str, Any]
) -> None:
    project = project_id()
    world.project(project)
    service = world.service(**loopback, postgres_required=True)
    with pytest.raises(DatabaseError, match="listen_addresses"):
        await service.start_preview(project)
    assert world.containers() == []


async def test_a_host_that_is_set_is_taken_as_it_is(world: Any, loopback: dict[str, Any]) -> None:
    project = project_id()
    world.project(project)
    service = world.service(**{**loopback, "postgres_container_host": "db.example.com"})
    await service.start_preview(project)
    url = urlsplit(pg.environment(world.container(project))["DATABASE_URL"])
    assert url.hostname == "db.example.com"

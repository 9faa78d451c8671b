"""What other engines than 20.10 answer: newer ones, and podman. `make test-engines` asks the engines themselves."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from fake_engine import Status
from kosuke_docker import PortRangeExhaustedError


async def test_a_network_that_another_process_was_faster_to_make_is_taken(fake: Any) -> None:
    fake.project(7)
    fake.engine.unique_networks = True
    service = fake.service()
    gate = fake.engine.gate("POST /networks/create")
    starting = asyncio.create_task(service.start_preview(7))
    await gate.reached()
    fake.engine.create_network("kosuke-fake")
    gate.release()
    await starting
    [container] = fake.containers()
    assert container.is_running


@contextlib.contextmanager
def held(first: int, count: int) -> Iterator[None]:
    """Another program has so many ports."""
    with contextlib.ExitStack() as stack:
        for port in range(first, first + count):
            stack.enter_context(socket.create_server(("127.0.0.1", port)))
        yield


@pytest.mark.parametrize("ports", ["20.10", "28", "podman"])
async def test_ports_that_other_programs_hold_are_stepped_over(fake: Any, ports: Any) -> None:
    fake.project(7)
    fake.engine.ports = ports
    settings = fake.settings()
    first = settings.preview_port_range_start
    # More than the ten that Engine 28 steps over by itself.
    with held(first, 12):
        url = await fake.service().start_preview(7)
    assert first + 12 <= int(url.rpartition(":")[2]) <= settings.preview_port_range_end


@pytest.mark.parametrize("ports", ["20.10", "28", "podman"])
async def test_a_held_range_is_told_as_such(fake: Any, ports: Any) -> None:
    fake.project(7)
    fake.engine.ports = ports
    settings = fake.settings()
    first, last = settings.preview_port_range_start, settings.preview_port_range_end
    with held(first, last - first + 1), pytest.raises(PortRangeExhaustedError, match=f"{first}-{last}"):
        await fake.service().start_preview(7)
    assert fake.containers() == []


async def test_a_held_range_is_told_as_such_whatever_the_words(fake: Any) -> None:
    fake.project(7)
    fake.engine.fail("POST .*/start", Status(500, "the door is shut"))
    settings = fake.settings()
    first, last = settings.preview_port_range_start, settings.preview_port_range_end
    with held(first, last - first + 1), pytest.raises(PortRangeExhaustedError):
        await fake.service().start_preview(7)


async def test_a_port_that_another_process_was_faster_to_take_is_chosen_anew(fake: Any) -> None:
    fake.project(7)
    fake.engine.ports = "podman"
    service = fake.service()
    gate = fake.engine.gate("POST .*/start")
    starting = asyncio.create_task(service.start_preview(7))
    await gate.reached()
    [container] = fake.containers()
    [[binding]] = container.body["HostConfig"]["PortBindings"].values()
    port = int(binding["HostPort"])
    with held(port, 1):
        gate.release()
        url = await starting
    assert int(url.rpartition(":")[2]) != port


async def test_starts_at_once_choose_different_ports(fake: Any) -> None:
    fake.engine.ports = "podman"
    for project in range(10):
        fake.project(project)
    service = fake.service()
    urls = await asyncio.gather(*(service.start_preview(project) for project in range(10)))
    assert len(set(urls)) == 10

"""Whatever becomes of an engine call, the operation ends: with a typed error that names the step, or without one."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fake_engine import Body, Drop, Hang, How, Slow, Status
from kosuke_docker import DockerService, KosukeDockerError, OperationTimeoutError, Preview, PreviewFailedError

pytestmark = pytest.mark.alone

CALLS = r"^(?!.*(/logs|/events|/_ping|/images/create))"
"""Not the streams: a pull, above all, may say nothing for minutes."""
ENGINE_TIMEOUT = 1.0
BOUND = 30
"""Wide: some calls in a row, each with its time-out, on a busy machine."""


@dataclass
class Operation:
    """What is called, and what is there before."""

    call: Callable[[DockerService], Awaitable[Any]]
    before: str = "nothing"
    image: bool = True
    makes: bool = False


OPERATIONS = {
    "start": Operation(lambda service: service.start_preview(7), makes=True),
    "start, ready": Operation(lambda service: service.start_preview(7, wait="ready"), makes=True),
    "start over a dead one": Operation(lambda service: service.start_preview(7), "exited", makes=True),
    "start with a pull": Operation(lambda service: service.start_preview(7), image=False, makes=True),
    "start of a running one": Operation(lambda service: service.start_preview(7), "running"),
    "stop": Operation(lambda service: service.stop_preview(7), "running"),
    "stop of a dead one": Operation(lambda service: service.stop_preview(7), "exited"),
    "stop all": Operation(lambda service: service.stop_all_previews(), "running"),
    "restart": Operation(lambda service: service.restart_preview(7), "running"),
    "restart of nothing": Operation(lambda service: service.restart_preview(7), makes=True),
    "status": Operation(lambda service: service.get_preview(7), "running"),
    "status of a dead one": Operation(lambda service: service.get_preview(7), "exited"),
    "status of nothing": Operation(lambda service: service.get_preview(7)),
    "short status": Operation(lambda service: service.get_preview_status(7), "running"),
    "list": Operation(lambda service: service.list_previews(), "running"),
    "is running": Operation(lambda service: service.is_container_running(7), "running"),
    "check": Operation(lambda service: service.check(7, types=True, timeout=1), "running"),
    "verify": Operation(lambda service: service.verify(7, timeout=1), "running"),
    "image": Operation(lambda service: service.ensure_image()),
    "image with a pull": Operation(lambda service: service.ensure_image(), image=False),
}


async def prepared(fakes: Any, operation: Operation, known: bool) -> tuple[Any, DockerService]:
    """A world in which another service made what is there; `known`: the same service."""
    fake = fakes()
    fake.project(7)
    changes = {"preview_pull_policy": "missing", "engine_timeout": ENGINE_TIMEOUT}
    service = fake.service(**changes)
    if operation.before != "nothing":
        maker = service if known else fake.service()
        await maker.start_preview(7, wait="ready")
        if operation.before == "exited":
            fake.engine.exit(fake.name(7), 1)
    if not operation.image:
        fake.engine.images.clear()
    return fake, service


async def count_calls(fakes: Any, operation: Operation, known: bool) -> int:
    fake, service = await prepared(fakes, operation, known)
    gate = fake.engine.gate(CALLS, 1000)
    await operation.call(service)
    return int(gate.seen)


async def one_case(
    fakes: Any, name: str, known: bool, how: How, nth: int, times: int | None, limit: asyncio.Semaphore
) -> list[str]:
    """What was wrong when the nth call of an operation (and those after it) came to grief."""
    operation = OPERATIONS[name]
    fake, service = await prepared(fakes, operation, known)
    there = {container.id for container in fake.containers()}
    fake.engine.fail(CALLS, how, nth, times)
    case = f"{name}, {'known' if known else 'new'}, call {nth}"
    problems = []
    async with limit:
        began = time.monotonic()
        try:
            result = await asyncio.wait_for(operation.call(service), BOUND)
        except TimeoutError as error:
            if not isinstance(error, OperationTimeoutError):
                return [f"{case}: no end within {BOUND} s"]
            result = error
        except Exception as error:
            result = error
        problems += judged(result, how)
        # The ended container of a `PreviewFailedError` is kept for whoever wants to know why.
        failed = isinstance(result, Exception) and not isinstance(result, PreviewFailedError)
        new = [container.status for container in fake.containers() if container.id not in there]
        if failed and operation.makes and times == 1 and new:
            problems.append(f"a failed start left a container that is {new[0]}")
        fake.engine.heal()
        fake.engine.images.add(fake.settings().preview_default_image)
        try:
            await asyncio.wait_for(service.start_preview(7), BOUND)
            await asyncio.wait_for(service.stop_preview(7), BOUND)
        except Exception as error:
            problems.append(f"afterwards {error!r}")
        if fake.containers():
            problems.append(f"left: {[container.status for container in fake.containers()]}")
        took = time.monotonic() - began
    calls = re.sub("[0-9a-f]{64}", "ID", ", ".join(fake.engine.calls))
    return [f"{case}: {problem} [{took:.1f} s, {result!r}, {calls}]" for problem in problems]


def judged(result: object, how: How) -> list[str]:
    if isinstance(result, KosukeDockerError):
        problems = []
        if type(result) is KosukeDockerError or not result.operation:
            problems.append("the error does not say what failed")
        if isinstance(how, Hang) and not isinstance(result, OperationTimeoutError):
            problems.append("not a time-out")
        if isinstance(how, Status) and how.message not in f"{result}":
            problems.append("the engine's words are lost")
        return problems
    if isinstance(result, Exception):
        return ["an error without a type"]
    if isinstance(result, Preview) and result.phase == "engine_unreachable" and not result.detail:
        return ["unreachable without a reason"]
    return []


async def all_cases(fakes: Any, how: How, times: int | None) -> None:
    kinds = [
        (name, known)
        for name, operation in OPERATIONS.items()
        for known in ([False, True] if operation.before != "nothing" else [False])
    ]
    lengths = [await count_calls(fakes, OPERATIONS[name], known) for name, known in kinds]
    # Busier, and calls would be late without a fault.
    limit = asyncio.Semaphore(40)
    cases = [
        one_case(fakes, name, known, how, nth, times, limit)
        for (name, known), length in zip(kinds, lengths, strict=True)
        for nth in range(1, length + 1)
    ]
    problems = [problem for found in await asyncio.gather(*cases) for problem in found]
    assert not problems, "\n".join(problems)


@pytest.mark.parametrize("after", [False, True], ids=["before-effect", "after-effect"])
async def test_a_call_that_hangs_for_ever(fakes: Any, after: bool) -> None:
    await all_cases(fakes, Hang(after=after), 1)


async def test_an_engine_that_freezes(fakes: Any) -> None:
    await all_cases(fakes, Hang(), None)


@pytest.mark.parametrize("after", [False, True], ids=["before-effect", "after-effect"])
async def test_a_dropped_connection(fakes: Any, after: bool) -> None:
    await all_cases(fakes, Drop(after=after), 1)


@pytest.mark.parametrize(
    "data",
    [b"", b"null", b"{}", b"[]", b"<html>502 Bad Gateway</html>", b'{"Id": 7', b"\xff\xfe\x00", b'"' + b"x" * 10**6],
    ids=["empty", "null", "object", "list", "html", "cut", "binary", "long"],
)
async def test_a_garbage_answer(fakes: Any, data: bytes) -> None:
    await all_cases(fakes, Body(data), 1)


async def test_a_refusal(fakes: Any) -> None:
    await all_cases(fakes, Status(500, "boom: it did not work"), 1)


async def test_headers_that_come_slowly_are_waited_for_within_the_time_out(fakes: Any) -> None:
    await all_cases(fakes, Slow(0.2), None)


async def test_headers_that_come_too_slowly_are_a_time_out(fakes: Any) -> None:
    await all_cases(fakes, Slow(3.0), 1)

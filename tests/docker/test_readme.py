"""The README's Python blocks, run as they are printed, in their order."""

from __future__ import annotations

import ast
import asyncio
import re
from pathlib import Path
from typing import Any

import kosuke_docker
from dev_app import tell
from kosuke_docker import DockerService

README = Path(__file__).resolve().parents[2] / "README.md"
SHORTEST, WAIT, ERRORS, EVENTS, LOGS, MODULES = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.M | re.S)
REPORT = """ \u2a2f ./app/page.js:5:12
Parsing ecmascript source code failed
  4 | export default function Home() {
> 5 |   return <h1
    |            ^

Expected '>', got ';'


"""


class Reader:
    """Somebody who runs one block after the other; what one defines the next may use."""

    def __init__(self, service: DockerService) -> None:
        self.printed: list[str] = []
        self.has_printed = asyncio.Event()
        self.names: dict[str, Any] = {"service": service, "print": self._print}

    def _print(self, *values: object) -> None:
        self.printed.append(" ".join(map(str, values)))
        self.has_printed.set()

    async def run(self, block: str) -> list[str]:
        """What the block prints."""
        self.printed.clear()
        code = compile(block, README.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
        result = eval(code, self.names)
        if asyncio.iscoroutine(result):
            await result
        return self.printed


def test_the_shortest_example(world: Any, run_python: Any) -> None:
    world.project(7)
    output, problems = run_python(SHORTEST, world.settings()).communicate(timeout=60)
    assert problems == ""
    assert re.fullmatch(
        r"(http://localhost:\d+) running=True url='\1' compilation_complete=True is_responding=True\n", output
    )
    assert world.containers() == []


async def test_the_blocks_about_a_preview_that_is_not_up(world: Any, until: Any) -> None:
    world.project(7)
    service = world.service()
    reader = Reader(service)
    url = await service.start_preview(7)
    await reader.run(WAIT)
    assert reader.names["preview"].phase == "ready"

    await tell(url, "status/500", "/")
    await tell(url, "say-err", REPORT)
    await until(service, 7, "compile_error")
    [_, expected] = re.findall(r"# (.*)", WAIT + ERRORS)
    assert await reader.run(ERRORS) == [expected]

    events = asyncio.create_task(reader.run(EVENTS))
    # The block says nothing when its stream begins: something happens until it heard of it.
    while not events.done():
        await service.stop_preview(7)
        await service.start_preview(7)
    printed = await events
    assert printed[-1] == "7 removed None"
    assert all(re.fullmatch(r"7 (phase|errors|removed) \w+", line) for line in printed)

    await service.wait_until_ready(7)
    reader.has_printed.clear()
    logs = asyncio.create_task(reader.run(LOGS))
    await reader.has_printed.wait()
    await service.stop_preview(7)
    assert any(line.startswith("stdout ") and "Ready in" in line for line in await logs)


async def test_the_agents_modules() -> None:
    reader = Reader(DockerService(kosuke_docker.Settings(postgres_host=None)))
    assert await reader.run(MODULES) == []
    defined = reader.names.keys() - {"service", "print", "__builtins__"}
    assert all(reader.names[name] is getattr(kosuke_docker, name) for name in defined)
    assert len(defined) == 5

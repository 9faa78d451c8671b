"""The tools for agents, with the SDK's own client, over both transports."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import services
from kosuke_docker import mcp as tools
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult

pytestmark = pytest.mark.usefixtures("chromium_program")

NAMES = {
    "preview_start",
    "preview_stop",
    "preview_status",
    "preview_logs",
    "preview_errors",
    "preview_console_logs",
    "preview_screenshot",
    "preview_verify",
}
SERVE = "from kosuke_docker.mcp import main; main({arguments!r})"
START_SECONDS = 30


def environment(world: Any) -> dict[str, str]:
    """The world's settings, as a deployment has them."""
    plain = world.settings().plain().items()
    texts = {name.upper(): value if isinstance(value, str) else json.dumps(value) for name, value in plain if value}
    return {**os.environ, **texts, "POSTGRES_HOST": ""}


@pytest.fixture(params=["stdio", "http"])
async def server(request: pytest.FixtureRequest, world: Any, run_python: Callable[..., Any]) -> Any:
    """What the SDK's client takes: a program to start, or an address."""
    if request.param == "stdio":
        return StdioServerParameters(command=sys.executable, args=["-m", "kosuke_docker.mcp"], env=environment(world))
    port = services.free_port()
    await listening(port, run_python(SERVE.format(arguments=["--http", str(port)]), world.settings()))
    return f"http://127.0.0.1:{port}/mcp"


async def listening(port: int, process: Any) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


def text(result: CallToolResult) -> str:
    assert result.content
    return str(getattr(result.content[0], "text", ""))


async def test_an_agent_uses_previews_without_a_line_of_glue(server: Any, world: Any) -> None:
    world.project(1)
    async with Client(server) as agent:
        await use(agent)


async def use(agent: Client) -> None:
    listed = (await agent.list_tools()).tools
    assert {tool.name for tool in listed} == NAMES
    assert all(tool.description for tool in listed)
    missing = await agent.call_tool("preview_status", {"project_id": 1})
    assert missing.is_error
    assert "start one with preview_start" in text(missing)
    started = await agent.call_tool("preview_start", {"project_id": 1})
    assert not started.is_error, text(started)
    assert json.loads(text(started))["phase"] == "ready"
    assert "Ready in" in text(await agent.call_tool("preview_logs", {"project_id": 1, "lines": 50}))
    assert json.loads(text(await agent.call_tool("preview_errors", {"project_id": 1})))["compiled"] is True
    console = await agent.call_tool("preview_console_logs", {"project_id": 1})
    assert not console.is_error
    picture = await agent.call_tool("preview_screenshot", {"project_id": 1})
    assert [item.type for item in picture.content] == ["image"], text(picture)
    verdict = await agent.call_tool("preview_verify", {"project_id": 1})
    assert [item.type for item in verdict.content] == ["text", "image"], text(verdict)
    assert {check["name"] for check in json.loads(text(verdict))["checks"]} >= {"answers", "compiles"}
    refused = await agent.call_tool("preview_screenshot", {"project_id": 1, "path": "//elsewhere"})
    assert refused.is_error
    assert "path" in text(refused)
    assert text(await agent.call_tool("preview_stop", {"project_id": 1})) == "stopped"


async def test_strangers_are_refused_over_http(world: Any, run_python: Callable[..., Any]) -> None:
    port = services.free_port()
    await listening(port, run_python(SERVE.format(arguments=["--http", str(port)]), world.settings()))
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    accept = {"accept": "application/json, text/event-stream"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as browser:
        for headers, status in (({"host": "evil.example"}, 421), ({"origin": "http://evil.example"}, 403)):
            answer = await browser.post("/mcp", json=request, headers={**accept, **headers})
            assert answer.status_code == status, answer.text


def test_the_address_is_local_unless_it_says_more() -> None:
    assert tools._address("8000") == ("127.0.0.1", 8000)
    assert tools._address("0.0.0.0:8000") == ("0.0.0.0", 8000)
    assert tools.security("127.0.0.1", 8000).allowed_hosts == ["127.0.0.1:8000", "localhost:8000"]
    for wrong in ("x", "0", "127.0.0.1:99999", ":x"):
        with pytest.raises(SystemExit):
            tools.main(["--http", wrong])

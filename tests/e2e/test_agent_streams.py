"""The example agent's server-sent events, over a real connection."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import json
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import kosuke_docker
import pytest
import services
import uvicorn
from waiting import eventually

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60
TOKEN = "a-token-of-the-tests"
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The agent's module, which says something to silent clients soon."""
    path = ROOT / "examples" / "agent" / "app.py"
    spec = importlib.util.spec_from_file_location("example_agent", path)
    assert spec is not None
    assert spec.loader is not None
    monkeypatch.setenv("AGENT_TOKEN", TOKEN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "KEEP_ALIVE_SECONDS", 0.2)
    return module


@pytest.fixture
async def agent(world: Any, app: ModuleType) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the agent, which runs on this loop."""
    kosuke_docker.configure(world.settings())
    port = services.free_port()
    config = uvicorn.Config(app.app, port=port, access_log=False, log_level="warning", timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await eventually(lambda: server.started or serving.done())
        base = f"http://127.0.0.1:{port}"
        async with httpx.AsyncClient(base_url=base, timeout=PATIENCE, trust_env=False, headers=AUTHORIZATION) as client:
            yield client
    finally:
        server.should_exit = True
        await serving
        kosuke_docker.configure(None)


class Messages:
    """What a client of a stream gets."""

    def __init__(self, response: httpx.Response) -> None:
        self._lines = response.aiter_lines()
        self.silences = 0

    async def next(self) -> tuple[str, Any]:
        """The next event's name and its data; None at the end."""
        event = ""
        async for line in self._lines:
            if line == ":":
                self.silences += 1
            elif line.startswith("event: "):
                event = line.removeprefix("event: ")
            elif line.startswith("data: "):
                return event, json.loads(line.removeprefix("data: "))
            else:
                assert line == "", line
        return "", None

    async def until(self, event: str, **wanted: Any) -> Any:
        """The data of the first event of this name with these values, in it or in its preview."""
        async with asyncio.timeout(PATIENCE):
            while True:
                name, data = await self.next()
                assert name, f"no {event} with {wanted} before the end"
                known = {**data, **(data.get("preview") or {})} if isinstance(data, dict) else {}
                if name == event and all(known.get(key) == value for key, value in wanted.items()):
                    return data

    async def keep_alive(self) -> None:
        """Reads on until the server has said that it is there."""
        async with asyncio.timeout(PATIENCE):
            before = self.silences
            async for line in self._lines:
                self.silences += line == ":"
                if self.silences > before:
                    return


@contextlib.asynccontextmanager
async def streaming(agent: httpx.AsyncClient, path: str) -> AsyncIterator[Messages]:
    async with agent.stream("GET", path) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-store"
        yield Messages(response)


async def test_events_begin_with_what_is_and_go_on_with_what_happens(world: Any, agent: httpx.AsyncClient) -> None:
    world.project(1)
    world.project(2)
    async with (
        streaming(agent, "/api/preview/events") as every,
        streaming(agent, "/api/preview/events?project_id=2") as second,
    ):
        assert await every.next() == ("snapshot", [])
        assert await second.next() == ("snapshot", [])
        for project in (1, 2):
            answer = await agent.post("/api/preview/start", json={"project_id": project})
            assert answer.status_code == 200, answer.text
        await every.until("phase", project_id=1, phase="ready")
        ready = await second.until("phase", phase="ready")
        assert (ready["project_id"], ready["preview"]["errors"]) == (2, [])
        async with streaming(agent, "/api/preview/events?project_id=1") as late:
            name, [preview] = await late.next()
            assert (name, preview["project_id"], preview["phase"]) == ("snapshot", 1, "ready")
        await second.keep_alive()
        assert (await agent.post("/api/preview/stop", json={"project_id": 2})).status_code == 200
        removed = await second.until("removed")
        assert (removed["project_id"], removed["preview"]) == (2, None)


async def test_logs_follow_the_output_and_end_with_it(world: Any, agent: httpx.AsyncClient) -> None:
    world.project(1)
    assert (await agent.post("/api/preview/start", json={"project_id": 1})).status_code == 200
    async with streaming(agent, "/api/preview/1/logs") as lines:
        name, line = await lines.next()
        assert (name, line["stream"]) == ("line", "stdout")
        assert (await agent.post("/api/preview/stop", json={"project_id": 1})).status_code == 200
        await lines.until("end")
        assert await lines.next() == ("", None)


async def test_a_client_that_leaves_leaves_nothing_behind(
    world: Any, agent: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    world.project(1)
    assert (await agent.post("/api/preview/start", json={"project_id": 1})).status_code == 200
    assert (await agent.get("/api/preview/1")).json()["phase"]
    before = len(asyncio.all_tasks())
    for path in ("/api/preview/events", "/api/preview/events?project_id=1", "/api/preview/1/logs"):
        async with contextlib.AsyncExitStack() as clients:
            for _ in range(5):
                messages = await clients.enter_async_context(streaming(agent, path))
                await messages.next()
            assert len(asyncio.all_tasks()) > before
        await eventually(lambda: len(asyncio.all_tasks()) <= before)
    gc.collect()
    # A task that was dropped, not ended, would complain.
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_the_page_is_there_and_hides_no_route(agent: httpx.AsyncClient) -> None:
    page = await agent.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (await agent.get("/api/preview/7")).json() is None
    assert (await agent.get("/api/preview/events?project_id=x")).status_code == 422


FORM = "application/x-www-form-urlencoded"
SIMPLE = [FORM, "text/plain", "multipart/form-data; boundary=x", ""]
"""What a page of another site can send without asking first: https://fetch.spec.whatwg.org/#cors-safelisted-request-header"""


@pytest.mark.parametrize("kind", SIMPLE)
async def test_a_page_of_another_site_can_start_and_stop_nothing(
    world: Any, agent: httpx.AsyncClient, kind: str
) -> None:
    world.project(1)
    world.project(2)
    assert (await agent.post("/api/preview/start", json={"project_id": 1})).status_code == 200
    headers = {"Origin": "http://other.example", **({"Content-Type": kind} if kind else {})}
    for path, project in (("start", 2), ("stop", 1), ("stop-all", 1)):
        request = agent.build_request("POST", f"/api/preview/{path}", content=f'{{"project_id": {project}}}')
        # A browser sends the header for no other site.
        del request.headers["Authorization"]
        request.headers.update(headers)
        answer = await agent.send(request)
        assert answer.status_code == 401, path
        assert "access-control-allow-origin" not in answer.headers
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    preflight = await agent.options("/api/preview/start", headers={**headers, **asked})
    assert preflight.status_code >= 400
    assert "access-control-allow-headers" not in preflight.headers
    assert [container.name for container in world.containers()] == [f"{world.prefix}1"]


@pytest.mark.parametrize(
    "sent", ["", "Bearer", "Bearer wrong", TOKEN, f"Basic {TOKEN}", "Bearer \xff", f"bearer {TOKEN}x"]
)
async def test_without_the_token_nothing_is_done_or_told(world: Any, agent: httpx.AsyncClient, sent: str) -> None:
    world.project(1)
    headers = {b"Authorization": sent.encode("latin-1")}
    for path in ("start", "stop", "stop-all"):
        answer = await agent.post(f"/api/preview/{path}", json={"project_id": 1}, headers=headers)
        assert answer.status_code == 401
        assert TOKEN not in answer.text
    for path in ("events", "1", "1/logs", "status/1"):
        assert (await agent.get(f"/api/preview/{path}", headers=headers)).status_code == 401
    assert world.containers() == []


@pytest.mark.parametrize(
    "host", ["other.example", "other.example:80", "127.0.0.1.other.example", "localhost.other.example"]
)
async def test_another_name_that_leads_here_is_refused(world: Any, agent: httpx.AsyncClient, host: str) -> None:
    world.project(1)
    for path in ("/", "/health", "/api/preview/1"):
        assert (await agent.get(path, headers={"Host": host})).status_code == 400
    answer = await agent.post("/api/preview/start", json={"project_id": 1}, headers={"Host": host})
    assert answer.status_code == 400
    assert world.containers() == []


async def test_the_page_holds_no_token_and_stands_in_no_frame(agent: httpx.AsyncClient) -> None:
    page = await agent.get("/")
    assert TOKEN not in page.text
    assert page.headers["content-security-policy"] == "frame-ancestors 'none'"
    assert "set-cookie" not in page.headers


@pytest.mark.parametrize("token", ["", "short"])
def test_an_agent_without_a_token_does_not_start(token: str) -> None:
    agent = ROOT / "examples" / "agent"
    command = [sys.executable, "-c", "import app"]
    done = subprocess.run(
        command, cwd=agent, env={**os.environ, "AGENT_TOKEN": token}, capture_output=True, check=False
    )
    assert done.returncode != 0
    assert b"AGENT_TOKEN must have" in done.stderr

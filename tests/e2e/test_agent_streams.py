"""The example agent's server-sent events, over a real connection."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib.util
import json
import logging
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


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The agent's module, which says something to silent clients soon."""
    path = ROOT / "examples" / "agent" / "app.py"
    spec = importlib.util.spec_from_file_location("example_agent", path)
    assert spec is not None
    assert spec.loader is not None
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
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, trust_env=False) as client:
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

"""Event loops that are closed while a call waits for the engine."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from kosuke_docker import DockerService, Settings, _core


def test_a_call_of_a_closed_loop_keeps_nothing(fake_engine: Any, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("DOCKER_HOST", fake_engine.host)
    settings = Settings(**{**dict(Settings.from_env({})), "projects_dir": str(tmp_path), "postgres_host": None})
    service = DockerService(settings)
    gate = fake_engine.gate("GET /containers/")
    waiting: list[Any] = []

    async def ask() -> None:
        waiting.append(asyncio.ensure_future(service.is_container_running(1)))
        await gate.reached()

    async def close() -> float:
        gate.release()
        began = time.monotonic()
        await service.aclose()
        return time.monotonic() - began

    loop = asyncio.new_event_loop()
    loop.run_until_complete(ask())
    loop.close()
    assert asyncio.run(close()) < 1.5, "it waits 2 s for calls that nobody answers"
    assert _core.pending_calls() == 0
    waiting[0]._log_destroy_pending = False  # It never ends.

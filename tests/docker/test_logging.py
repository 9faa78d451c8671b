"""Logging goes to Python's `logging` under `kosuke_docker`, and secrets go nowhere."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from kosuke_docker import KosukeDockerError

SECRET = "s3cr3t-value-of-a-variable"


async def test_secrets_are_in_no_log_repr_or_error(
    world: Any, postgres: dict[str, Any], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    service = world.service(**postgres)
    texts = [repr(service), repr(service.settings), str(service.settings)]
    world.project(7)
    await service.start_preview(7, {"API_KEY": SECRET}, wait="ready")
    url = dict(line.split("=", 1) for line in world.container(7).attrs["Config"]["Env"])["DATABASE_URL"]
    password = url.partition("@")[0].rpartition(":")[2]
    texts += [repr(await service.get_preview(7)), repr(await service.get_preview_status(7)), repr(service.containers)]
    await service.stop_preview(7)

    await service.start_preview(7, {"PRINT": f"connecting to {url}", "EXIT_CODE": "1"})
    attempts: list[Callable[[], Awaitable[object]]] = [
        lambda: service.start_preview(7, {"API_KEY": SECRET, "A=B": SECRET}),
        lambda: service.start_preview(7, {"API_KEY": SECRET + "\0"}),
        lambda: world.service(**postgres, preview_bind_address="192.0.2.1").start_preview(8, {"API_KEY": SECRET}),
        lambda: world.service(**{**postgres, "postgres_port": 1}, postgres_required=True).start_preview(8),
        lambda: service.start_preview(7, {"PRINT": f"{url}", "EXIT_CODE": "1"}, wait="ready"),
    ]
    for attempt in attempts:
        if not (world.folder / "8").exists():
            world.project(8)
        await service.stop_preview(7)
        with pytest.raises(KosukeDockerError) as caught:
            await attempt()
        texts += [repr(caught.value), str(caught.value), repr(caught.value.__dict__)]
    texts += [repr(await service.get_preview(7)), caplog.text, "".join(capfd.readouterr())]

    everything = "\n".join(texts)
    assert "kosuke_docker" in caplog.text
    for secret in (SECRET, password, postgres["postgres_password"]):
        assert secret not in everything


async def test_records_come_under_our_name_only(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.project(7)
    service = world.service()
    await service.start_preview(7, wait="ready")
    await service.stop_preview(7)
    names = {record.name.partition(".")[0] for record in caplog.records}
    assert "kosuke_docker" in names
    assert not names & {"bollard", "hyper", "hyper_util", "reqwest", "tokio_postgres", "rustls"}

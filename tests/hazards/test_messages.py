"""What is said when an engine has something else than a preview needs: what happened, why, and the fix."""

from __future__ import annotations

from typing import Any

import pytest
from fake_engine import FakeEngine, Status
from kosuke_docker import (
    ContainerConflictError,
    EngineError,
    ImageNotFoundError,
    KosukeDockerError,
    PortRangeExhaustedError,
)


def has(error: pytest.ExceptionInfo[KosukeDockerError], *words: str) -> None:
    for word in words:
        assert word in str(error.value), str(error.value)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ('Get "https://ghcr.io/v2/": dial tcp: lookup ghcr.io: no such host', "registry cannot be reached"),
        ("manifest for mine:2 not found: manifest unknown", "no image of this name and tag"),
        ("pull access denied for mine, repository does not exist or may require 'docker login'", "docker login"),
        ("something else", "cannot be pulled"),
    ],
)
async def test_an_image_that_cannot_be_pulled(fake: Any, fake_engine: FakeEngine, words: str, why: str) -> None:
    fake.project(7)
    fake_engine.pull = [{"error": words, "errorDetail": {"message": words}}]
    service = fake.service(preview_default_image="mine:2")
    with pytest.raises(ImageNotFoundError) as caught:
        await service.start_preview(7)
    has(caught, "image mine:2", why, words, "PREVIEW_DEFAULT_IMAGE")
    with pytest.raises(ImageNotFoundError) as caught:
        await service.ensure_image()
    has(caught, "image mine:2", why, "PREVIEW_DEFAULT_IMAGE")


async def test_an_image_that_may_not_be_pulled(fake: Any) -> None:
    fake.project(7)
    with pytest.raises(ImageNotFoundError) as caught:
        await fake.service(preview_default_image="mine:2", preview_pull_policy="never").start_preview(7)
    has(caught, "image mine:2", "PREVIEW_PULL_POLICY", "PREVIEW_DEFAULT_IMAGE")


async def test_a_strangers_container_has_the_name(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(7)
    fake_engine.create_foreign(f"{fake.prefix}7")
    with pytest.raises(ContainerConflictError) as caught:
        await fake.service().start_preview(7)
    has(caught, f"{fake.prefix}7", "3000/tcp", "no preview", "remove or rename", "PREVIEW_CONTAINER_NAME_PREFIX")


async def test_a_strangers_container_that_does_not_run(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(7)
    fake_engine.create_foreign(f"{fake.prefix}7", start=False)
    with pytest.raises(ContainerConflictError) as caught:
        await fake.service().start_preview(7)
    has(caught, f"{fake.prefix}7", "remove or rename", "PREVIEW_CONTAINER_NAME_PREFIX")


async def test_our_container_with_another_port(fake: Any) -> None:
    fake.project(7)
    await fake.service().start_preview(7)
    with pytest.raises(ContainerConflictError) as caught:
        await fake.service(preview_port=5173).start_preview(7)
    has(caught, "5173/tcp", "PREVIEW_PORT", "stop_preview")


async def test_a_container_of_another_owner(fake: Any) -> None:
    fake.project(7)
    await fake.service(preview_owner="theirs").start_preview(7)
    with pytest.raises(ContainerConflictError) as caught:
        await fake.service(preview_owner="mine").stop_preview(7)
    has(caught, "owner theirs", "PREVIEW_OWNER=theirs", "this is mine", "PREVIEW_CONTAINER_NAME_PREFIX")


async def test_no_port_is_free(fake: Any, fake_engine: FakeEngine) -> None:
    fake.project(7)
    fake_engine.fail("POST /containers/[^/]*/start", Status(500, "Bind for 127.0.0.1 failed: all ports are allocated"))
    with pytest.raises(PortRangeExhaustedError) as caught:
        await fake.service().start_preview(7)
    has(caught, "PREVIEW_PORT_RANGE_START", "PREVIEW_PORT_RANGE_END", "all ports are allocated")


@pytest.mark.parametrize("words", ["page not found", "<html>404</html>", ""])
async def test_a_404_that_is_not_the_engines_stops_nothing(fake: Any, fake_engine: FakeEngine, words: str) -> None:
    fake.project(7)
    service = fake.service()
    await service.start_preview(7)
    fake_engine.fail("GET /containers/[^/]*/json", Status(404, words))
    with pytest.raises(EngineError, match="Docker Engine"):
        await service.stop_preview(7)
    fake_engine.heal()
    await service.stop_preview(7)
    assert fake_engine.containers(fake.prefix) == []

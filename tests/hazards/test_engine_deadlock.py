"""Engine 20.10 can deadlock when many containers start and end at once: <https://github.com/moby/moby/issues/46661>."""

from __future__ import annotations

import asyncio
from typing import Any

from private_engine import PrivateEngine

PREVIEWS = 20
SECONDS = 120
"""A round takes a tenth of that; after a deadlock nothing answers."""


async def test_the_engine_survives_rounds_of_many_starts_and_stops(
    world: Any, private_engine: PrivateEngine, count: Any
) -> None:
    for project in range(PREVIEWS):
        world.project(project)
    service = world.service(
        preview_network=private_engine.network, preview_command=["sleep", "600"], preview_stop_timeout=1
    )
    # One round in `make test`, a hundred in `make soak`.
    for _ in range(count(10) ** 2):
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(service.start_preview(project) for project in range(PREVIEWS)))
            await asyncio.gather(*(service.stop_preview(project) for project in range(PREVIEWS)))

"""Waiting for what happens elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SECONDS = 30


async def eventually(condition: Callable[[], bool], pause: float = 0.01) -> None:
    """Returns when the condition holds.

    Raises:
        TimeoutError: It did not come to hold.
    """
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - what it looks at knows no events
            await asyncio.sleep(pause)

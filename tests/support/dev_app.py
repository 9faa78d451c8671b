"""What a test tells the app of tests/apps/dev.js, and asks it."""

from __future__ import annotations

import asyncio
import urllib.request


def _ask(url: str, body: str | None) -> str:
    data = None if body is None else body.encode()
    with urllib.request.urlopen(url, data, timeout=10) as response:
        return str(response.read().decode())


async def tell(url: str, what: str, body: str = "") -> None:
    """See dev.js: `say`, `say-err`, `status/<code>`, `exit/<code>`."""
    await asyncio.to_thread(_ask, f"{url}/{what}", body)


async def requests(url: str) -> int:
    """How many requests the app saw, beside these."""
    return int(await asyncio.to_thread(_ask, f"{url}/requests", None))

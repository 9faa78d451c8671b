"""What a test makes the app of tests/apps/hostile.js do, with the rights that a preview has."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import Any

COMMAND = ["node", "hostile.js"]


class Refused(Exception):
    """What it ran was refused, with the code or the words that it got."""


def _post(url: str, script: str, timeout: float) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/run", script.encode(), timeout=timeout) as response:
        answer: dict[str, Any] = json.load(response)
    return answer


async def run(url: str, script: str, timeout: float = 90) -> Any:
    """What the script returned. See hostile.js: it may use `fs`, `sh` and `require`."""
    answer = await asyncio.to_thread(_post, url, script, timeout)
    if "error" in answer:
        raise Refused(answer["error"])
    return answer["value"]

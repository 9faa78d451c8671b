"""Where the pytest plugin connects what an agent's tests patch. In production nothing is connected."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from kosuke_docker.settings import Settings


def _no_client() -> Any | None:
    return None


def _no_database() -> Callable[[Settings, int], Awaitable[None]] | None:
    return None


default_client: Callable[[], Any | None] = _no_client
"""Gives the client for a service that was made without one; None: the native engine."""

database: Callable[[], Callable[[Settings, int], Awaitable[None]] | None] = _no_database
"""Gives what makes a project's database; None: the native core."""

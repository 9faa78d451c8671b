"""The pytest plugin: connects ``DockerService`` to what an agent's tests patch.

Loaded by pytest through the entry point of the wheel (``-p no:kosuke_docker`` turns it off). While ``docker.from_env``
is patched, a service that is made without a client uses what the patch returns; while ``asyncpg.connect`` is patched,
``_ensure_project_database`` goes through it. Otherwise nothing changes.
"""

from __future__ import annotations

import inspect
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from kosuke_docker import _seams
from kosuke_docker.settings import Settings

logger = logging.getLogger("kosuke_docker.database")


def _patched_client() -> Any | None:
    from_env = getattr(sys.modules.get("docker"), "from_env", None)
    original = inspect.ismethod(from_env) and from_env.__func__.__module__ == "docker.client"
    return None if from_env is None or original else from_env()


def _patched_database() -> Callable[[Settings, int], Awaitable[None]] | None:
    connect = getattr(sys.modules.get("asyncpg"), "connect", None)
    original = inspect.isfunction(connect) and connect.__module__ == "asyncpg.connection"
    return None if connect is None or original else _create_database


async def _create_database(settings: Settings, project_id: int) -> None:
    """Creates the database as the older service does, over the patched ``asyncpg.connect``."""
    if not settings.postgres_host:
        return
    connect = sys.modules["asyncpg"].connect
    name = f"kosuke_project_{project_id}"
    try:
        connection = await connect(
            host=settings.postgres_host,
            port=settings.postgres_port,
            user=settings.postgres_user,
            password=settings.postgres_password.get_secret_value(),
            database=settings.postgres_db,
        )
        try:
            await connection.execute(f"CREATE DATABASE {name}")
            logger.info("Created database for project %s", project_id)
        finally:
            await connection.close()
    except Exception as error:
        if type(error).__name__ != "DuplicateDatabaseError":
            logger.error("Error creating database for project %s: %s", project_id, error)


_seams.default_client = _patched_client
_seams.database = _patched_database

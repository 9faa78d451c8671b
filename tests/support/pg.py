"""A second opinion about what a Postgres server holds, and servers that a test may break."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import asyncpg
import node_image
import services

CLIENT = "pg@8.23.1"
SETTLE_SECONDS = 30
LEFT = "SELECT state, query FROM pg_stat_activity WHERE application_name = 'kosuke-docker'"
"""What this package has open on the server."""


class Server:
    """Asks as the admin, or as whom it is told."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.settings = settings

    async def connect(self, **changes: Any) -> asyncpg.Connection:
        values = {
            "host": self.settings["postgres_host"],
            "port": self.settings["postgres_port"],
            "user": "postgres",
            "password": self.settings["postgres_password"],
            "database": "postgres",
            **changes,
        }
        return await asyncpg.connect(**values)

    async def fetch(self, sql: str, *arguments: object, **changes: Any) -> list[Any]:
        connection = await self.connect(**changes)
        try:
            return list(await connection.fetch(sql, *arguments))
        finally:
            await connection.close()

    async def value(self, sql: str, *arguments: object, **changes: Any) -> Any:
        [row] = await self.fetch(sql, *arguments, **changes)
        return row[0]

    async def until(self, sql: str, *arguments: object, some: bool = True) -> list[Any]:
        """Asks again until there are rows, or with some=False none; gives them."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            rows = await self.fetch(sql, *arguments)
            if bool(rows) == some:
                return rows
            await asyncio.sleep(0.02)
        raise TimeoutError(f"{'no' if some else 'still'} rows after {SETTLE_SECONDS} s: {sql}")

    async def exists(self, name: str) -> tuple[bool, bool]:
        """Whether there is a database, and a role, of this name."""
        database, role = "SELECT FROM pg_database WHERE datname = $1", "SELECT FROM pg_roles WHERE rolname = $1"
        [row] = await self.fetch(f"SELECT EXISTS ({database}), EXISTS ({role})", name)
        return row[0], row[1]

    async def home(self) -> Path:
        """The data folder; the log stands beside it."""
        return Path(await self.value("SHOW data_directory"))

    async def postmaster(self) -> int:
        """The server's process id."""
        return int((await self.home() / "postmaster.pid").read_text().split()[0])


@contextlib.contextmanager
def cluster(*options: str, folder: Path | None = None) -> Iterator[Server]:
    """A server of its own on a free port, in a folder if one is given."""
    before = tempfile.tempdir
    tempfile.tempdir = None if folder is None else str(folder)
    try:
        with services.postgres(*options) as variables:
            yield Server(
                {
                    "postgres_host": variables["POSTGRES_HOST"],
                    "postgres_port": int(variables["POSTGRES_PORT"]),
                    "postgres_password": variables["POSTGRES_PASSWORD"],
                    "postgres_container_host": services.gateway(),
                }
            )
    finally:
        tempfile.tempdir = before


def environment(container: Any) -> dict[str, str]:
    return dict(line.split("=", 1) for line in container.attrs["Config"]["Env"])


def login(url: str) -> dict[str, Any]:
    user, _, rest = url.removeprefix("postgresql://").partition(":")
    password, _, rest = rest.partition("@")
    return {"user": user, "password": unquote(password), "database": rest.rpartition("/")[2]}


def put_client(project: Path) -> None:
    """Puts the npm package `pg` into a project's folder, for queries from inside its container."""
    home = services.BUILD / CLIENT.replace("@", "-")
    with services.locked(home.name):
        if not home.exists():
            work = home.with_suffix(".part")
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
            (work / "package.json").write_text("{}")
            node_image.find_node().run_npm("install", CLIENT, "--no-audit", "--no-fund", "--ignore-scripts", cwd=work)
            work.rename(home)
    shutil.copytree(home / "node_modules", project / "node_modules")


async def started(world: Any, server: Server, project_id: int, **changes: Any) -> tuple[Any, dict[str, Any]]:
    """A running preview's service, and the login that its container got."""
    world.project(project_id)
    service = world.service(**server.settings, **changes)
    await service.start_preview(project_id)
    return service, login(environment(world.container(project_id))["DATABASE_URL"])

"""Many calls at once, from two processes: no error, one database of a name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pg import LEFT, Server

CALLS = 50
LOCK_CLASS = 0x6B6F7375
ENSURE = """
import asyncio, logging, sys
from kosuke_docker import DockerService

logging.basicConfig(level=logging.WARNING)
ids = [{first} + (n if {many} else 0) for n in range({calls})]

async def main():
    service = DockerService()
    await asyncio.gather(*(service._ensure_project_database(project) for project in ids))

print("go", flush=True)
sys.stdin.readline()
asyncio.run(main())
"""


async def at_once(run_python: Any, settings: Any, script: str) -> None:
    processes = [run_python(script, settings) for _ in range(2)]
    for process in processes:
        assert await asyncio.to_thread(process.stdout.readline) == "go\n"
    # Both wait for this line, so that they begin together.
    results = [asyncio.to_thread(process.communicate, "\n") for process in processes]
    for process, (_, errors) in zip(processes, await asyncio.gather(*results), strict=True):
        # Every failure of an ensure is logged. That others work on it is none: it goes on without its turn after 5 s.
        failures = [line for line in errors.splitlines() if not line.endswith(": others work on it, too")]
        assert (process.returncode, failures) == (0, [])


async def test_fifty_ensures_of_one_name_from_two_processes(
    world: Any, server: Server, project_id: int, run_python: Any
) -> None:
    script = ENSURE.format(first=project_id, many=False, calls=CALLS)
    await at_once(run_python, world.settings(**server.settings), script)
    name = f"kosuke_project_{project_id}"
    assert await server.value("SELECT count(*) FROM pg_database WHERE datname = $1", name) == 1
    [row] = await server.fetch(
        "SELECT pg_get_userbyid(datdba), datallowconn, has_database_privilege('public', oid, 'CONNECT')"
        " FROM pg_database WHERE datname = $1",
        name,
    )
    assert tuple(row) == (name, True, False)
    await server.until(LEFT, some=False)


async def test_fifty_ensures_of_fifty_names_from_two_processes(
    world: Any, server: Server, project_id: int, run_python: Any
) -> None:
    script = ENSURE.format(first=project_id, many=True, calls=CALLS)
    await at_once(run_python, world.settings(**server.settings), script)
    names = [f"kosuke_project_{project_id + n}" for n in range(CALLS)]
    sql = "SELECT count(*) FROM pg_database WHERE datname = ANY($1) AND pg_get_userbyid(datdba) = datname"
    assert await server.value(sql, names) == CALLS
    await server.until(LEFT, some=False)


async def test_ensures_with_extensions_from_two_processes(
    world: Any, server: Server, project_id: int, run_python: Any
) -> None:
    """Each may build the database aside; one of them wins its name, and the others leave nothing."""
    script = ENSURE.format(first=project_id, many=False, calls=4)
    await at_once(run_python, world.settings(**server.settings, postgres_extensions=["hstore", "file_fdw"]), script)
    name = f"kosuke_project_{project_id}"
    sql = "SELECT array_agg(extname::text ORDER BY extname) FROM pg_extension WHERE extname <> 'plpgsql'"
    assert await server.value(sql, database=name) == ["file_fdw", "hstore"]
    left = "SELECT count(*) FROM pg_database WHERE datname LIKE 'kosuke\\_passing%'"
    assert await server.value(left) == 0
    await server.until(LEFT, some=False)


async def test_a_lock_that_somebody_holds_for_ever_is_waited_for_only_so_long(
    world: Any, server: Server, project_id: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Any role that may connect to the admin's database may hold it."""
    name = f"kosuke_project_{project_id}"
    holder = await server.connect()
    await holder.execute(f"SELECT pg_advisory_lock({LOCK_CLASS}, hashtext('{name}'))")
    await world.service(**server.settings)._ensure_project_database(project_id)
    assert await server.exists(name) == (True, True)
    assert "others work on it" in caplog.text
    await holder.close()

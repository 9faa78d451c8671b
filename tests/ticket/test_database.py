"""_ensure_project_database over a patched ``asyncpg.connect``."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import AsyncMock, MagicMock, patch

import asyncpg
import pytest
from kosuke_docker import DockerService, Settings


@pytest.fixture(autouse=True)
def with_a_server(bare_environment: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POSTGRES_HOST")


@pytest.fixture
def connection() -> AsyncMock:
    return AsyncMock()


@pytest.fixture
def connect(connection: AsyncMock) -> Iterator[AsyncMock]:
    with patch("asyncpg.connect", new_callable=AsyncMock, return_value=connection) as connect:
        yield connect


async def test_one_connect_one_execute_one_close(
    service: DockerService, connect: AsyncMock, connection: AsyncMock
) -> None:
    await service._ensure_project_database(123)
    connect.assert_awaited_once_with(
        host="postgres", port=5432, user="postgres", password="postgres", database="postgres"
    )
    connection.execute.assert_awaited_once_with("CREATE DATABASE kosuke_project_123")
    connection.close.assert_awaited_once_with()


async def test_the_settings_reach_connect(client: MagicMock, connect: AsyncMock) -> None:
    settings = Settings.model_validate(
        {
            "postgres_host": "db.example",
            "postgres_port": 6543,
            "postgres_user": "admin",
            "postgres_password": "s3cret",
            "postgres_db": "main",
        }
    )
    await DockerService(settings)._ensure_project_database(7)
    connect.assert_awaited_once_with(host="db.example", port=6543, user="admin", password="s3cret", database="main")


async def test_no_server_no_connection(client: MagicMock, connect: AsyncMock) -> None:
    await DockerService(Settings(postgres_host=None))._ensure_project_database(7)
    connect.assert_not_awaited()


async def test_a_database_that_is_there_is_fine(
    service: DockerService, connect: AsyncMock, connection: AsyncMock, caplog: pytest.LogCaptureFixture
) -> None:
    connection.execute.side_effect = asyncpg.DuplicateDatabaseError("exists")
    await service._ensure_project_database(123)
    connect.assert_awaited_once()
    connection.execute.assert_awaited_once()
    connection.close.assert_awaited_once_with()
    assert "Error creating database" not in caplog.text


@pytest.mark.parametrize("error", [asyncpg.InsufficientPrivilegeError("boom"), OSError("boom")])
async def test_another_error_is_logged_and_the_connection_closed(
    service: DockerService,
    connect: AsyncMock,
    connection: AsyncMock,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    connection.execute.side_effect = error
    await service._ensure_project_database(123)
    connect.assert_awaited_once()
    connection.close.assert_awaited_once_with()
    assert "Error creating database for project 123" in caplog.text
    assert "boom" in caplog.text


async def test_no_connection_is_logged(
    service: DockerService, connect: AsyncMock, connection: AsyncMock, caplog: pytest.LogCaptureFixture
) -> None:
    connect.side_effect = OSError("boom")
    await service._ensure_project_database(123)
    connection.execute.assert_not_awaited()
    assert "Error creating database for project 123" in caplog.text
    assert "boom" in caplog.text


@pytest.mark.parametrize("error", [None, asyncpg.DuplicateDatabaseError("exists"), OSError("boom")])
async def test_a_start_makes_the_database_first(
    service: DockerService,
    client: MagicMock,
    connect: AsyncMock,
    connection: AsyncMock,
    error: Exception | None,
) -> None:
    connection.execute.side_effect = error
    closed_before_run: list[bool] = []

    def run(**_: object) -> MagicMock:
        closed_before_run.append(connection.close.await_count == 1)
        return MagicMock()

    client.containers.run.side_effect = run
    await service.start_preview(123)
    assert closed_before_run == [True]
    connect.assert_awaited_once()
    connection.execute.assert_awaited_once_with("CREATE DATABASE kosuke_project_123")
    # Whoever makes the database in another way makes no role: the container is told the admin's credentials.
    environment = client.containers.run.call_args.kwargs["environment"]
    url = "postgresql://postgres:postgres@postgres:5432/kosuke_project_123"
    assert environment["POSTGRES_URL"] == environment["DATABASE_URL"] == url


async def test_an_adopted_container_needs_no_database(
    service: DockerService, client: MagicMock, connect: AsyncMock
) -> None:
    client.containers.get.side_effect = None
    client.containers.get.return_value = MagicMock(status="running", ports={"3000/tcp": [{"HostPort": "3005"}]})
    await service.start_preview(123)
    connect.assert_not_awaited()

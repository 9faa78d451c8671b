"""The environment that a preview's container gets."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Any
from unittest.mock import AsyncMock, patch

import pytest
from kosuke_docker import DockerService, InvalidInputError, Settings

BASE = {"PROJECT_ID": "7", "NODE_ENV": "development", "PORT": "3000", "NEXT_TELEMETRY_DISABLED": "1"}
URL = re.compile(r"postgresql://kosuke_project_7:([A-Za-z0-9]{32})@postgres:5432/kosuke_project_7")


@pytest.fixture
def service(settings: Settings) -> DockerService:
    return DockerService(settings)


@pytest.fixture
def with_database() -> DockerService:
    return DockerService(Settings())


def prepare(service: DockerService, project_id: int, variables: Any = None) -> dict[str, str]:
    made: dict[str, str] = service.environment_service.prepare_container_environment(project_id, variables)
    return made


@pytest.mark.parametrize("variables", [None, {}])
def test_without_a_database(service: DockerService, variables: dict[str, str] | None) -> None:
    assert prepare(service, 7, variables) == BASE
    assert service.environment_service.prepare_container_environment(7) == BASE
    assert service._prepare_container_environment(7, {}) == BASE


def test_the_port_is_the_one_inside(settings: Settings) -> None:
    service = DockerService(settings.model_copy(update={"preview_port": 8080}))
    assert prepare(service, 7)["PORT"] == "8080"


def test_with_a_database(with_database: DockerService) -> None:
    made = prepare(with_database, 7)
    assert list(made) == [*BASE, "POSTGRES_URL", "DATABASE_URL"]
    assert {name: made[name] for name in BASE} == BASE
    assert made["POSTGRES_URL"] == made["DATABASE_URL"]
    assert URL.fullmatch(made["POSTGRES_URL"])


def test_one_password_per_project(with_database: DockerService) -> None:
    first, again = prepare(with_database, 7), prepare(with_database, 7, {"A": "1"})
    assert first["DATABASE_URL"] == again["DATABASE_URL"]
    password = URL.fullmatch(first["DATABASE_URL"])
    assert password
    other = prepare(with_database, 8)["DATABASE_URL"]
    assert other.startswith("postgresql://kosuke_project_8:")
    assert password[1] not in other


def test_containers_are_told_their_own_address_of_the_server() -> None:
    settings = Settings(
        postgres_host="localhost", postgres_port=6543, postgres_container_host="db", postgres_container_port=5433
    )
    assert prepare(DockerService(settings), 7)["DATABASE_URL"].endswith("@db:5433/kosuke_project_7")
    settings = Settings(postgres_host="db.example", postgres_port=6543)
    assert prepare(DockerService(settings), 7)["DATABASE_URL"].endswith("@db.example:6543/kosuke_project_7")


def test_one_dsn_in_place_of_the_parts() -> None:
    settings = Settings.from_env(
        {"PREVIEW_POSTGRES_URL": "postgresql://admin:s3cret@db.example:6543/main", "POSTGRES_HOST": ""}
    )
    url = prepare(DockerService(settings), 7)["DATABASE_URL"]
    assert re.fullmatch(r"postgresql://kosuke_project_7:\w{32}@db\.example:6543/kosuke_project_7", url)


def test_a_replaced_database_hook_means_the_admins_credentials(with_database: DockerService) -> None:
    with patch.object(with_database, "_ensure_project_database", new_callable=AsyncMock):
        made = prepare(with_database, 7)
    assert (
        made["DATABASE_URL"] == made["POSTGRES_URL"] == "postgresql://postgres:postgres@postgres:5432/kosuke_project_7"
    )

    class Own(DockerService):
        async def _ensure_project_database(self, project_id: int) -> None:
            pass

    settings = Settings.model_validate({"postgres_user": "ad@min", "postgres_password": "p:/?#@ %"})
    assert prepare(Own(settings), 7)["DATABASE_URL"] == (
        "postgresql://ad%40min:p%3A%2F%3F%23%40%20%25@postgres:5432/kosuke_project_7"
    )


def test_the_caller_wins(with_database: DockerService) -> None:
    made = prepare(with_database, 7, {"DATABASE_URL": "mine", "PORT": "1", "PROJECT_ID": "x", "NEW": ""})
    assert (made["DATABASE_URL"], made["PORT"], made["PROJECT_ID"], made["NEW"]) == ("mine", "1", "x", "")
    assert URL.fullmatch(made["POSTGRES_URL"])


def test_none_is_left_out(service: DockerService) -> None:
    assert prepare(service, 7, {"A": None, "B": "1", "NODE_ENV": None}) == {**BASE, "B": "1"}


def test_the_input_is_not_changed(service: DockerService) -> None:
    given: dict[str, str | None] = {"A": None, "PORT": "1"}
    made = prepare(service, 7, given)
    made["LATER"] = "1"
    assert given == {"A": None, "PORT": "1"}
    assert "LATER" not in prepare(service, 7, given)


def test_any_mapping_will_do(service: DockerService) -> None:
    assert prepare(service, 7, MappingProxyType({"A": "1"})) == {**BASE, "A": "1"}


def test_odd_names_and_values_that_are_fine(service: DockerService) -> None:
    odd = {"lower": "a=b", "WITH SPACE": " ", "ÜMLAUT": "ü\n\t'\"$", "1": "x"}
    assert prepare(service, 7, odd) == {**BASE, **odd}


@pytest.mark.parametrize(
    ("name", "value"),
    [("A=B", "s3cret"), ("=", "s3cret"), ("A\0B", "s3cret"), ("", "s3cret"), ("A", "s3c\0ret"), ("A", "s3cret\ud800")],
)
async def test_what_no_container_can_have_is_refused(service: DockerService, name: str, value: str) -> None:
    with pytest.raises(InvalidInputError) as prepared:
        prepare(service, 7, {"GOOD": "s3cret", name: value})
    with pytest.raises(InvalidInputError) as hooked:
        service._prepare_container_environment(7, {"GOOD": "s3cret", name: value})
    with pytest.raises(InvalidInputError) as started:
        await service.start_preview(7, {"GOOD": "s3cret", name: value})
    shown = name.replace("\0", "\\0")
    for caught in (prepared, hooked, started):
        assert caught.value.field == f'env_vars["{shown}"]'
        assert str(caught.value).startswith(caught.value.field)
        assert "s3c" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1"), (-(10**30), str(-(10**30))), (1.5, "1.5"), (1e100, "1e+100"), (True, "True")]
)
def test_numbers_are_written_as_python_writes_them(service: DockerService, value: Any, text: str) -> None:
    assert prepare(service, 7, {"A": value})["A"] == text


@pytest.mark.parametrize(
    "value", [b"s3cret", ["s3cret"], {"s3cret": 1}, object(), ("s3cret",)], ids=lambda v: type(v).__name__
)
async def test_other_values_are_refused(service: DockerService, value: Any) -> None:
    with pytest.raises(InvalidInputError) as prepared:
        prepare(service, 7, {"A": value})
    with pytest.raises(InvalidInputError) as started:
        await service.start_preview(7, {"A": value})
    for caught in (prepared, started):
        assert caught.value.field == 'env_vars["A"]'
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("variables", [3, "A=1", ["A=1"], [("A", "1")], {1: "x"}, {b"A": "x"}, {None: "x"}], ids=str)
def test_what_is_no_mapping_of_names_is_refused(service: DockerService, variables: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        prepare(service, 7, variables)
    assert caught.value.field == "env_vars"


def test_a_bad_id_is_refused(service: DockerService) -> None:
    with pytest.raises(InvalidInputError) as caught:
        prepare(service, -1)
    assert caught.value.field == "project_id"

"""Where settings come from, and how a wrong one is told: field, environment variable and value."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import pytest
from kosuke_docker import DockerService, Settings, SettingsError, configure
from pydantic import BaseModel, ValidationError


def made(**values: Any) -> Settings:
    return Settings(**values)


SOURCES: dict[str, Callable[[dict[str, Any]], object]] = {
    "the constructor": lambda values: Settings(**values),
    "model_validate": Settings.model_validate,
    "an object": lambda values: Settings.of(SimpleNamespace(**values)),
    "a service": lambda values: DockerService(SimpleNamespace(**values)),
    "configure": lambda values: configure(SimpleNamespace(**values)),
    "the environment": lambda values: Settings.from_env({k.upper(): str(v) for k, v in values.items()}),
}


@pytest.mark.parametrize("use", [Settings.of, DockerService, configure], ids=["of", "service", "configure"])
@pytest.mark.parametrize("wrong", [{"preview_port": 5173}, "x", b"x", 7, [], object(), {}, True, "preview_port", len])
def test_what_has_no_setting_is_refused(use: Callable[[object], object], wrong: object) -> None:
    with pytest.raises(SettingsError, match=rf"^settings: .*{type(wrong).__name__}") as caught:
        use(wrong)
    assert caught.value.field == "settings"
    assert "5173" not in str(caught.value)
    assert ("Settings(**values)" in str(caught.value)) == isinstance(wrong, dict)


def test_an_object_with_one_setting_will_do() -> None:
    class Own(dict[str, int]):
        preview_port = 5173

    assert Settings.of(Own()).preview_port == 5173
    assert Settings.of(SimpleNamespace(PROJECTS_DIR="/srv")).projects_dir == "/srv"
    # A mock has every attribute, and none of them is a setting's value.
    with pytest.raises(SettingsError, match="preview_default_image"):
        Settings.of(MagicMock())


def test_what_is_not_given_is_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREVIEW_NETWORK", "from-env")
    monkeypatch.setenv("PREVIEW_OWNER", "from-env")
    monkeypatch.setenv("PREVIEW_PORT", "1")
    all_made = [
        Settings(preview_port=5173, preview_owner=None),
        Settings.model_validate({"preview_port": 5173, "preview_owner": None}),
        Settings.of(SimpleNamespace(preview_port=5173, PREVIEW_OWNER=None)),
    ]
    for settings in all_made:
        assert (settings.preview_port, settings.preview_owner, settings.preview_network) == (5173, None, "from-env")
    assert Settings() == Settings.from_env()
    # What another mapping holds is all that counts.
    assert Settings.from_env({}).preview_network == "kosuke_default"
    assert Settings.model_validate_json(all_made[0].model_dump_json()).preview_network == "from-env"


def test_a_server_that_is_given_wins_over_the_url_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREVIEW_POSTGRES_URL", "postgresql://u:s3cret@elsewhere/d")
    assert Settings().preview_postgres_url is not None
    assert Settings(preview_port=5173).preview_postgres_url is not None
    assert Settings(postgres_host=None).preview_postgres_url is None
    assert Settings.of(SimpleNamespace(POSTGRES_HOST="db")).preview_postgres_url is None


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("preview_port", 70000, "between 1 and 65535"),
        ("preview_port", "many", "between 1 and 65535"),
        ("preview_default_image", "Foo Bar", "name of an image"),
        ("preview_pull_policy", "sometimes", "'missing', 'always' or 'never'"),
        ("postgres_required", "perhaps", "true or false"),
        ("preview_memory", "lots", "6m"),
        ("preview_command", "x" * 131072, "128 KiB"),
    ],
)
def test_field_variable_and_value_are_named(source: str, field: str, value: object, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        SOURCES[source]({field: value})
    assert caught.value.field == field
    text = str(caught.value)
    # The environment has texts.
    assert text.startswith(tuple(f"{field} ({field.upper()}) is {shown!r}"[:100] for shown in (value, str(value))))
    assert words in text
    assert "\n" not in text


@pytest.mark.parametrize("source", SOURCES)
def test_a_range_names_both_ends(source: str) -> None:
    with pytest.raises(SettingsError) as caught:
        SOURCES[source]({"preview_port_range_start": 5000, "preview_port_range_end": 4999})
    for part in ("preview_port_range_start", "PREVIEW_PORT_RANGE_START", "5000", "preview_port_range_end", "4999"):
        assert part in str(caught.value)


NUMBERS: dict[str, tuple[list[Any], list[Any]]] = {
    "preview_port": ([1, 65535], [0, -1, 65536, 10**30]),
    "preview_port_range_start": ([1, 4000], [0, -1, 65536, 10**30]),
    "preview_port_range_end": ([3000, 65535], [0, -1, 65536]),
    "preview_probe_interval": ([0, 0.5, 86400], [-1, 1e9, float("inf"), float("nan")]),
    "preview_hook_timeout": ([0.001, 86400], [0, -1, 1e9, float("inf"), float("nan")]),
    "preview_probe_ttl": ([0, 0.5, 86400], [-1, 1e9, float("inf"), float("nan")]),
    "preview_probe_timeout": ([0.001, 1], [0, -1, 1e9, 1e300, float("nan")]),
    "preview_warmup_timeout": ([0.001, 3600], [0, -1, 1e9, float("nan")]),
    "preview_stop_timeout": ([0, 0.5, 3600], [-1, 1e9, float("inf"), float("nan")]),
    "engine_timeout": ([0.1], [0, -1, 1e-9, 1e9, float("nan")]),
    "engine_heartbeat_interval": ([0.05], [0, -1, 1e-9, 1e9, float("nan")]),
    "engine_heartbeat_timeout": ([0.05], [0, -1, 1e9, float("nan")]),
    "preview_memory": ([0, "6m", 1 << 50], [1, -1, "-1m", 1 << 62, 10**30, "1e3"]),
    "preview_log_size": ([0, "1m"], [1, -1, 1 << 62, 10**30]),
    "preview_cpu_shares": ([0, 2, 262144], [1, -1, 262145, 10**30]),
    "preview_cpus": ([0, 0.01, 64], [0.001, -1, 1e9, float("inf"), float("nan")]),
    "preview_pids": ([0, 1, 4194304], [-1, 4194305, 10**30]),
    "postgres_port": ([1, 65535], [0, -1, 65536]),
    "postgres_container_port": ([1, 65535], [0, -1, 65536]),
    "postgres_connection_limit": ([1, 65535], [0, -1, 65536]),
}


def test_each_number_has_its_bounds_tested() -> None:
    number = re.compile(r"\b(int|float)\b")
    assert {name for name, field in Settings.model_fields.items() if number.search(str(field.annotation))} == set(
        NUMBERS
    )


@pytest.mark.parametrize("host", ["db", None])
@pytest.mark.parametrize("field", NUMBERS)
def test_each_number_is_checked(field: str, host: str | None) -> None:
    good, bad = NUMBERS[field]
    for value in good:
        assert getattr(made(**{field: value, "postgres_host": host}), field) == value
    for value in [*bad, True, "", None if field != "postgres_container_port" else "x"]:
        with pytest.raises(SettingsError) as caught:
            made(**{field: value, "postgres_host": host})
        text = str(caught.value)
        assert text.startswith(f"{field} ({field.upper()}) is {value!r}"), text
        assert re.search(r"between \S+ (\(.*\) )?and \d", text), text


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("postgres_container_host", "postgresql://u:s3cret@db/x"),
        ("preview_postgres_url", "postgresql://u:s3cret@db/x?sslmode=maybe"),
        ("postgres_password", ["s3cret"]),
        ("preview_public_host", "u:s3cret@host"),
        ("preview_network", {"password": "s3cret"}),
    ],
)
def test_what_may_hold_a_secret_is_not_shown(field: str, value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        made(**{field: value})
    assert f"{field} ({field.upper()})" in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_a_long_value_is_cut() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(preview_network="a b" * 1000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("make", [lambda values: Settings(**values), Settings.model_validate])
def test_a_misspelt_field_is_refused_with_the_likely_one(make: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(SettingsError, match=r"^preview_prot: .*preview_port\b") as caught:
        make({"preview_prot": 1})
    assert caught.value.field == "preview_prot"
    with pytest.raises(SettingsError, match=r"^xyz: there is no such setting$"):
        make({"xyz": 1})


def test_a_model_of_the_agents_own_may_hold_settings() -> None:
    class Agent(BaseModel):
        docker: Settings

    assert Agent.model_validate({"docker": {"preview_port": 5173}}).docker.preview_port == 5173
    with pytest.raises(ValidationError, match="PREVIEW_PORT"):
        Agent.model_validate({"docker": {"preview_port": 0}})


def warnings_of(environ: dict[str, str], caplog: pytest.LogCaptureFixture) -> list[str]:
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="kosuke_docker"):
        Settings.from_env(environ)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("PREVIEW_IMGE", "PREVIEW_DEFAULT_IMAGE"),
        ("PREVIEW_IMAGE", "PREVIEW_DEFAULT_IMAGE"),
        ("PREVIEW_PROT", "PREVIEW_PORT"),
        ("PREVIEW_PORT_RANGE_STRAT", "PREVIEW_PORT_RANGE_START"),
        ("PREVIEW_COMAND", "PREVIEW_COMMAND"),
        ("PREVIEW_PULL_POLCY", "PREVIEW_PULL_POLICY"),
        ("ENGINE_TIMEOUTS", "ENGINE_TIMEOUT"),
        ("POSTGRES_HOTS", "POSTGRES_HOST"),
        ("POSTGRES_CONECTION_LIMIT", "POSTGRES_CONNECTION_LIMIT"),
        ("PROJECTS_DIRR", "PROJECTS_DIR"),
        ("HOST_WORKSPACE_DIRS", "HOST_WORKSPACE_DIR"),
    ],
)
def test_a_misspelt_variable_is_told_once(name: str, likely: str, caplog: pytest.LogCaptureFixture) -> None:
    told = warnings_of({name: "s3cret"}, caplog)
    assert len(told) == 1
    assert re.search(rf"\b{name}\b.*\b{likely}\b", told[0])
    assert "s3cret" not in told[0]
    assert warnings_of({name: "other"}, caplog) == []


OTHERS = [
    "PREVIEW_URL",
    "PREVIEW_HOST",
    "PREVIEW_SECRET",
    "PREVIEW_TOKEN",
    "PREVIEW_MODE",
    "PREVIEW_BRANCH",
    "PREVIEW_SERVICE_HOST",
    "PREVIEW_PORT_3000_TCP_ADDR",
    "POSTGRES_URL",
    "POSTGRES_DATABASE",
    "POSTGRES_PASSWORD_FILE",
    "POSTGRES_INITDB_ARGS",
    "POSTGRES_HOST_AUTH_METHOD",
    "POSTGRES_PRISMA_URL",
    "POSTGRES_SERVICE_PORT",
    "POSTGRES_PORT_5432_TCP",
    "POSTGRES_MULTIPLE_DATABASES",
    "ENGINE_ID",
    "HOST_IP",
    "HOST_NAME",
    "HOSTNAME",
    "PROJECT_DIR",
    "PROJECTS_ROOT",
]


def test_variables_of_other_software_are_let_be(caplog: pytest.LogCaptureFixture) -> None:
    assert warnings_of(dict.fromkeys([*OTHERS, *(name.lower() for name in Settings.model_fields)], "x"), caplog) == []


def test_the_constructor_tells_of_misspelt_variables_too(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PREVIEW_NETWROK", "x")
    DockerService(SimpleNamespace(preview_port=5173))
    assert [record.getMessage() for record in caplog.records if "PREVIEW_NETWROK" in record.getMessage()]

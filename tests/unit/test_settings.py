"""Settings: defaults, environment, the agent's own object, what is refused, and what is never shown."""

from __future__ import annotations

import os
import re
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from kosuke_docker import DockerService, Settings, SettingsError, configure
from pydantic import BaseModel, ValidationError

DEFAULTS: dict[str, Any] = {
    "preview_default_image": "ghcr.io/filopedraz/kosuke-template:v0.0.73",
    "projects_dir": str(Path("projects").absolute()),
    "host_workspace_dir": None,
    "preview_command": "cd /app && npm run dev -- -H 0.0.0.0",
    "preview_port": 3000,
    "preview_port_range_start": 3000,
    "preview_port_range_end": 4000,
    "preview_bind_address": "127.0.0.1",
    "preview_public_host": "localhost",
    "preview_network": "kosuke_default",
    "preview_network_isolation": "auto",
    "preview_container_name_prefix": "kosuke-preview-",
    "preview_owner": None,
    "preview_health_path": "/",
    "preview_probe_ttl": 1.0,
    "preview_probe_timeout": 5.0,
    "preview_probe_interval": 10.0,
    "preview_browser_errors": "auto",
    "preview_warmup_timeout": 60.0,
    "preview_hook_timeout": 120.0,
    "preview_stop_timeout": 5.0,
    "preview_pull_policy": "missing",
    "preview_memory": "2g",
    "preview_cpu_shares": 512,
    "preview_cpus": 0.0,
    "preview_pids": 512,
    "preview_log_size": "30m",
    "preview_user": "auto",
    "preview_capabilities": ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"],
    "preview_no_new_privileges": True,
    "preview_refuse_setuid": True,
    "preview_read_only": False,
    "preview_ready_pattern": None,
    "preview_error_pattern": None,
    "engine_timeout": 60.0,
    "engine_heartbeat_interval": 2.0,
    "engine_heartbeat_timeout": 5.0,
    "postgres_host": "postgres",
    "postgres_port": 5432,
    "postgres_user": "postgres",
    "postgres_password": "postgres",
    "postgres_db": "postgres",
    "preview_postgres_url": None,
    "postgres_container_host": None,
    "postgres_container_port": None,
    "postgres_required": False,
    "postgres_isolation": "auto",
    "postgres_database_prefix": "kosuke_project_",
    "postgres_connection_limit": 10,
    "postgres_extensions": [],
    "postgres_revoke_public": False,
}

# The environment's text, and what it means.
OTHERS: dict[str, tuple[str, Any]] = {
    "preview_default_image": ("mine:1", "mine:1"),
    "projects_dir": ("/srv/projects", "/srv/projects"),
    "host_workspace_dir": ("/host", "/host"),
    "preview_command": ("npm start", "npm start"),
    "preview_port": ("8080", 8080),
    "preview_port_range_start": ("3500", 3500),
    "preview_port_range_end": ("3600", 3600),
    "preview_bind_address": ("0.0.0.0", "0.0.0.0"),
    "preview_public_host": ("previews.example", "previews.example"),
    "preview_network": ("other_default", "other_default"),
    "preview_network_isolation": ("off", "off"),
    "preview_container_name_prefix": ("p-", "p-"),
    "preview_owner": ("me", "me"),
    "preview_health_path": ("/health", "/health"),
    "preview_probe_ttl": ("0", 0.0),
    "preview_probe_timeout": ("0.5", 0.5),
    "preview_probe_interval": ("0", 0.0),
    "preview_browser_errors": ("off", "off"),
    "preview_warmup_timeout": ("90", 90.0),
    "preview_hook_timeout": ("1.5", 1.5),
    "preview_stop_timeout": ("7", 7.0),
    "preview_pull_policy": ("never", "never"),
    "preview_memory": ("512m", "512m"),
    "preview_cpu_shares": ("1024", 1024),
    "preview_cpus": ("1.5", 1.5),
    "preview_pids": ("0", 0),
    "preview_log_size": ("0", "0"),
    "preview_user": ("1000:1000", "1000:1000"),
    "preview_capabilities": ("CHOWN, NET_RAW", ["CHOWN", "NET_RAW"]),
    "preview_no_new_privileges": ("false", False),
    "preview_refuse_setuid": ("0", False),
    "preview_read_only": ("true", True),
    "preview_ready_pattern": ("^up$", "^up$"),
    "preview_error_pattern": ("^broken", "^broken"),
    "engine_timeout": ("1.5", 1.5),
    "engine_heartbeat_interval": ("0.5", 0.5),
    "engine_heartbeat_timeout": ("1.5", 1.5),
    "postgres_host": ("db", "db"),
    "postgres_port": ("6543", 6543),
    "postgres_user": ("admin", "admin"),
    "postgres_password": ("s3cret", "s3cret"),
    "postgres_db": ("main", "main"),
    "preview_postgres_url": ("postgresql://a:s3cret@db/x", "postgresql://a:s3cret@db/x"),
    "postgres_container_host": ("db.inside", "db.inside"),
    "postgres_container_port": ("5433", 5433),
    "postgres_required": ("true", True),
    "postgres_isolation": ("role", "role"),
    "postgres_database_prefix": ("shop_a_", "shop_a_"),
    "postgres_connection_limit": ("5", 5),
    "postgres_extensions": ("hstore, uuid-ossp", ["hstore", "uuid-ossp"]),
    "postgres_revoke_public": ("1", True),
}

WRONG: list[tuple[str, str]] = [
    ("preview_default_image", " "),
    ("host_workspace_dir", "relative"),
    ("preview_command", "[]"),
    ("preview_port", "0"),
    ("preview_port", "65536"),
    ("preview_port", "many"),
    ("preview_port_range_start", "-1"),
    ("preview_port_range_end", "2999"),
    ("preview_bind_address", "localhost"),
    ("preview_public_host", "http://x"),
    ("preview_network", "a b"),
    ("preview_network_isolation", "on"),
    ("preview_container_name_prefix", "/x"),
    ("preview_health_path", "health"),
    ("preview_probe_ttl", "-1"),
    ("preview_probe_timeout", "0"),
    ("preview_probe_interval", "-1"),
    ("preview_browser_errors", "on"),
    ("preview_warmup_timeout", "soon"),
    ("preview_hook_timeout", "0"),
    ("preview_stop_timeout", "nan"),
    ("preview_pull_policy", "sometimes"),
    ("preview_memory", "lots"),
    ("preview_memory", "1k"),
    ("preview_memory", "-1"),
    ("preview_cpu_shares", "1"),
    ("preview_cpus", "-1"),
    ("preview_cpus", "nan"),
    ("preview_pids", "-1"),
    ("preview_log_size", "100k"),
    ("preview_user", "a:b:c"),
    ("preview_capabilities", "ALL"),
    ("preview_capabilities", "chown"),
    ("preview_ready_pattern", "("),
    ("preview_error_pattern", "["),
    ("engine_timeout", "0"),
    ("engine_heartbeat_interval", "0"),
    ("engine_timeout", "inf"),
    ("postgres_port", "70000"),
    ("postgres_container_host", "a/b"),
    ("postgres_required", "perhaps"),
    ("postgres_isolation", "some"),
    ("postgres_database_prefix", "pg_x"),
    ("postgres_database_prefix", "Shop"),
    ("postgres_database_prefix", "x" * 41),
    ("postgres_connection_limit", "0"),
    ("postgres_connection_limit", "70000"),
    ("postgres_extensions", 'a"; DROP'),
    ("preview_postgres_url", "postgresql://u:s3cret@h/d?sslmode=maybe"),
]


def test_the_defaults() -> None:
    assert Settings().plain() == DEFAULTS
    assert Settings.from_env({}).plain() == DEFAULTS
    assert Settings.from_env() == Settings()


@pytest.mark.parametrize("name", DEFAULTS)
def test_each_variable_is_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, value = OTHERS[name]
    assert Settings.from_env({name.upper(): text}).plain() == {**DEFAULTS, name: value}
    monkeypatch.setenv(name.upper(), text)
    assert Settings.from_env().plain() == {**DEFAULTS, name: value}
    assert DockerService().settings.plain() == {**DEFAULTS, name: value}


@pytest.mark.parametrize("name", sorted(DEFAULTS.keys() - {"postgres_host"}))
def test_an_empty_variable_counts_as_not_set(name: str) -> None:
    assert Settings.from_env({name.upper(): ""}).plain() == DEFAULTS


@pytest.mark.parametrize("given", [{"POSTGRES_HOST": ""}, None])
def test_no_postgres_host_no_databases(given: dict[str, str] | None) -> None:
    settings = Settings(postgres_host=None) if given is None else Settings.from_env(given)
    assert not settings.postgres_host
    environment = DockerService(settings)._prepare_container_environment(7, {})
    assert not {"POSTGRES_URL", "DATABASE_URL"} & environment.keys()


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ('["node", "dev.js"]', ["node", "dev.js"]),
        ('  ["node"]', ["node"]),
        ("[ -f x ] && npm start", "[ -f x ] && npm start"),
        ("[1, 2]", "[1, 2]"),
        ('"npm start"', '"npm start"'),
        ("npm start", "npm start"),
    ],
)
def test_a_json_list_is_argv(text: str, command: str | list[str]) -> None:
    assert Settings.from_env({"PREVIEW_COMMAND": text}).preview_command == command


@pytest.mark.parametrize(
    ("text", "kept"), [("none", []), ("engine", None), ('["KILL"]', ["KILL"]), ("KILL,", ["KILL"])]
)
def test_capabilities_have_two_words_of_their_own(text: str, kept: list[str] | None) -> None:
    assert Settings.from_env({"PREVIEW_CAPABILITIES": text}).preview_capabilities == kept


@pytest.mark.parametrize(("value", "problem"), [(536870912, None), (1, "6m"), (True, "bool")])
def test_memory_may_be_a_number(value: int, problem: str | None) -> None:
    if problem is None:
        assert Settings(preview_memory=value).preview_memory == value
    else:
        with pytest.raises(SettingsError, match="preview_memory"):
            Settings(preview_memory=value)


def test_the_projects_folder_is_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings().projects_dir == str(tmp_path / "projects")
    assert Settings.from_env({"PROJECTS_DIR": "./a/../b"}).projects_dir == str(tmp_path / "b")
    assert Settings.model_validate({"projects_dir": Path("c")}).projects_dir == str(tmp_path / "c")


def test_the_same_values_give_the_same_object(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = Settings.from_env()
    assert Settings.from_env() is first
    monkeypatch.setenv("UNRELATED", "1")
    assert Settings.from_env() is first
    monkeypatch.setenv("PREVIEW_PORT", "8080")
    changed = Settings.from_env()
    assert changed is not first
    assert changed.preview_port == 8080
    assert Settings.from_env(dict(os.environ)) is changed
    monkeypatch.delenv("PREVIEW_PORT")
    assert Settings.from_env() is first
    monkeypatch.chdir(tmp_path)
    assert Settings.from_env().projects_dir == str(tmp_path / "projects")


@pytest.mark.parametrize("spelled", [str.lower, str.upper], ids=["lower", "upper"])
def test_any_object_will_do(spelled: Any) -> None:
    source = SimpleNamespace(**{spelled(name): value for name, (_, value) in OTHERS.items()}, SOMETHING_ELSE=1)
    assert Settings.of(source).plain() == {name: value for name, (_, value) in OTHERS.items()}
    assert DockerService(source).settings.plain() == Settings.of(source).plain()


def test_what_an_object_lacks_takes_the_default() -> None:
    class Agent(BaseModel):
        PREVIEW_DEFAULT_IMAGE: str = "mine:1"
        PROJECTS_DIR: Path = Path("/srv/projects")
        postgres_host: str | None = None

    class Plain:
        PREVIEW_DEFAULT_IMAGE = "mine:1"
        PROJECTS_DIR = "/srv/projects"
        postgres_host = None

    expected = {
        **DEFAULTS,
        "preview_default_image": "mine:1",
        "projects_dir": "/srv/projects",
        "postgres_host": None,
    }
    assert Settings.of(Agent()).plain() == expected
    assert Settings.of(Plain()).plain() == expected
    assert Settings.of(Plain).plain() == expected


def test_settings_are_taken_as_they_are() -> None:
    settings = Settings(preview_port=8080)
    assert Settings.of(settings) is settings
    assert DockerService(settings).settings is settings


@pytest.mark.parametrize(("name", "text"), WRONG)
def test_a_wrong_value_is_named(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as from_environment:
        Settings.from_env({name.upper(): text})
    value: object = [] if text == "[]" else text
    with pytest.raises(SettingsError) as lower:
        Settings.of(SimpleNamespace(**{name: value}))
    with pytest.raises(SettingsError) as upper:
        DockerService(SimpleNamespace(**{name.upper(): value}))
    for caught in (from_environment, lower, upper):
        assert caught.value.field == name
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(SettingsError, match=name):
        Settings.model_validate({name: value})


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(SettingsError, match="preview_prot"):
        Settings.model_validate({"preview_prot": 1})


def test_secrets_are_not_shown() -> None:
    settings = Settings.from_env(
        {"POSTGRES_PASSWORD": "s3cret-a", "PREVIEW_POSTGRES_URL": "postgresql://u:s3cret-b@h/d"}
    )
    shown = [repr(settings), str(settings), repr(settings.model_dump()), settings.model_dump_json()]
    assert [text for text in shown if "s3cret" in text] == []
    assert repr(DockerService(settings)).count("s3cret") == 0


@pytest.mark.parametrize("name", ["postgres_password", "preview_postgres_url"])
def test_a_secret_of_a_wrong_type_is_not_shown(name: str) -> None:
    wrong = {"nested": "s3cret"}
    with pytest.raises(SettingsError) as caught:
        Settings.of(SimpleNamespace(**{name: wrong}))
    assert caught.value.field == name
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(SettingsError) as direct:
        Settings.model_validate({name: wrong})
    assert "s3cret" not in str(direct.value)


def test_secrets_beside_a_wrong_value_are_not_shown() -> None:
    environment = {
        "POSTGRES_PASSWORD": "s3cret",
        "PREVIEW_POSTGRES_URL": "postgresql://u:s3cret@h/d",
        "PREVIEW_PORT": "0",
    }
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(environment)
    assert caught.value.field == "preview_port"
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_a_dsn_that_cannot_be_read_is_refused_without_being_shown() -> None:
    environment = {"PREVIEW_POSTGRES_URL": "no dsn, s3cret"}
    with pytest.raises(SettingsError) as caught:
        # At the latest when it would be used.
        DockerService(Settings.from_env(environment)).containers.clear()
    assert caught.value.field == "preview_postgres_url"
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


def test_they_are_frozen() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.preview_port = 8080
    assert settings.preview_port == 3000


def test_configure_is_for_services_without_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREVIEW_CONTAINER_NAME_PREFIX", "env-")
    configure(Settings(preview_container_name_prefix="conf-"))
    assert DockerService().CONTAINER_NAME_PREFIX == "conf-"
    assert DockerService(Settings(preview_container_name_prefix="own-")).CONTAINER_NAME_PREFIX == "own-"
    configure(SimpleNamespace(PREVIEW_CONTAINER_NAME_PREFIX="agent-"))
    assert DockerService().CONTAINER_NAME_PREFIX == "agent-"
    configure(None)
    assert DockerService().CONTAINER_NAME_PREFIX == "env-"


def test_configure_refuses_what_is_wrong_and_keeps_what_was() -> None:
    configure(Settings(preview_container_name_prefix="conf-"))
    with pytest.raises(SettingsError, match="preview_port"):
        configure(SimpleNamespace(preview_port=0))
    assert DockerService().CONTAINER_NAME_PREFIX == "conf-"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_each_field_is_described_in_one_sentence(name: str) -> None:
    field = Settings.model_fields[name]
    assert re.fullmatch(r"[A-Z][^.]+(\.\S[^.]*)*\.", field.description or "")
    if field.annotation is float and name != "preview_cpus":
        assert (field.description or "").startswith("Seconds ")


def test_the_readme_names_each_variable() -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    table = readme.partition("\n## Settings\n")[2].partition("\n## ")[0]
    named = re.findall(
        r"`([A-Z]\w*)`", "".join(line.split("|")[1] for line in table.splitlines() if line.startswith("| `"))
    )
    assert sorted(named) == sorted(name.upper() for name in Settings.model_fields)

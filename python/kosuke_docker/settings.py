"""Every knob. The rules are the native core's; this is their Python face."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError, field_validator, model_validator

from kosuke_docker import _core
from kosuke_docker.errors import SettingsError


class Settings(BaseModel):
    """Settings of a service. Each field's environment variable is its name in upper case.

    Durations are seconds. A wrong value raises ``pydantic.ValidationError`` naming the field; values are never shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    preview_default_image: str = "ghcr.io/filopedraz/kosuke-template:v0.0.73"
    projects_dir: str = "projects"
    host_workspace_dir: str | None = None
    preview_command: str | list[str] = "cd /app && npm run dev -- -H 0.0.0.0"
    preview_port: int = 3000
    preview_port_range_start: int = 3000
    preview_port_range_end: int = 4000
    preview_bind_address: str = "127.0.0.1"
    preview_public_host: str = "localhost"
    preview_network: str = "kosuke_default"
    preview_container_name_prefix: str = "kosuke-preview-"
    preview_owner: str | None = None
    preview_health_path: str = "/"
    preview_probe_ttl: float = 1.0
    preview_probe_timeout: float = 5.0
    preview_warmup_timeout: float = 60.0
    preview_stop_timeout: float = 5.0
    preview_pull_policy: Literal["missing", "always", "never"] = "missing"
    preview_ready_pattern: str | None = None
    preview_error_pattern: str | None = None
    engine_timeout: float = 60.0
    engine_heartbeat_interval: float = 2.0
    engine_heartbeat_timeout: float = 5.0
    postgres_host: str | None = "postgres"
    postgres_port: int = 5432
    postgres_user: str = "postgres"
    postgres_password: SecretStr = SecretStr("postgres")
    postgres_db: str = "postgres"
    preview_postgres_url: SecretStr | None = None
    postgres_container_host: str | None = None
    postgres_container_port: int | None = None
    postgres_required: bool = False
    postgres_isolation: Literal["auto", "role", "admin"] = "auto"
    postgres_connection_limit: int = 20
    postgres_extensions: list[str] = []
    postgres_revoke_public: bool = False

    @field_validator("postgres_extensions", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        words = _argv(value)
        names = words.split(",") if isinstance(words, str) else words
        return [name.strip() for name in names if name.strip()]

    @field_validator("projects_dir", "host_workspace_dir", mode="before")
    @classmethod
    def _path_to_str(cls, value: object) -> object:
        return os.fspath(value) if isinstance(value, os.PathLike) else value

    @field_validator("projects_dir")
    @classmethod
    def _absolute(cls, value: str) -> str:
        return os.path.abspath(value) if value else value

    @model_validator(mode="after")
    def _check(self) -> Settings:
        _core.check_settings(self.plain())
        return self

    def plain(self) -> dict[str, Any]:
        """Every field, secrets as plain text: for the native core only."""
        values = dict(self)
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in values.items()
        }

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """The settings that the environment holds now; memoised on the values that it read.

        An empty variable counts as not set, except ``POSTGRES_HOST``: empty means no databases.

        Args:
            environ: Read this instead of ``os.environ``.

        Raises:
            SettingsError: A variable holds something that cannot be used; it is named.
        """
        source = os.environ if environ is None else environ
        found = tuple((name, source[name.upper()]) for name in cls.model_fields if name.upper() in source)
        return _from_texts(found, os.getcwd())

    @classmethod
    def of(cls, source: object) -> Settings:
        """The settings in any object: attributes named like a field, or like its environment variable.

        Args:
            source: A ``Settings``, or any object such as the agent's own settings. What it lacks takes the default.

        Raises:
            SettingsError: An attribute holds something that cannot be used; it is named.
        """
        if isinstance(source, cls):
            return source
        values: dict[str, object] = {}
        for name in cls.model_fields:
            for spelling in (name, name.upper()):
                if hasattr(source, spelling):
                    values[name] = getattr(source, spelling)
                    break
        return _validated(values)


@lru_cache(maxsize=32)
def _from_texts(found: tuple[tuple[str, str], ...], _base_of_relative_paths: str) -> Settings:
    values: dict[str, object] = {}
    for name, text in found:
        if text or name == "postgres_host":
            values[name] = _argv(text) if name == "preview_command" else text
    return _validated(values)


def _argv(text: str) -> str | list[str]:
    """A JSON list is argv; anything else is a shell line (``[ -f x ] && y`` is one)."""
    if text.lstrip().startswith("["):
        try:
            words = json.loads(text)
        except ValueError:
            return text
        if isinstance(words, list) and all(isinstance(word, str) for word in words):
            return words
    return text


def _validated(values: dict[str, object]) -> Settings:
    try:
        return Settings(**values)  # type: ignore[arg-type]  # pydantic converts and checks
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        text = first["msg"].removeprefix("Value error, ")
        if not field:
            field, _, text = text.partition(": ")
        raise SettingsError(f"{field}: {text}", operation="configure", field=field) from None

"""The settings as a pydantic model. The native core holds the rules about their values."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from pydantic import ConfigDict, Field, SecretStr, ValidationInfo, field_validator, model_validator

from kosuke_docker import _core
from kosuke_docker._sources import FromEnvironment, argv, attributes_of, found_in, values_of


class Settings(FromEnvironment):
    """Settings of a service. Each field's environment variable is its name in upper case.

    What is not given is read from the environment, and else takes the default. Durations are seconds.

    Raises:
        SettingsError: A value cannot be used. The field, its variable and the value are named; secrets are never shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    preview_default_image: str = Field(
        default="ghcr.io/filopedraz/kosuke-template:v0.0.73",
        description="Image that previews run in, such as `node:22`.",
    )
    projects_dir: str = Field(
        default="projects",
        description="Folder that holds one folder per project, named by the project's id; a relative path is made "
        "absolute.",
    )
    host_workspace_dir: str | None = Field(
        default=None,
        description="Absolute path on the host of the parent of `projects_dir`, for an agent in a container; None "
        "reads it from the agent's own mounts.",
    )
    preview_command: str | list[str] = Field(
        default="cd /app && npm run dev -- -H 0.0.0.0",
        description="Command of the container: a string runs under `sh -c`, a list (JSON in the environment) is argv.",
    )
    preview_port: int = Field(default=3000, description="TCP port that the dev server listens on inside the container.")
    preview_port_range_start: int = Field(default=3000, description="First host port that may be published.")
    preview_port_range_end: int = Field(default=4000, description="Last host port that may be published, included.")
    preview_bind_address: str = Field(
        default="127.0.0.1",
        description="IP address of the host on which ports are published.",
    )
    preview_public_host: str = Field(
        default="localhost",
        description="Host name or address in a preview's URL, without scheme and port.",
    )
    preview_network: str = Field(
        default="kosuke_default",
        description="Name of the engine's network where the deployment's own services are, such as a database server "
        "in a container; previews that are not kept apart join it, and it is made for them if it is missing.",
    )
    preview_network_isolation: Literal["auto", "off"] = Field(
        default="auto",
        description="Whether previews are kept apart on a network of their own, as far as the engine can (`auto`), "
        "where they reach the internet and their database only, or join `preview_network` (`off`).",
    )
    preview_container_name_prefix: str = Field(
        default="kosuke-preview-",
        description="Beginning of each container's name; the project's id follows.",
    )
    preview_owner: str | None = Field(
        default=None,
        description="Label value by which the processes of one deployment find their previews, and the deployment's "
        "name in the marks of its databases; None derives the label from the name prefix, and the deployment has a "
        "random id in `projects_dir`.",
    )
    preview_health_path: str = Field(
        default="/",
        description="Path that the probe and the warm-up request ask for, beginning with `/`.",
    )
    preview_probe_ttl: float = Field(
        default=1.0,
        description="Seconds for which an answer of the probe is reused; 0 asks every time.",
    )
    preview_probe_timeout: float = Field(default=5.0, description="Seconds that the probe waits for an answer.")
    preview_probe_interval: float = Field(
        default=10.0,
        description="Seconds after the last answer of a page that was ready until it is asked for again, while "
        "somebody listens to events or waits; 0 never asks.",
    )
    preview_browser_errors: Literal["auto", "off"] = Field(
        default="auto",
        description="Whether `Preview.browser_errors` is filled; `auto` also sets `AI_AGENT=kosuke-docker` for "
        "projects on Vite, whose dev server then passes on what goes wrong in the browser.",
    )
    preview_warmup_timeout: float = Field(
        default=60.0,
        description="Seconds that the warm-up request, which makes the dev server compile, waits for an answer.",
    )
    preview_hook_timeout: float = Field(
        default=120.0,
        description="Seconds that one call of a replaced hook or of an `on_progress` may take.",
    )
    preview_stop_timeout: float = Field(
        default=5.0,
        description="Seconds between the request to stop and the kill of a container; fractions are rounded up.",
    )
    preview_pull_policy: Literal["missing", "always", "never"] = Field(
        default="missing",
        description="When the image is pulled: `missing` where it is not here, `always` at each start that makes a "
        "container, or `never`.",
    )
    preview_memory: int | str = Field(
        default="2g",
        description="Bytes of memory of a preview, or a text such as `512m`; there is no swap beside it; 0: no limit.",
    )
    preview_cpu_shares: int = Field(
        default=512,
        description="Weight of a preview when CPUs are busy; other containers have 1024; 0: the engine's own.",
    )
    preview_cpus: float = Field(default=0.0, description="Number of CPUs that a preview may use at once; 0: no limit.")
    preview_pids: int = Field(
        default=512,
        description="Number of processes and threads that a preview may have at once; 0: no limit.",
    )
    preview_log_size: int | str = Field(
        default="30m",
        description="Bytes of a preview's output that the engine keeps, or a text such as `30m`, in three files; 0: as "
        "the engine is set up.",
    )
    preview_user: str = Field(
        default="auto",
        description="User that previews run as: the owner of the project's folder (`auto`), the image's own (`image`), "
        "`root`, or one such as `1000:1000`.",
    )
    preview_capabilities: list[str] | None = Field(
        default=["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"],
        description="Capabilities that a preview keeps, separated by commas in the environment; `none`, or `engine` "
        "for those that the engine gives.",
    )
    preview_no_new_privileges: bool = Field(
        default=True,
        description="Whether a setuid program such as `sudo` gains nothing in a preview.",
    )
    preview_refuse_setuid: bool = Field(
        default=True,
        description="Whether a preview can make no file setuid or setgid: a seccomp profile in place of the engine's.",
    )
    preview_read_only: bool = Field(
        default=False,
        description="Whether a preview can write only to the project's folder and to folders in memory.",
    )
    preview_ready_pattern: str | None = Field(
        default=None,
        description="Regular expression for a line that says that the dev server is up, beside the known ones.",
    )
    preview_error_pattern: str | None = Field(
        default=None,
        description="Regular expression for a line that is an error of the page, beside the known ones.",
    )
    engine_timeout: float = Field(
        default=60.0,
        description="Seconds that one call to the engine may take; streams and pulls are not bounded by it.",
    )
    engine_heartbeat_interval: float = Field(
        default=2.0,
        description="Seconds between two pings that find out whether the engine still answers.",
    )
    engine_heartbeat_timeout: float = Field(
        default=5.0,
        description="Seconds that such a ping may take before the engine counts as unreachable.",
    )
    postgres_host: str | None = Field(
        default="postgres",
        description="Host of the database server's admin connection; None or empty turns databases off.",
    )
    postgres_port: int = Field(default=5432, description="TCP port of the admin connection.")
    postgres_user: str = Field(
        default="postgres",
        description="User of the admin connection: a superuser, or a role with CREATEDB and CREATEROLE.",
    )
    postgres_password: SecretStr = Field(default=SecretStr("postgres"), description="Password of the admin connection.")
    postgres_db: str = Field(default="postgres", description="Database that the admin connection opens.")
    preview_postgres_url: SecretStr | None = Field(
        default=None,
        description="One DSN for the admin connection in place of `postgres_host` and the other parts; `sslmode` has "
        "libpq's meaning.",
    )
    postgres_container_host: str | None = Field(
        default=None,
        description="Host of the database server as containers reach it; None takes the admin connection's.",
    )
    postgres_container_port: int | None = Field(
        default=None,
        description="TCP port of the database server as containers reach it; None takes the admin connection's.",
    )
    postgres_required: bool = Field(
        default=False,
        description="Whether a start fails when its database cannot be made.",
    )
    postgres_isolation: Literal["auto", "role", "admin"] = Field(
        default="auto",
        description="Credentials that previews get: a role of their own (`role`), the admin's (`admin`), or a role "
        "if the admin may make one (`auto`).",
    )
    postgres_database_prefix: str = Field(
        default="kosuke_project_",
        description="Beginning of the name of each preview's database and role, which the project's id follows: at "
        "most 40 lower case letters, digits and `_`, beginning with a letter, not with `pg_`.",
    )
    postgres_connection_limit: int = Field(
        default=10,
        description="Number of sessions that each preview's role may have at once; all previews together must stay "
        "below the server's `max_connections`.",
    )
    postgres_extensions: list[str] = Field(
        default=[],
        description="Names of extensions that the admin makes in each preview's database, separated by commas in the "
        "environment.",
    )
    postgres_revoke_public: bool = Field(
        default=False,
        description="Whether the server's other databases are closed to the previews' roles.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """Pydantic takes True for 1."""
        if isinstance(value, bool) and (rule := _core.setting_rule(str(info.field_name))) is not None:
            raise ValueError(rule)
        return value

    @field_validator("postgres_extensions", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return _names(value) if isinstance(value, str) else value

    @field_validator("preview_capabilities", mode="before")
    @classmethod
    def _capabilities(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        if value.strip() == "engine":
            return None
        return [] if value.strip() == "none" else _names(value)

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

        A variable that looks like a misspelt setting is logged, once. An empty variable counts as not set, except
        ``POSTGRES_HOST``: empty means no databases.

        Args:
            environ: Read this instead of ``os.environ``.

        Raises:
            SettingsError: A variable holds something that cannot be used; it is named.
        """
        source = os.environ if environ is None else environ
        return _from_texts(found_in(cls, source), os.getcwd())

    @classmethod
    def of(cls, source: object) -> Settings:
        """The settings in any object: attributes named like a field, or like its environment variable.

        Args:
            source: A ``Settings``, or any object such as the agent's own settings. What it lacks is read from the
                environment, and else takes the default.

        Raises:
            SettingsError: It has no setting, or one that cannot be used; that is named.
        """
        return source if isinstance(source, cls) else cls(**attributes_of(cls, source))


@lru_cache(maxsize=32)
def _from_texts(found: tuple[tuple[str, str], ...], _base_of_relative_paths: str) -> Settings:
    return Settings.exactly(values_of(found))


def _names(text: str) -> list[str]:
    words = argv(text)
    names = words.split(",") if isinstance(words, str) else words
    return [name.strip() for name in names if name.strip()]

//! The settings from the dict that the Python model makes.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use secrecy::SecretString;

use super::errors::raise;
use crate::containment::{self, Containment, User};
use crate::error::Error;
use crate::rules::Bounds;
use crate::settings::{Command, Postgres, PostgresAdmin, PostgresIsolation, PullPolicy, Settings};

struct Fields<'a, 'py>(&'a Bound<'py, PyDict>);

impl<'py> Fields<'_, 'py> {
    fn get(&self, field: &'static str) -> PyResult<Option<Bound<'py, PyAny>>> {
        Ok(self.0.get_item(field)?.filter(|value| !value.is_none()))
    }

    fn optional<T>(&self, field: &'static str) -> PyResult<Option<T>>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        self.get(field)?
            .map(|value| value.extract().map_err(|_| wrong(field, "has a wrong type or is out of range")))
            .transpose()
    }

    /// A number within its bounds.
    fn optional_number<T>(&self, field: &'static str) -> PyResult<Option<T>>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        let Some(value) = self.get(field)? else { return Ok(None) };
        let bounds = Bounds::of(field);
        let words = bounds.map_or("must be a number", |bounds| bounds.words);
        let inside = value.extract::<f64>().is_ok_and(|number| bounds.is_none_or(|bounds| bounds.hold(number)));
        if !inside {
            return Err(wrong(field, words));
        }
        value.extract().map(Some).map_err(|_| wrong(field, words))
    }

    fn number<T>(&self, field: &'static str) -> PyResult<T>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        self.optional_number(field)?.ok_or_else(|| wrong(field, "is missing"))
    }

    fn required<T>(&self, field: &'static str) -> PyResult<T>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        self.optional(field)?.ok_or_else(|| wrong(field, "is missing"))
    }

    /// A number of bytes, or a text such as `2g`.
    fn bytes(&self, field: &'static str) -> PyResult<u64> {
        let value = self.get(field)?.ok_or_else(|| wrong(field, "is missing"))?;
        bytes_of(&value).ok_or_else(|| wrong(field, rule(field).unwrap_or("must be a number of bytes")))
    }

    fn seconds(&self, field: &'static str) -> PyResult<Duration> {
        Duration::try_from_secs_f64(self.number(field)?).map_err(|_| wrong(field, "must be a number of seconds"))
    }
}

/// A number of bytes, or a text such as `2g`.
pub(super) fn bytes_of(value: &Bound<'_, PyAny>) -> Option<u64> {
    match value.extract::<u64>() {
        Ok(bytes) => Some(bytes),
        Err(_) => containment::bytes(&value.extract::<String>().ok()?),
    }
}

/// The rule for a number among the settings, in words.
pub(super) fn rule(field: &str) -> Option<&'static str> {
    Bounds::of(field).map(|bounds| bounds.words)
}

fn wrong(field: &'static str, problem: impl Display) -> PyErr {
    raise(&Error::InvalidSetting { field, problem: problem.to_string() })
}

/// The settings from the dict that the Python model makes: every field, secrets as plain text.
pub(super) fn settings(dict: &Bound<'_, PyDict>) -> PyResult<Settings> {
    let fields = Fields(dict);
    let command = match fields.get("preview_command")? {
        Some(words) if words.is_instance_of::<PyList>() => Command::Argv(words.extract()?),
        _ => Command::Shell(fields.required("preview_command")?),
    };
    let policy: String = fields.required("preview_pull_policy")?;
    let prefix: String = fields.required("preview_container_name_prefix")?;
    let owner: Option<String> = fields.optional("preview_owner")?;
    let address: String = fields.required("preview_bind_address")?;
    Ok(Settings {
        preview_default_image: fields.required("preview_default_image")?,
        projects_dir: PathBuf::from(fields.required::<String>("projects_dir")?),
        host_workspace_dir: fields.optional::<String>("host_workspace_dir")?.map(PathBuf::from),
        preview_command: command,
        preview_port: fields.number("preview_port")?,
        preview_port_range_start: fields.number("preview_port_range_start")?,
        preview_port_range_end: fields.number("preview_port_range_end")?,
        preview_bind_address: address
            .parse::<IpAddr>()
            .map_err(|_| wrong("preview_bind_address", "is not an IP address"))?,
        preview_public_host: fields.required("preview_public_host")?,
        preview_network: fields.required("preview_network")?,
        preview_network_isolation: match fields.required::<String>("preview_network_isolation")?.as_str() {
            "auto" => true,
            "off" => false,
            _ => return Err(wrong("preview_network_isolation", "must be 'auto' or 'off'")),
        },
        preview_owner_is_set: owner.is_some(),
        preview_owner: owner.unwrap_or_else(|| prefix.trim_end_matches(['-', '_', '.']).to_owned()),
        preview_container_name_prefix: prefix,
        preview_health_path: fields.required("preview_health_path")?,
        preview_probe_ttl: fields.seconds("preview_probe_ttl")?,
        preview_probe_timeout: fields.seconds("preview_probe_timeout")?,
        preview_browser_errors: match fields.required::<String>("preview_browser_errors")?.as_str() {
            "auto" => true,
            "off" => false,
            _ => return Err(wrong("preview_browser_errors", "must be 'auto' or 'off'")),
        },
        preview_probe_interval: fields.seconds("preview_probe_interval")?,
        preview_warmup_timeout: fields.seconds("preview_warmup_timeout")?,
        preview_hook_timeout: fields.seconds("preview_hook_timeout")?,
        preview_stop_timeout: fields.seconds("preview_stop_timeout")?,
        preview_pull_policy: match policy.as_str() {
            "missing" => PullPolicy::Missing,
            "always" => PullPolicy::Always,
            "never" => PullPolicy::Never,
            _ => return Err(wrong("preview_pull_policy", "must be 'missing', 'always' or 'never'")),
        },
        containment: containment(&fields)?,
        preview_ready_pattern: fields.optional::<String>("preview_ready_pattern")?.filter(|text| !text.is_empty()),
        preview_error_pattern: fields.optional::<String>("preview_error_pattern")?.filter(|text| !text.is_empty()),
        engine_timeout: fields.seconds("engine_timeout")?,
        engine_heartbeat_interval: fields.seconds("engine_heartbeat_interval")?,
        engine_heartbeat_timeout: fields.seconds("engine_heartbeat_timeout")?,
        postgres: postgres(&fields)?,
        postgres_required: fields.required("postgres_required")?,
    })
}

fn containment(fields: &Fields<'_, '_>) -> PyResult<Containment> {
    let cpus = containment::cpu_millis(fields.number("preview_cpus")?);
    Ok(Containment {
        memory: fields.bytes("preview_memory")?,
        cpu_shares: fields.number("preview_cpu_shares")?,
        cpu_millis: cpus.ok_or_else(|| wrong("preview_cpus", "must be a number of CPUs from 0"))?,
        pids: fields.number("preview_pids")?,
        log_size: fields.bytes("preview_log_size")?,
        user: User::from_setting(&fields.required::<String>("preview_user")?),
        capabilities: fields.optional("preview_capabilities")?,
        no_new_privileges: fields.required("preview_no_new_privileges")?,
        refuse_setuid: fields.required("preview_refuse_setuid")?,
        read_only: fields.required("preview_read_only")?,
    })
}

fn postgres(fields: &Fields<'_, '_>) -> PyResult<Option<Postgres>> {
    let url: Option<String> = fields.optional("preview_postgres_url")?;
    let host: Option<String> = fields.optional("postgres_host")?;
    let (url, host) = (url.filter(|url| !url.is_empty()), host.filter(|host| !host.is_empty()));
    let is_configured = url.is_some() || host.is_some();
    let parts = PostgresAdmin::Parts {
        host: host.unwrap_or_default(),
        port: fields.number("postgres_port")?,
        user: fields.required("postgres_user")?,
        password: SecretString::from(fields.required::<String>("postgres_password")?),
        database: fields.required("postgres_db")?,
    };
    let postgres = Postgres {
        admin: url.map_or(parts, |url| PostgresAdmin::Url(SecretString::from(url))),
        container_host: fields.optional("postgres_container_host")?,
        container_port: fields.optional_number("postgres_container_port")?,
        isolation: match fields.required::<String>("postgres_isolation")?.as_str() {
            "auto" => PostgresIsolation::Auto,
            "role" => PostgresIsolation::Role,
            "admin" => PostgresIsolation::Admin,
            _ => return Err(wrong("postgres_isolation", "must be 'auto', 'role' or 'admin'")),
        },
        database_prefix: fields.required("postgres_database_prefix")?,
        connection_limit: fields.number("postgres_connection_limit")?,
        extensions: fields.required("postgres_extensions")?,
        revoke_public: fields.required("postgres_revoke_public")?,
    };
    // Also without a server: a number that is wrong is wrong on the day that one is set, too.
    postgres.validate().map_err(|error| raise(&error.into()))?;
    Ok(is_configured.then_some(postgres))
}

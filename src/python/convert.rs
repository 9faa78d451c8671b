//! Python values to the core's types, and the core's types to dicts for the pydantic models.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString};
use secrecy::SecretString;

use super::errors::{invalid, raise};
use crate::database::{DatabaseInfo, Owned};
use crate::engine::PullProgress;
use crate::environment::Variables;
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{CompileError, Phase, Preview};
use crate::service::{ContainerInfo, LogLine, Patience, PreviewEvent, Swept};
use crate::settings::{Command, Postgres, PostgresAdmin, PostgresIsolation, PullPolicy, Settings};

/// A project's id: a whole number from 0, nothing that merely converts to one.
pub(super) fn key(value: &Bound<'_, PyAny>) -> PyResult<PreviewId> {
    key_of(value, "project_id")
}

/// The same for an argument of another name.
pub(super) fn key_of(value: &Bound<'_, PyAny>, field: &'static str) -> PyResult<PreviewId> {
    if !value.is_instance_of::<PyInt>() || value.is_instance_of::<PyBool>() {
        return Err(invalid(field, format!("must be an int, not {}", type_name(value))));
    }
    // Postgres and JSON readers know signed 64 bits.
    match value.extract::<i64>().map(u64::try_from) {
        Ok(Ok(id)) => Ok(PreviewId::project(id)),
        Ok(Err(_)) => Err(invalid(field, "is negative")),
        Err(_) if value.lt(0)? => Err(invalid(field, "is negative")),
        Err(_) => Err(invalid(field, "is larger than 9223372036854775807")),
    }
}

fn type_name(value: &Bound<'_, PyAny>) -> String {
    value.get_type().name().map_or_else(|_| "this".to_owned(), |name| name.to_string())
}

/// A mapping of variables. None values are left out; numbers are written as Python writes them.
pub(super) fn variables(value: Option<&Bound<'_, PyAny>>) -> PyResult<Variables> {
    let mut variables = Variables::new();
    let Some(value) = value else { return Ok(variables) };
    let items = value
        .call_method0("items")
        .map_err(|_| invalid("env_vars", format!("must be a mapping, not {}", type_name(value))))?;
    for item in items.try_iter()? {
        let (name, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = item?.extract()?;
        let Ok(name) = name.extract::<String>() else {
            return Err(invalid("env_vars", format!("a name must be a str, not {}", type_name(&name))));
        };
        if value.is_none() {
            continue;
        }
        let simple =
            value.is_instance_of::<PyString>() || value.is_instance_of::<PyInt>() || value.is_instance_of::<PyFloat>();
        if !simple {
            let problem = format!("the value must be a str, not {}", type_name(&value));
            return Err(invalid(format!("env_vars[{name:?}]"), problem));
        }
        let Ok(text) = value.str()?.extract() else {
            return Err(invalid(format!("env_vars[{name:?}]"), "the value is not valid Unicode"));
        };
        variables.push((name, text));
    }
    Ok(variables)
}

/// Variables as a dict.
pub(super) fn variables_dict<'py>(py: Python<'py>, variables: &Variables) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in variables {
        dict.set_item(name, value)?;
    }
    Ok(dict)
}

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

    fn required<T>(&self, field: &'static str) -> PyResult<T>
    where
        T: for<'a> FromPyObject<'a, 'py>,
    {
        self.optional(field)?.ok_or_else(|| wrong(field, "is missing"))
    }

    fn seconds(&self, field: &'static str) -> PyResult<Duration> {
        Duration::try_from_secs_f64(self.required(field)?)
            .map_err(|_| wrong(field, "must be a number of seconds from 0"))
    }
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
        preview_port: fields.required("preview_port")?,
        preview_port_range_start: fields.required("preview_port_range_start")?,
        preview_port_range_end: fields.required("preview_port_range_end")?,
        preview_bind_address: address
            .parse::<IpAddr>()
            .map_err(|_| wrong("preview_bind_address", "is not an IP address"))?,
        preview_public_host: fields.required("preview_public_host")?,
        preview_network: fields.required("preview_network")?,
        preview_owner: owner.unwrap_or_else(|| prefix.trim_end_matches(['-', '_', '.']).to_owned()),
        preview_container_name_prefix: prefix,
        preview_health_path: fields.required("preview_health_path")?,
        preview_probe_ttl: fields.seconds("preview_probe_ttl")?,
        preview_probe_timeout: fields.seconds("preview_probe_timeout")?,
        preview_warmup_timeout: fields.seconds("preview_warmup_timeout")?,
        preview_stop_timeout: fields.seconds("preview_stop_timeout")?,
        preview_pull_policy: match policy.as_str() {
            "missing" => PullPolicy::Missing,
            "always" => PullPolicy::Always,
            "never" => PullPolicy::Never,
            _ => return Err(wrong("preview_pull_policy", "must be 'missing', 'always' or 'never'")),
        },
        preview_ready_pattern: fields.optional::<String>("preview_ready_pattern")?.filter(|text| !text.is_empty()),
        preview_error_pattern: fields.optional::<String>("preview_error_pattern")?.filter(|text| !text.is_empty()),
        engine_timeout: fields.seconds("engine_timeout")?,
        engine_heartbeat_interval: fields.seconds("engine_heartbeat_interval")?,
        engine_heartbeat_timeout: fields.seconds("engine_heartbeat_timeout")?,
        postgres: postgres(&fields)?,
        postgres_required: fields.required("postgres_required")?,
    })
}

fn postgres(fields: &Fields<'_, '_>) -> PyResult<Option<Postgres>> {
    let url: Option<String> = fields.optional("preview_postgres_url")?;
    let host: Option<String> = fields.optional("postgres_host")?;
    let admin = match (url.filter(|url| !url.is_empty()), host.filter(|host| !host.is_empty())) {
        (Some(url), _) => PostgresAdmin::Url(SecretString::from(url)),
        (None, Some(host)) => PostgresAdmin::Parts {
            host,
            port: fields.required("postgres_port")?,
            user: fields.required("postgres_user")?,
            password: SecretString::from(fields.required::<String>("postgres_password")?),
            database: fields.required("postgres_db")?,
        },
        (None, None) => return Ok(None),
    };
    Ok(Some(Postgres {
        admin,
        container_host: fields.optional("postgres_container_host")?,
        container_port: fields.optional("postgres_container_port")?,
        isolation: match fields.required::<String>("postgres_isolation")?.as_str() {
            "auto" => PostgresIsolation::Auto,
            "role" => PostgresIsolation::Role,
            "admin" => PostgresIsolation::Admin,
            _ => return Err(wrong("postgres_isolation", "must be 'auto', 'role' or 'admin'")),
        },
        connection_limit: fields.required("postgres_connection_limit")?,
        extensions: fields.required("postgres_extensions")?,
        revoke_public: fields.required("postgres_revoke_public")?,
    }))
}

/// A preview as the dict that the Python model `Preview` is filled from.
pub(super) fn preview_dict<'py>(py: Python<'py>, preview: &Preview) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("project_id", preview.project_id)?;
    dict.set_item("phase", preview.phase.as_str())?;
    dict.set_item("running", preview.running)?;
    dict.set_item("url", &preview.url)?;
    dict.set_item("port", preview.port)?;
    dict.set_item("container_id", &preview.container_id)?;
    dict.set_item("container_name", &preview.container_name)?;
    dict.set_item("compilation_complete", preview.compilation_complete)?;
    dict.set_item("is_responding", preview.is_responding)?;
    dict.set_item("http_status", preview.http_status)?;
    dict.set_item("exit_code", preview.exit_code)?;
    dict.set_item("last_lines", &preview.last_lines)?;
    dict.set_item("database", preview.database.map(crate::preview::DatabaseState::as_str))?;
    dict.set_item("database_name", &preview.database_name)?;
    dict.set_item("database_isolation", preview.database_isolation.map(crate::preview::Isolation::as_str))?;
    dict.set_item("database_detail", &preview.database_detail)?;
    dict.set_item("detail", &preview.detail)?;
    dict.set_item("errors", errors_list(py, &preview.errors)?)?;
    dict.set_item("oom_count", preview.oom_count)?;
    dict.set_item("last_oom_at", preview.last_oom_at.map(seconds))?;
    dict.set_item("created_at", preview.created_at.map(seconds))?;
    dict.set_item("started_at", preview.started_at.map(seconds))?;
    dict.set_item("ready_at", preview.ready_at.map(seconds))?;
    dict.set_item("finished_at", preview.finished_at.map(seconds))?;
    dict.set_item("as_of", seconds(preview.as_of))?;
    Ok(dict)
}

/// Seconds since 1970, which pydantic takes for a time in UTC.
fn seconds(time: SystemTime) -> f64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

fn errors_list<'py>(py: Python<'py>, errors: &[CompileError]) -> PyResult<Bound<'py, PyList>> {
    let list = PyList::empty(py);
    for error in errors {
        let dict = PyDict::new(py);
        dict.set_item("file", &error.file)?;
        dict.set_item("line", error.line)?;
        dict.set_item("column", error.column)?;
        dict.set_item("message", &error.message)?;
        dict.set_item("kind", error.kind.as_str())?;
        dict.set_item("raw", &error.raw)?;
        list.append(dict)?;
    }
    Ok(list)
}

/// An event as the dict that the Python model `PreviewEvent` is filled from.
pub(super) fn event_dict<'py>(py: Python<'py>, event: &PreviewEvent) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("kind", event.kind.as_str())?;
    dict.set_item("project_id", event.project_id)?;
    dict.set_item("previous_phase", event.previous_phase.map(Phase::as_str))?;
    dict.set_item("preview", event.preview.as_ref().map(|preview| preview_dict(py, preview)).transpose()?)?;
    dict.set_item("at", seconds(event.at))?;
    Ok(dict)
}

/// Lines of output as tuples of the fields of the Python model `LogLine`.
pub(super) fn log_lines<'py>(py: Python<'py>, lines: &[LogLine]) -> PyResult<Bound<'py, PyList>> {
    PyList::new(py, lines.iter().map(|line| (line.stream.as_str(), &line.text, seconds(line.timestamp))))
}

/// How long to wait, from the arguments of the facade: seconds, None for ever.
pub(super) fn patience(timeout: Option<f64>, fail_on_compile_error: bool) -> PyResult<Patience> {
    let timeout = timeout
        .map(|seconds| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| invalid("timeout", "must be a number of seconds from 0, or None"))
        })
        .transpose()?;
    Ok(Patience { timeout, fail_on_compile_error })
}

/// What a sweep did as the dict that the Python model `SweepResult` is filled from.
pub(super) fn swept_dict<'py>(py: Python<'py>, swept: &Swept) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("running", &swept.running)?;
    dict.set_item("removed", &swept.removed)?;
    let orphans = swept.orphan_databases.iter().map(|owned| orphan_dict(py, owned)).collect::<PyResult<Vec<_>>>()?;
    dict.set_item("orphan_databases", orphans)?;
    dict.set_item("removed_databases", &swept.removed_databases)?;
    dict.set_item("problems", &swept.problems)?;
    Ok(dict)
}

/// A step of a pull as the dict that the Python model `PullProgress` is filled from.
pub(super) fn progress_dict<'py>(py: Python<'py>, progress: &PullProgress) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("layer", &progress.layer)?;
    dict.set_item("status", &progress.status)?;
    dict.set_item("current", progress.current)?;
    dict.set_item("total", progress.total)?;
    Ok(dict)
}

/// A database as the dict that the Python model `DatabaseInfo` is filled from.
pub(super) fn database_dict<'py>(py: Python<'py>, info: &DatabaseInfo) -> PyResult<Bound<'py, PyDict>> {
    let tables = PyList::empty(py);
    for table in &info.tables {
        let dict = PyDict::new(py);
        dict.set_item("schema_name", &table.schema)?;
        dict.set_item("name", &table.name)?;
        dict.set_item("row_estimate", table.row_estimate)?;
        dict.set_item("size_bytes", table.size_bytes)?;
        tables.append(dict)?;
    }
    let dict = PyDict::new(py);
    dict.set_item("name", &info.name)?;
    dict.set_item("owner", &info.owner)?;
    dict.set_item("isolation", info.isolation.as_str())?;
    dict.set_item("size_bytes", info.size_bytes)?;
    dict.set_item("connections", info.connections)?;
    dict.set_item("connection_limit", info.connection_limit)?;
    dict.set_item("tables", tables)?;
    Ok(dict)
}

/// A database without a project as the dict that the Python model `OrphanDatabase` is filled from.
pub(super) fn orphan_dict<'py>(py: Python<'py>, owned: &Owned) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("name", &owned.name)?;
    dict.set_item("project_id", owned.target.id.project_id())?;
    dict.set_item("session", owned.target.id.session_id())?;
    dict.set_item("size_bytes", owned.size_bytes)?;
    dict.set_item("role_only", owned.role_only)?;
    dict.set_item("dropping", owned.dropping)?;
    Ok(dict)
}

/// A cache entry as the dict that the Python model `ContainerInfo` is filled from.
pub(super) fn info_dict<'py>(py: Python<'py>, info: &ContainerInfo) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("project_id", info.project_id)?;
    dict.set_item("container_id", &info.container_id)?;
    dict.set_item("container_name", &info.container_name)?;
    dict.set_item("port", info.port)?;
    dict.set_item("url", &info.url)?;
    dict.set_item("compilation_complete", info.compilation_complete)?;
    dict.set_item("is_responding", info.is_responding)?;
    Ok(dict)
}

/// The reverse of [`info_dict`].
pub(super) fn info(dict: &Bound<'_, PyDict>) -> PyResult<ContainerInfo> {
    let get = |field: &'static str| dict.get_item(field)?.ok_or_else(|| invalid(field, "is missing"));
    let port = get("port")?.extract().map_err(|_| invalid("port", "must be between 0 and 65535"))?;
    Ok(ContainerInfo {
        project_id: key(&get("project_id")?)?.project_id(),
        container_id: get("container_id")?.extract()?,
        container_name: get("container_name")?.extract()?,
        port,
        url: get("url")?.extract()?,
        compilation_complete: get("compilation_complete")?.extract()?,
        is_responding: get("is_responding")?.extract()?,
    })
}

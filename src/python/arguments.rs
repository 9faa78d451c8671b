//! Arguments of the facade to the core's types, each checked once.

use std::time::{Duration, SystemTime};

use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyString};

use super::errors::invalid;
use super::settings::{bytes_of, rule};
use crate::containment::{self, Limits};
use crate::environment::Variables;
use crate::id::PreviewId;
use crate::preview::ContainerInfo;
use crate::service::{Routes, WaitOptions};

/// A project's id: a whole number from 0, nothing that merely converts to one.
pub(super) fn preview_id(value: &Bound<'_, PyAny>) -> PyResult<PreviewId> {
    preview_id_of(value, "project_id")
}

/// The same for an argument of another name.
pub(super) fn preview_id_of(value: &Bound<'_, PyAny>, field: &'static str) -> PyResult<PreviewId> {
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

/// Memory in bytes or as a text, CPUs, and pids.
pub(super) type LimitsTuple<'py> = (Option<Bound<'py, PyAny>>, Option<f64>, Option<Bound<'py, PyAny>>);

/// What a start changes of the settings' limits.
pub(super) fn limits(given: Option<LimitsTuple<'_>>) -> PyResult<Limits> {
    let Some((memory, cpus, pids)) = given else { return Ok(Limits::default()) };
    let wrong = |field: &'static str| invalid(field, rule(field).unwrap_or("must be a number"));
    let memory = memory.map(|value| bytes_of(&value).ok_or_else(|| wrong("limits.memory")));
    let cpus = cpus.map(|cpus| containment::cpu_millis(cpus).ok_or_else(|| wrong("limits.cpus")));
    let pids = pids.map(|value| value.extract().map_err(|_| wrong("limits.pids")));
    let limits = Limits { memory: memory.transpose()?, cpu_millis: cpus.transpose()?, pids: pids.transpose()? };
    limits.validate().map_err(|(field, problem)| invalid(field, problem))?;
    Ok(limits)
}

/// How long to wait, from the arguments of the facade: seconds, None for ever.
pub(super) fn wait_options(timeout: Option<f64>, fail_on_compile_error: bool) -> PyResult<WaitOptions> {
    let timeout = timeout
        .map(|seconds| {
            Duration::try_from_secs_f64(seconds)
                .map_err(|_| invalid("timeout", "must be a number of seconds from 0, or None"))
        })
        .transpose()?;
    Ok(WaitOptions { timeout, fail_on_compile_error })
}

/// A number of seconds.
pub(super) fn seconds(field: &'static str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| invalid(field, "must be a number of seconds from 0"))
}

/// A moment, in seconds since 1970.
pub(super) fn moment(seconds: f64) -> PyResult<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds).ok();
    let moment = since.and_then(|since| SystemTime::UNIX_EPOCH.checked_add(since));
    moment.ok_or_else(|| invalid("since", "must be a time after 1970"))
}

/// Which routes a check asks for.
pub(super) fn routes(known: bool, asked: Option<Vec<String>>) -> Routes {
    match asked {
        Some(paths) => Routes::Paths(paths),
        None if known => Routes::Known,
        None => Routes::None,
    }
}

/// A cache entry from the dict of the Python model `ContainerInfo`.
pub(super) fn info(dict: &Bound<'_, PyDict>) -> PyResult<ContainerInfo> {
    let get = |field: &'static str| dict.get_item(field)?.ok_or_else(|| invalid(field, "is missing"));
    let port = get("port")?.extract().map_err(|_| invalid("port", "must be between 0 and 65535"))?;
    Ok(ContainerInfo {
        id: preview_id(&get("project_id")?)?,
        container_id: get("container_id")?.extract()?,
        container_name: get("container_name")?.extract()?,
        port,
        url: get("url")?.extract()?,
        compilation_complete: get("compilation_complete")?.extract()?,
        is_responding: get("is_responding")?.extract()?,
    })
}

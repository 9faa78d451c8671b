//! One conversion from the core's error to the exceptions of `kosuke_docker.errors`.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::json::Json;
use crate::error::Error;
use crate::preview::Preview;

/// The exception for an error. Never fails: without the class it is what Python raised while looking for it.
pub(super) fn raise(error: &Error) -> PyErr {
    Python::attach(|py| build(py, error).unwrap_or_else(|failure| failure))
}

/// The exception for an argument that cannot be used.
pub(super) fn invalid(field: impl Into<String>, problem: impl Into<String>) -> PyErr {
    raise(&Error::InvalidInput { field: field.into(), problem: problem.into() })
}

fn build(py: Python<'_>, error: &Error) -> PyResult<PyErr> {
    let details = details(py, error)?;
    details.set_item(intern!(py, "operation"), error.operation())?;
    details.set_item(intern!(py, "preview"), error.preview().map(crate::id::PreviewId::project_id))?;
    details.set_item(intern!(py, "engine_message"), error.engine_message())?;
    let class = py.import(intern!(py, "kosuke_docker.errors"))?.getattr(class(error))?;
    Ok(PyErr::from_value(class.call((error.to_string(),), Some(&details))?))
}

fn class(error: &Error) -> &'static str {
    match error {
        Error::InvalidInput { .. } => "InvalidInputError",
        Error::InvalidSetting { .. } => "SettingsError",
        Error::ProjectFolder { .. } => "ProjectFolderError",
        Error::ImageNotFound { .. } => "ImageNotFoundError",
        Error::PortRangeExhausted { .. } => "PortRangeExhaustedError",
        Error::PreviewFailed { .. } => "PreviewFailedError",
        Error::NotReady { .. } => "PreviewTimeoutError",
        Error::NoPreview { .. } => "PreviewNotFoundError",
        Error::DockerUnavailable { .. } => "DockerUnavailableError",
        Error::ContainerStart { .. } => "ContainerStartError",
        Error::ContainerConflict { .. } => "ContainerConflictError",
        Error::Database { .. } => "DatabaseError",
        Error::Timeout { .. } => "OperationTimeoutError",
        Error::Hook { .. } => "HookError",
        Error::Closed { .. } => "ServiceClosedError",
        Error::Engine { .. } | Error::Abandoned { .. } => "EngineError",
    }
}

/// The attributes that only this kind of error has.
fn details<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyDict>> {
    let details = PyDict::new(py);
    match error {
        Error::InvalidInput { field, .. } => details.set_item("field", field)?,
        Error::InvalidSetting { field, .. } => details.set_item("field", field)?,
        Error::ProjectFolder { path, .. } => details.set_item("path", path.display().to_string())?,
        Error::ImageNotFound { image, .. } => details.set_item("image", image)?,
        Error::PortRangeExhausted { first, last, .. } => {
            details.set_item("first_port", first)?;
            details.set_item("last_port", last)?;
        }
        Error::PreviewFailed { exit_code, last_lines, last, .. } => {
            details.set_item("last_known", last_known(py, last.as_deref())?)?;
            details.set_item("exit_code", exit_code)?;
            details.set_item("last_lines", last_lines)?;
        }
        Error::NotReady { timeout, stages, last_lines, last, .. } => {
            let spent = stages.iter().map(|(phase, spent)| (phase.as_str(), spent.as_secs_f64()));
            details.set_item("timeout", timeout.as_secs_f64())?;
            details.set_item("phase", last.as_ref().map(|preview| preview.phase.as_str()))?;
            details.set_item("stages", PyDict::from_sequence(&spent.collect::<Vec<_>>().into_pyobject(py)?)?)?;
            details.set_item("last_lines", last_lines)?;
            details.set_item("last_known", last_known(py, last.as_deref())?)?;
        }
        Error::Database { source, .. } => {
            details.set_item("step", source.step)?;
            details.set_item("sqlstate", &source.sqlstate)?;
        }
        _ => {}
    }
    Ok(details)
}

/// The model `Preview` of what was known.
fn last_known<'py>(py: Python<'py>, preview: Option<&Preview>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(preview) = preview else { return Ok(None) };
    let model = py.import(intern!(py, "kosuke_docker.models"))?.getattr(intern!(py, "Preview"))?;
    model.call_method1(intern!(py, "model_validate_json"), (Json::of(preview),)).map(Some)
}

//! One conversion from the core's error to the exceptions of `kosuke_docker.errors`.

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::convert;
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
    let fields = PyDict::new(py);
    fields.set_item(intern!(py, "operation"), error.operation())?;
    fields.set_item(intern!(py, "preview"), error.preview().map(|key| key.project_id()))?;
    fields.set_item(intern!(py, "engine_message"), error.engine_message())?;
    let class = match error {
        Error::InvalidInput { field, .. } => {
            fields.set_item("field", field)?;
            "InvalidInputError"
        }
        Error::InvalidSetting { field, .. } => {
            fields.set_item("field", field)?;
            "SettingsError"
        }
        Error::ProjectFolder { path, .. } => {
            fields.set_item("path", path.display().to_string())?;
            "ProjectFolderError"
        }
        Error::ImageNotFound { image, .. } => {
            fields.set_item("image", image)?;
            "ImageNotFoundError"
        }
        Error::PortRangeExhausted { first, last, .. } => {
            fields.set_item("first_port", first)?;
            fields.set_item("last_port", last)?;
            "PortRangeExhaustedError"
        }
        Error::PreviewFailed { exit_code, last_lines, last, .. } => {
            fields.set_item("last_known", last_known(py, last.as_deref())?)?;
            fields.set_item("exit_code", exit_code)?;
            fields.set_item("last_lines", last_lines)?;
            "PreviewFailedError"
        }
        Error::NotReady { timeout, stages, last_lines, last, .. } => {
            let spent = PyDict::new(py);
            for (phase, duration) in stages {
                spent.set_item(phase.as_str(), duration.as_secs_f64())?;
            }
            fields.set_item("timeout", timeout.as_secs_f64())?;
            fields.set_item("phase", last.as_ref().map(|preview| preview.phase.as_str()))?;
            fields.set_item("stages", spent)?;
            fields.set_item("last_lines", last_lines)?;
            fields.set_item("last_known", last_known(py, last.as_deref())?)?;
            "PreviewTimeoutError"
        }
        Error::NoPreview { .. } => "PreviewNotFoundError",
        Error::DockerUnavailable { .. } => "DockerUnavailableError",
        Error::ContainerStart { .. } => "ContainerStartError",
        Error::ContainerConflict { .. } => "ContainerConflictError",
        Error::Database { source, .. } => {
            fields.set_item("step", source.step)?;
            fields.set_item("sqlstate", &source.sqlstate)?;
            "DatabaseError"
        }
        Error::Timeout { .. } => "OperationTimeoutError",
        Error::Hook { .. } => "HookError",
        Error::Closed { .. } => "ServiceClosedError",
        Error::Engine { .. } | Error::Abandoned { .. } => "EngineError",
    };
    let class = py.import(intern!(py, "kosuke_docker.errors"))?.getattr(class)?;
    Ok(PyErr::from_value(class.call((error.to_string(),), Some(&fields))?))
}

/// The model `Preview` of what was known.
fn last_known<'py>(py: Python<'py>, preview: Option<&Preview>) -> PyResult<Option<Bound<'py, PyAny>>> {
    let Some(preview) = preview else { return Ok(None) };
    let model = py.import(intern!(py, "kosuke_docker.models"))?.getattr(intern!(py, "Preview"))?;
    model.call_method1(intern!(py, "model_validate"), (convert::preview_dict(py, preview)?,)).map(Some)
}

//! What a call of the core gives to Python: an awaitable, with errors as exceptions.

use pyo3::IntoPyObjectExt;
use pyo3::prelude::*;
use serde::Serialize;

use super::awaitable::{at_once, awaitable};
use super::errors::raise;
use super::json::Json;
use super::runtime::{PyNone, handle};
use crate::error::Error;

/// An awaitable for a result that Python knows.
pub(super) fn plain<'py, T>(
    py: Python<'py>,
    call: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>>
where
    T: for<'a> IntoPyObject<'a> + Send + 'static,
{
    awaitable(py, async move { call.await.map_err(|error| raise(&error)) })
}

/// An awaitable for `None`.
pub(super) fn none(
    py: Python<'_>,
    call: impl Future<Output = Result<(), Error>> + Send + 'static,
) -> PyResult<Bound<'_, PyAny>> {
    plain(py, async move { call.await.map(|()| PyNone) })
}

/// An awaitable for JSON.
pub(super) fn json<T: Serialize>(
    py: Python<'_>,
    call: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> PyResult<Bound<'_, PyAny>> {
    plain(py, async move { call.await.map(|value| Json::of(&value)) })
}

/// The result itself where it is known without waiting, else an awaitable for it.
pub(super) fn known_or_awaitable<'py, T>(
    py: Python<'py>,
    call: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> PyResult<Bound<'py, PyAny>>
where
    T: for<'a> IntoPyObject<'a> + Send + 'static,
{
    match at_once(async move { call.await.map_err(|error| raise(&error)) })? {
        Ok(value) => value.into_bound_py_any(py),
        Err(later) => awaitable(py, later),
    }
}

/// Makes a call that takes its place in a queue, or spawns a task, before it is awaited.
pub(super) fn in_runtime<T>(call: impl FnOnce() -> T) -> PyResult<T> {
    let runtime = handle()?;
    let _entered = runtime.enter();
    Ok(call())
}

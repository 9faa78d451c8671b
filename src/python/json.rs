//! The core's structs as JSON, which the pydantic models read: each field is spelled once in Rust and once in Python.

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use serde::Serialize;

/// A value as JSON.
pub(super) struct Json(Vec<u8>);

impl Json {
    pub(super) fn of(value: &impl Serialize) -> Self {
        // Our structs have no maps with other keys than texts, and no serializer of theirs fails.
        Self(serde_json::to_vec(value).unwrap_or_else(|_| b"null".to_vec()))
    }
}

impl<'py> IntoPyObject<'py> for Json {
    type Target = PyBytes;
    type Output = Bound<'py, PyBytes>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(PyBytes::new(py, &self.0))
    }
}

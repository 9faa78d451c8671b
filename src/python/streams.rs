//! What is read piece by piece: a preview's output, and what happens to previews.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::convert;
use super::errors::raise;
use super::runtime::awaitable;
use crate::service::{LogLine, LogReader, PreviewEvent, Subscription};

/// A preview's output.
#[pyclass(frozen, module = "kosuke_docker._core")]
pub(super) struct Logs {
    reader: Arc<LogReader>,
    closed: CancellationToken,
}

impl Logs {
    pub(super) fn new(reader: LogReader) -> Self {
        Self { reader: Arc::new(reader), closed: CancellationToken::new() }
    }
}

struct Lines(Vec<LogLine>);

impl<'py> IntoPyObject<'py> for Lines {
    type Target = PyList;
    type Output = Bound<'py, PyList>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        convert::log_lines(py, &self.0)
    }
}

#[pymethods]
impl Logs {
    /// The next lines, None at the end.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (reader, closed) = (Arc::clone(&self.reader), self.closed.clone());
        awaitable(py, async move {
            let lines = closed.run_until_cancelled(reader.next()).await.flatten();
            lines.transpose().map(|lines| lines.map(Lines)).map_err(|error| raise(&error))
        })
    }

    /// Whether it has come to its end, so that there is nothing to wait for.
    #[getter]
    fn ended(&self) -> bool {
        self.closed.is_cancelled() || self.reader.has_ended()
    }

    /// Ends it: whoever waits for lines gets None.
    fn close(&self) {
        self.closed.cancel();
        self.reader.close();
    }
}

/// What happens to previews, from the moment on at which it was made.
#[pyclass(frozen, module = "kosuke_docker._core")]
pub(super) struct Events {
    subscription: Arc<Mutex<Subscription>>,
    closed: CancellationToken,
    service_closed: CancellationToken,
}

impl Events {
    pub(super) fn new(subscription: Subscription) -> Self {
        let service_closed = subscription.service_closed();
        Self { subscription: Arc::new(Mutex::new(subscription)), closed: CancellationToken::new(), service_closed }
    }
}

struct Event(PreviewEvent);

impl<'py> IntoPyObject<'py> for Event {
    type Target = PyDict;
    type Output = Bound<'py, PyDict>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        convert::event_dict(py, &self.0)
    }
}

#[pymethods]
impl Events {
    /// The next event as a dict, None once it or the service is closed.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let (subscription, closed) = (Arc::clone(&self.subscription), self.closed.clone());
        awaitable(py, async move {
            let next = async { subscription.lock().await.next().await };
            Ok(closed.run_until_cancelled(next).await.flatten().map(Event))
        })
    }

    /// Whether it or the service was closed, so that there is nothing to wait for.
    #[getter]
    fn ended(&self) -> bool {
        self.closed.is_cancelled() || self.service_closed.is_cancelled()
    }

    /// Ends it: whoever waits for an event gets None.
    fn close(&self) {
        self.closed.cancel();
    }
}

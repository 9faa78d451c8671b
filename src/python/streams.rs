//! What is read piece by piece: a preview's output, and what happens to previews.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::convert;
use super::errors::raise;
use super::runtime::awaitable;
use crate::error::Error;
use crate::service::{LogLine, LogReader, PreviewEvent, Subscription};

/// Hands things over one by one. What was on its way to a caller that had left is handed over again to the next.
struct Hatch<T>(Mutex<(u64, Option<Arc<T>>)>);

impl<T> Hatch<T> {
    fn new() -> Self {
        Self(Mutex::new((0, None)))
    }

    /// The thing after the one of this number, with its number. `next` may be dropped at any time.
    async fn next(&self, after: u64, next: impl Future<Output = Option<T>>) -> Option<(u64, Arc<T>)> {
        let mut last = self.0.lock().await;
        if last.0 == after {
            *last = (after + 1, Some(Arc::new(next.await?)));
        }
        last.1.clone().map(|thing| (last.0, thing))
    }
}

/// A preview's output.
#[pyclass(frozen, module = "kosuke_docker._core")]
pub(super) struct Logs {
    reader: Arc<LogReader>,
    batches: Arc<Hatch<Result<Vec<LogLine>, Error>>>,
    closed: CancellationToken,
}

impl Logs {
    pub(super) fn new(reader: LogReader) -> Self {
        Self { reader: Arc::new(reader), batches: Arc::new(Hatch::new()), closed: CancellationToken::new() }
    }
}

struct Lines(Arc<Result<Vec<LogLine>, Error>>);

impl<'py> IntoPyObject<'py> for Lines {
    type Target = PyList;
    type Output = Bound<'py, PyList>;
    type Error = PyErr;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        match &*self.0 {
            Ok(lines) => convert::log_lines(py, lines),
            Err(error) => Err(raise(error)),
        }
    }
}

#[pymethods]
impl Logs {
    /// The lines after those of this number, with their number; None at the end.
    fn next<'py>(&self, py: Python<'py>, after: u64) -> PyResult<Bound<'py, PyAny>> {
        let (reader, batches, closed) = (Arc::clone(&self.reader), Arc::clone(&self.batches), self.closed.clone());
        awaitable(py, async move {
            let lines = closed.run_until_cancelled(batches.next(after, reader.next())).await.flatten();
            Ok(lines.map(|(number, lines)| (number, Lines(lines))))
        })
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
    hatch: Arc<Hatch<PreviewEvent>>,
    closed: CancellationToken,
}

impl Events {
    pub(super) fn new(subscription: Subscription) -> Self {
        let subscription = Arc::new(Mutex::new(subscription));
        Self { subscription, hatch: Arc::new(Hatch::new()), closed: CancellationToken::new() }
    }
}

struct Event(Arc<PreviewEvent>);

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
    /// The event after that of this number, with its number, as a dict; None once it or the service is closed.
    fn next<'py>(&self, py: Python<'py>, after: u64) -> PyResult<Bound<'py, PyAny>> {
        let (subscription, hatch) = (Arc::clone(&self.subscription), Arc::clone(&self.hatch));
        let closed = self.closed.clone();
        awaitable(py, async move {
            let next = async { subscription.lock().await.next().await };
            let event = closed.run_until_cancelled(hatch.next(after, next)).await.flatten();
            Ok(event.map(|(number, event)| (number, Event(event))))
        })
    }

    /// Ends it: whoever waits for an event gets None.
    fn close(&self) {
        self.closed.cancel();
    }
}

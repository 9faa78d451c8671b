//! What is read piece by piece: a preview's output, and what happens to previews.

use std::sync::Arc;

use pyo3::prelude::*;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::answers::plain;
use super::json::Json;
use crate::preview::{LogLine, PreviewEvent};
use crate::service::{LogReader, Subscription};

/// What was handed over last, until the caller says that it has it: a caller that gives up waiting loses nothing.
struct Kept<T> {
    number: u64,
    value: Option<T>,
}

impl<T: Clone> Kept<T> {
    fn new() -> Self {
        Self { number: 0, value: None }
    }

    /// What the caller that has seen `seen` of them lacks.
    fn after(&self, seen: u64) -> Option<(u64, T)> {
        self.value.clone().filter(|_| self.number > seen).map(|value| (self.number, value))
    }

    fn keep(&mut self, value: T) -> (u64, T) {
        self.number += 1;
        self.value = Some(value.clone());
        (self.number, value)
    }
}

/// A preview's output.
#[pyclass(frozen, module = "kosuke_docker._core")]
pub(super) struct Logs {
    reader: Arc<LogReader>,
    kept: Arc<Mutex<Kept<Arc<Vec<LogLine>>>>>,
    closed: CancellationToken,
}

impl Logs {
    pub(super) fn new(reader: LogReader) -> Self {
        Self { reader: Arc::new(reader), kept: Arc::new(Mutex::new(Kept::new())), closed: CancellationToken::new() }
    }
}

#[pymethods]
impl Logs {
    /// The number of the next lines and they as JSON, None at the end. `seen`: the number that the caller has.
    fn next<'py>(&self, py: Python<'py>, seen: u64) -> PyResult<Bound<'py, PyAny>> {
        let (reader, kept, closed) = (Arc::clone(&self.reader), Arc::clone(&self.kept), self.closed.clone());
        plain(py, async move {
            let next = async {
                let mut kept = kept.lock().await;
                match kept.after(seen) {
                    Some(again) => Ok(Some(again)),
                    None => reader.next().await.transpose().map(|lines| lines.map(|lines| kept.keep(Arc::new(lines)))),
                }
            };
            let lines = closed.run_until_cancelled(next).await.unwrap_or(Ok(None));
            lines.map(|lines| lines.map(|(number, lines)| (number, Json::of(&*lines))))
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
    subscription: Arc<Mutex<(Subscription, Kept<PreviewEvent>)>>,
    closed: CancellationToken,
    service_closed: CancellationToken,
}

impl Events {
    pub(super) fn new(subscription: Subscription) -> Self {
        let service_closed = subscription.service_closed();
        let subscription = Arc::new(Mutex::new((subscription, Kept::new())));
        Self { subscription, closed: CancellationToken::new(), service_closed }
    }
}

#[pymethods]
impl Events {
    /// The number of the next event and it as JSON, None once it or the service is closed. `seen`: the number that the
    /// caller has.
    fn next<'py>(&self, py: Python<'py>, seen: u64) -> PyResult<Bound<'py, PyAny>> {
        let (subscription, closed) = (Arc::clone(&self.subscription), self.closed.clone());
        plain(py, async move {
            let next = async {
                let (subscription, kept) = &mut *subscription.lock().await;
                match kept.after(seen) {
                    Some(again) => Some(again),
                    None => subscription.next().await.map(|event| kept.keep(event)),
                }
            };
            let event = closed.run_until_cancelled(next).await.flatten();
            Ok(event.map(|(number, event)| (number, Json::of(&event))))
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

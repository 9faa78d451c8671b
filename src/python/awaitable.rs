//! What Python awaits: an asyncio future for a Rust future. A library does this, too, with a blocking thread for each result
//! and with references that outlive the answer; a burst of a thousand calls had hundreds of threads.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tokio_util::sync::CancellationToken;

use super::runtime::{call_began, call_is_over, hand_over, handle};
use crate::lock::lock;

/// An asyncio future of the running loop for a Rust future. Cancelling it drops the Rust future.
pub(super) fn awaitable<'py, F, T>(py: Python<'py>, future: F) -> PyResult<Bound<'py, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'a> IntoPyObject<'a> + Send + 'static,
{
    static GET_RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let runtime = handle()?;
    let event_loop = GET_RUNNING_LOOP.import(py, "asyncio", "get_running_loop")?.call0()?;
    let awaited = event_loop.call_method0(intern!(py, "create_future"))?;
    let cancelled = CancellationToken::new();
    let done = DoneCallback { cancelled: cancelled.clone(), counted: AtomicBool::new(true) };
    call_began();
    let done = Bound::new(py, done)?;
    awaited.call_method1(intern!(py, "add_done_callback"), (&done,))?;
    let waiting = Waiting { event_loop: event_loop.unbind(), awaited: awaited.clone().unbind(), done: done.unbind() };
    runtime.spawn(async move {
        let future = AssertUnwindSafe(cancelled.run_until_cancelled(future)).catch_unwind();
        let result = match future.await {
            Ok(Some(result)) => Some(result),
            Ok(None) => None,
            Err(_) => Some(Err(PyRuntimeError::new_err("kosuke_docker panicked: this is a bug, please report it"))),
        };
        // Also without a result: what it holds of Python has to be dropped there.
        hand_over(Box::new(move || Python::attach(|py| waiting.answer(py, result))));
    });
    Ok(awaited)
}

/// Who waits for an answer.
struct Waiting {
    event_loop: Py<PyAny>,
    awaited: Py<PyAny>,
    done: Py<DoneCallback>,
}

impl Waiting {
    /// Hands the result to the loop. None: nobody waits.
    fn answer<'py, T>(self, py: Python<'py>, result: Option<PyResult<T>>)
    where
        T: IntoPyObject<'py>,
    {
        let Some(result) = result else { return };
        let (failed, value) = match result.and_then(|value| value.into_bound_py_any(py)) {
            Ok(value) => (false, value),
            Err(error) => (true, error.into_value(py).into_bound(py).into_any()),
        };
        // All references are in it: whoever awaits may go on before this thread does, and holds the last ones then.
        let answer = Answer { awaited: self.awaited, failed, value: value.unbind() };
        let settle = Settle(Mutex::new(Some(answer)));
        let told = self.event_loop.call_method1(py, intern!(py, "call_soon_threadsafe"), (settle,));
        if told.is_err() {
            // The loop is closed, and calls nothing back.
            self.done.get().end();
        }
    }
}

/// A result, or an exception, and for whom.
struct Answer {
    awaited: Py<PyAny>,
    failed: bool,
    value: Py<PyAny>,
}

/// A result on its way to the loop.
#[pyclass(frozen)]
struct Settle(Mutex<Option<Answer>>);

#[pymethods]
impl Settle {
    /// In the loop's thread: an awaitable that was cancelled takes no result.
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let answer = lock(&self.0).take();
        let Some(Answer { awaited, failed, value }) = answer else { return Ok(()) };
        if !awaited.call_method0(py, intern!(py, "done"))?.is_truthy(py)? {
            let method = if failed { intern!(py, "set_exception") } else { intern!(py, "set_result") };
            awaited.call_method1(py, method, (value,))?;
        }
        Ok(())
    }
}

/// Hears that the loop has taken in an awaitable's result, or that the caller cancelled it.
#[pyclass(frozen)]
struct DoneCallback {
    cancelled: CancellationToken,
    counted: AtomicBool,
}

impl DoneCallback {
    fn end(&self) {
        self.cancelled.cancel();
        if self.counted.swap(false, Ordering::Relaxed) {
            call_is_over();
        }
    }
}

#[pymethods]
impl DoneCallback {
    fn __call__(&self, _awaited: &Bound<'_, PyAny>) {
        self.end();
    }
}

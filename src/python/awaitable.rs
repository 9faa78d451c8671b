//! What Python awaits: an asyncio future for a Rust future. A library does this, too, with a blocking thread for each result
//! and with references that outlive the answer; a burst of a thousand calls had hundreds of threads.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use tokio_util::sync::CancellationToken;

use super::inbox::Inbox;
use super::runtime::{call_began, call_is_over, handle};

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
    let waiting = Waiting { awaited: awaited.clone().unbind(), done: done.unbind(), settled: false };
    let inbox = Inbox::expect(py, &event_loop)?;
    runtime.spawn(async move {
        let future = AssertUnwindSafe(cancelled.run_until_cancelled(future)).catch_unwind();
        let result = match future.await {
            Ok(Some(result)) => Some(result),
            Ok(None) => None,
            Err(_) => Some(Err(panicked())),
        };
        // Also without a result: what it holds of Python has to be dropped there.
        inbox.put(Box::new(move |py| waiting.settle(py, result)));
    });
    Ok(awaited)
}

/// What a future gives, where it gives it at once: nobody has to be woken then. Else the future, to be awaited.
pub(super) fn at_once<F, T>(future: F) -> PyResult<Result<T, impl Future<Output = PyResult<T>> + Send + 'static>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: Send + 'static,
{
    let runtime = handle()?;
    let _entered = runtime.enter();
    let mut future =
        Box::pin(AssertUnwindSafe(future).catch_unwind().map(|result| result.unwrap_or_else(|_| Err(panicked()))));
    match future.as_mut().now_or_never() {
        Some(result) => result.map(Ok),
        None => Ok(Err(future)),
    }
}

fn panicked() -> PyErr {
    PyRuntimeError::new_err("kosuke_docker panicked: this is a bug, please report it")
}

/// Who waits for an answer.
struct Waiting {
    awaited: Py<PyAny>,
    done: Py<DoneCallback>,
    /// The loop has the result, and calls `done`.
    settled: bool,
}

impl Drop for Waiting {
    /// Nobody calls `done`, where the loop was closed or the runtime ended.
    fn drop(&mut self) {
        if !self.settled {
            self.done.get().end();
        }
    }
}

impl Waiting {
    /// Hands over the result. None: nobody waits. An awaitable that was cancelled takes none.
    fn settle<'py, T>(mut self, py: Python<'py>, result: Option<PyResult<T>>) -> PyResult<()>
    where
        T: IntoPyObject<'py>,
    {
        self.settled = true;
        let Some(result) = result else { return Ok(()) };
        if self.awaited.call_method0(py, intern!(py, "done"))?.is_truthy(py)? {
            return Ok(());
        }
        match result.and_then(|value| value.into_bound_py_any(py)) {
            Ok(value) => self.awaited.call_method1(py, intern!(py, "set_result"), (value,))?,
            Err(error) => self.awaited.call_method1(py, intern!(py, "set_exception"), (error.into_value(py),))?,
        };
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

//! Our own tokio runtime: made at the first call, one per process id, ended at exit.

use std::cell::OnceCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3_async_runtimes::TaskLocals;
use pyo3_async_runtimes::generic::{self, ContextExt, JoinError};
use tokio::runtime::{Builder, Handle, Runtime};

use super::delivery::{DeliveryThread, DeliveryQueue};
use crate::lock::lock;

/// Held for moments only, and only by threads that hold the GIL: so nobody holds it while Python forks.
static RUNTIME: Mutex<Option<(u32, Threads)>> = Mutex::new(None);

const WORKERS: usize = 2;
/// For what blocks: scans of folders, name look-ups, and the calls of a docker-py-compatible client.
const BLOCKING_THREADS: usize = 16;

/// All threads of a runtime.
struct Threads {
    runtime: Runtime,
    delivery: DeliveryThread,
}

impl Threads {
    fn start() -> std::io::Result<Self> {
        let (queue, delivery) = DeliveryThread::start()?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("kosuke-docker")
            .on_thread_start(move || DELIVERIES.with(|slot| drop(slot.set(queue.clone()))))
            .enable_all()
            .build()?;
        Ok(Self { runtime, delivery })
    }

    /// Ends them; waits for it, for `timeout` at the most.
    fn end(self, timeout: Duration) {
        let began = std::time::Instant::now();
        self.runtime.shutdown_timeout(timeout);
        self.delivery.wait(timeout.saturating_sub(began.elapsed()));
    }
}

thread_local! {
    /// Where the threads of the runtime hand over what Python waits for.
    static DELIVERIES: OnceCell<DeliveryQueue> = const { OnceCell::new() };
}

/// The runtime of this process.
pub(super) fn handle() -> PyResult<Handle> {
    let mut slot = lock(&RUNTIME);
    let pid = std::process::id();
    if let Some((owner, threads)) = &*slot
        && *owner == pid
    {
        return Ok(threads.runtime.handle().clone());
    }
    let started = Threads::start();
    let threads = started.map_err(|error| PyRuntimeError::new_err(format!("cannot start the runtime: {error}")))?;
    let handle = threads.runtime.handle().clone();
    if let Some(parents) = slot.replace((pid, threads)) {
        // Its threads stayed in the parent process: ending it here would wait for them for ever.
        std::mem::forget(parents);
    }
    Ok(handle)
}

/// What keeps the runtime of a process: services that were not closed, and awaitables whose loop has not heard yet.
#[derive(Default)]
struct Keepers {
    process: u32,
    services: usize,
    calls: usize,
}

static KEEPERS: Mutex<Option<Keepers>> = Mutex::new(None);

fn keepers<T>(change: impl FnOnce(&mut Keepers) -> T) -> T {
    let mut slot = lock(&KEEPERS);
    let process = std::process::id();
    let current = slot.take().filter(|keepers| keepers.process == process);
    change(slot.insert(current.unwrap_or(Keepers { process, ..Keepers::default() })))
}

/// A service that was not closed.
pub(super) struct Alive(AtomicBool, u32);

impl Alive {
    pub(super) fn new() -> Self {
        keepers(|keepers| keepers.services += 1);
        Self(AtomicBool::new(true), std::process::id())
    }

    pub(super) fn is_of_this_process(&self) -> bool {
        self.1 == std::process::id()
    }

    /// It was closed. Nothing the second time, and in a forked child.
    pub(super) fn end(&self) {
        if self.0.swap(false, Ordering::Relaxed) && self.is_of_this_process() {
            keepers(|keepers| keepers.services = keepers.services.saturating_sub(1));
        }
    }
}

/// A runtime that nothing keeps any more.
#[pyclass(frozen, module = "kosuke_docker._core")]
pub(super) struct Ending(Mutex<Option<Threads>>);

#[pymethods]
impl Ending {
    /// Waits until its threads have ended, `timeout` seconds at the most. Blocks.
    fn wait(&self, py: Python<'_>, timeout: f64) {
        let threads = lock(&self.0).take();
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or_default();
        if let Some(threads) = threads {
            py.detach(|| threads.end(timeout));
        }
    }
}

/// Takes the runtime away when nothing keeps it. `Err`: calls are still being answered, so ask again.
pub(super) fn release() -> Result<Option<Ending>, ()> {
    let mut slot = lock(&RUNTIME);
    let (services, calls) = keepers(|keepers| (keepers.services, keepers.calls));
    match slot.take_if(|(owner, _)| services == 0 && calls == 0 && *owner == std::process::id()) {
        Some((_, threads)) => Ok(Some(Ending(Mutex::new(Some(threads))))),
        None if services == 0 && calls > 0 => Err(()),
        None => Ok(None),
    }
}

/// How many awaitables have a result that their loop has not taken in.
pub(super) fn pending_calls() -> usize {
    keepers(|keepers| keepers.calls)
}

/// Hears that the loop has taken in an awaitable's result.
#[pyfunction]
fn call_is_over(_future: &Bound<'_, PyAny>) {
    keepers(|keepers| keepers.calls = keepers.calls.saturating_sub(1));
}

/// Ends the runtime, if this process has one.
pub(super) fn shutdown(py: Python<'_>, timeout: Duration) {
    let threads = {
        let mut slot = lock(&RUNTIME);
        match slot.take() {
            Some((owner, threads)) if owner == std::process::id() => threads,
            other => {
                *slot = other;
                return;
            }
        }
    };
    py.detach(|| threads.end(timeout));
}

/// An asyncio future of the running loop for a Rust future. Cancelling it drops the Rust future.
pub(super) fn awaitable<'py, F, T>(py: Python<'py>, future: F) -> PyResult<Bound<'py, PyAny>>
where
    F: Future<Output = PyResult<T>> + Send + 'static,
    T: for<'a> IntoPyObject<'a> + Send + 'static,
{
    let handle = handle()?;
    let _entered = handle.enter();
    let awaitable = generic::future_into_py::<Own, F, T>(py, future)?;
    keepers(|keepers| keepers.calls += 1);
    awaitable.call_method1(intern!(py, "add_done_callback"), (wrap_pyfunction!(call_is_over, py)?,))?;
    Ok(awaitable)
}

/// `None`: a Rust `()` would arrive as an empty tuple.
pub(super) struct PyNone;

impl<'py> IntoPyObject<'py> for PyNone {
    type Target = pyo3::types::PyNone;
    type Output = Borrowed<'py, 'py, pyo3::types::PyNone>;
    type Error = std::convert::Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Self::Error> {
        Ok(pyo3::types::PyNone::get(py))
    }
}

/// The entered runtime, in the words of `pyo3-async-runtimes`.
struct Own;

struct Panicked(tokio::task::JoinError);

impl JoinError for Panicked {
    fn is_panic(&self) -> bool {
        self.0.is_panic()
    }

    fn into_panic(self) -> Box<dyn std::any::Any + Send + 'static> {
        self.0.into_panic()
    }
}

tokio::task_local! {
    static LOCALS: TaskLocals;
}

impl generic::Runtime for Own {
    type JoinError = Panicked;
    type JoinHandle = Pin<Box<dyn Future<Output = Result<(), Panicked>> + Send>>;

    fn spawn<F>(future: F) -> Self::JoinHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = tokio::spawn(future);
        Box::pin(async move { task.await.map_err(Panicked) })
    }

    /// Work that takes the GIL: every answer. A blocking thread for each would be hundreds in a burst of calls.
    fn spawn_blocking<F>(work: F) -> Self::JoinHandle
    where
        F: FnOnce() + Send + 'static,
    {
        let unanswered = DELIVERIES.with(|slot| match slot.get() {
            Some(queue) => queue.hand_over(Box::new(work)),
            None => Err(Box::new(work)),
        });
        match unanswered {
            Ok(()) => Box::pin(std::future::ready(Ok(()))),
            // Not a thread of the runtime, or its delivery thread has ended.
            Err(work) => {
                let task = tokio::task::spawn_blocking(work);
                Box::pin(async move { task.await.map_err(Panicked) })
            }
        }
    }
}

impl ContextExt for Own {
    fn scope<F, R>(locals: TaskLocals, future: F) -> Pin<Box<dyn Future<Output = R> + Send>>
    where
        F: Future<Output = R> + Send + 'static,
    {
        Box::pin(LOCALS.scope(locals, future))
    }

    fn get_task_locals() -> Option<TaskLocals> {
        LOCALS.try_with(Clone::clone).ok()
    }
}

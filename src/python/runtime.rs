//! Our own tokio runtime: made at the first call, one per process id, ended at exit.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::lock::lock;

/// Held for moments only, and only by threads that hold the GIL: so nobody holds it while Python forks.
static RUNTIME: Mutex<Option<(u32, Runtime)>> = Mutex::new(None);

const WORKERS: usize = 2;
/// For what blocks: scans of folders, name look-ups, and the calls of a docker-py-compatible client.
const BLOCKING_THREADS: usize = 16;

fn start() -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_name("kosuke-docker")
        .enable_all()
        .build()
}

/// The runtime of this process.
pub(super) fn handle() -> PyResult<Handle> {
    let mut slot = lock(&RUNTIME);
    let pid = std::process::id();
    if let Some((owner, runtime)) = &*slot
        && *owner == pid
    {
        return Ok(runtime.handle().clone());
    }
    let started = start();
    let runtime = started.map_err(|error| PyRuntimeError::new_err(format!("cannot start the runtime: {error}")))?;
    let handle = runtime.handle().clone();
    if let Some(parents) = slot.replace((pid, runtime)) {
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
pub(super) struct Ending(Mutex<Option<Runtime>>);

#[pymethods]
impl Ending {
    /// Waits until its threads have ended, `timeout` seconds at the most. Blocks.
    fn wait(&self, py: Python<'_>, timeout: f64) {
        let runtime = lock(&self.0).take();
        let timeout = Duration::try_from_secs_f64(timeout).unwrap_or_default();
        if let Some(runtime) = runtime {
            py.detach(|| runtime.shutdown_timeout(timeout));
        }
    }
}

/// Takes the runtime away when nothing keeps it. `Err`: calls are still being answered, so ask again.
pub(super) fn release() -> Result<Option<Ending>, ()> {
    let mut slot = lock(&RUNTIME);
    let (services, calls) = keepers(|keepers| (keepers.services, keepers.calls));
    match slot.take_if(|(owner, _)| services == 0 && calls == 0 && *owner == std::process::id()) {
        Some((_, runtime)) => Ok(Some(Ending(Mutex::new(Some(runtime))))),
        None if services == 0 && calls > 0 => Err(()),
        None => Ok(None),
    }
}

/// How many awaitables have a result that their loop has not taken in.
pub(super) fn pending_calls() -> usize {
    keepers(|keepers| keepers.calls)
}

/// An awaitable was made.
pub(super) fn call_began() {
    keepers(|keepers| keepers.calls += 1);
}

/// Its loop has taken in the result, or will not.
pub(super) fn call_is_over() {
    keepers(|keepers| keepers.calls = keepers.calls.saturating_sub(1));
}

/// Ends the runtime, if this process has one.
pub(super) fn shutdown(py: Python<'_>, timeout: Duration) {
    let runtime = {
        let mut slot = lock(&RUNTIME);
        match slot.take() {
            Some((owner, runtime)) if owner == std::process::id() => runtime,
            other => {
                *slot = other;
                return;
            }
        }
    };
    py.detach(|| runtime.shutdown_timeout(timeout));
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

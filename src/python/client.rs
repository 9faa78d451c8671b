//! [`Client`] on an object that Python supplies: `kosuke_docker.engine.ClientEngine` around a docker-py-compatible client.
//! Every call of it blocks, so each runs on a blocking thread of the runtime, never on the event loop.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyString};
use tokio::sync::mpsc;

use super::arguments::variables_dict;
use crate::compat::{Client, RunSpec};
use crate::engine::{EngineError, LogChunk, LogChunks, RunId, State, Workload};
use crate::lock::lock;
use crate::preview::Endpoint;

/// Chunks that may wait to be read.
const CHUNKS: usize = 16;

pub(super) struct PythonClient {
    adapter: Arc<Py<PyAny>>,
}

impl PythonClient {
    pub(super) fn new(adapter: Py<PyAny>) -> Self {
        Self { adapter: Arc::new(adapter) }
    }

    async fn call<T, F>(&self, work: F) -> Result<T, EngineError>
    where
        T: Send + 'static,
        F: for<'py> FnOnce(&Bound<'py, PyAny>) -> PyResult<T> + Send + 'static,
    {
        let adapter = Arc::clone(&self.adapter);
        let done = tokio::task::spawn_blocking(move || {
            Python::attach(|py| work(adapter.bind(py)).map_err(|error| failure(py, &error)))
        });
        done.await.unwrap_or_else(|_| Err(EngineError::Refused("the call was ended".into())))
    }
}

/// The adapter's `CallFailedError` names a kind; anything else is shown as it is.
fn failure(py: Python<'_>, error: &PyErr) -> EngineError {
    let value = error.value(py);
    let text = value.to_string();
    let kind: Option<String> = value.getattr(intern!(py, "kind")).ok().and_then(|kind| kind.extract().ok());
    match kind.as_deref() {
        Some("unreachable") => EngineError::Unreachable(text),
        Some("not_found") => EngineError::NotFound(text),
        Some("image") => EngineError::ImageNotFound(text),
        Some("conflict") => EngineError::Conflict(text),
        Some("port") => EngineError::PortHeld { port: None, words: text },
        Some(_) => EngineError::Refused(text),
        None => EngineError::Refused(format!(
            "{}: {text}",
            error.get_type(py).name().map_or_else(|_| "error".to_owned(), |name| name.to_string())
        )),
    }
}

fn workload(found: &Bound<'_, PyAny>) -> PyResult<Workload> {
    let status: Option<String> = found.get_item("status")?.extract()?;
    let id: String = found.get_item("id")?.extract()?;
    let ports: HashMap<u16, u16> = found.get_item("ports")?.extract()?;
    let endpoint = |(inside, port)| (inside, Endpoint { host: "localhost".to_owned(), port });
    Ok(Workload {
        run: RunId { task: id.clone(), started_at: None },
        id,
        name: found.get_item("name")?.extract()?,
        state: match status.as_deref() {
            Some("running") => State::Running,
            Some("paused") => State::Paused,
            Some("created") => State::Created,
            Some("removing") => State::Removing,
            Some("exited" | "dead") => State::Exited,
            // A mock may say anything.
            _ => State::Unknown,
        },
        labels: found.get_item("labels")?.extract()?,
        endpoints: ports.into_iter().map(endpoint).collect(),
        networks: HashMap::new(),
        created_at: None,
        finished_at: None,
        exit_code: None,
        oom_killed: false,
        asked_at: Instant::now(),
    })
}

#[async_trait]
impl Client for PythonClient {
    async fn ping(&self) -> Result<(), EngineError> {
        self.call(|adapter| adapter.call_method0("ping").map(drop)).await
    }

    async fn get(&self, name_or_id: &str) -> Result<Option<Workload>, EngineError> {
        let name = name_or_id.to_owned();
        match self.call(move |adapter| workload(&adapter.call_method1("get", (name,))?)).await {
            Ok(found) => Ok(Some(found)),
            Err(EngineError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn list(&self, owner: &str) -> Result<Vec<Workload>, EngineError> {
        let owner = owner.to_owned();
        self.call(move |adapter| {
            adapter.call_method1("owned", (owner,))?.try_iter()?.map(|found| workload(&found?)).collect()
        })
        .await
    }

    async fn run(&self, spec: &RunSpec) -> Result<String, EngineError> {
        let (spec, secrets) = (spec.clone(), spec.secrets());
        let ran = self.call(move |adapter| {
            let py = adapter.py();
            let arguments = PyDict::new(py);
            arguments.set_item("image", spec.image)?;
            arguments.set_item("name", spec.name)?;
            arguments.set_item("command", spec.command)?;
            arguments.set_item("inside", spec.port)?;
            arguments.set_item("port", spec.host_port)?;
            arguments.set_item("folder", spec.folder.display().to_string())?;
            arguments.set_item("environment", variables_dict(py, &spec.environment)?)?;
            arguments.set_item("network", spec.network)?;
            adapter.call_method("run", (), Some(&arguments))?.extract::<String>()
        });
        ran.await.map_err(|error| error.hiding(&secrets))
    }

    async fn stop(&self, id: &str, grace: Duration) -> Result<(), EngineError> {
        let (id, seconds) = (id.to_owned(), grace.as_secs());
        done_or_gone(self.call(move |adapter| adapter.call_method1("stop", (id, seconds)).map(drop)).await)
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let id = id.to_owned();
        done_or_gone(self.call(move |adapter| adapter.call_method1("remove", (id,)).map(drop)).await)
    }

    fn logs(&self, id: &str, follow: bool, tail: Option<u32>) -> LogChunks {
        let logs = Python::attach(|py| {
            let open = self.adapter.bind(py).getattr(intern!(py, "open_logs"))?;
            let partial = py.import(intern!(py, "functools"))?.getattr(intern!(py, "partial"))?;
            Ok(partial.call1((open, id, follow, tail))?.unbind())
        });
        match logs {
            Ok(opener) => chunks(opener),
            Err(error) => {
                let failed = Python::attach(|py| failure(py, &error));
                stream::once(async { Err(failed) }).boxed()
            }
        }
    }
}

fn done_or_gone(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(EngineError::NotFound(_)) => Ok(()),
        other => other,
    }
}

/// What iterating over `opener()` gives, read on a thread of its own: a quiet container would hold a blocking thread of the
/// runtime for as long as it runs. Dropping the stream closes what was opened, which ends the thread.
pub(super) fn chunks(opener: Py<PyAny>) -> LogChunks {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let stream = Opened::default();
    let reader = stream.clone();
    let failed = sender.clone();
    let started = std::thread::Builder::new().name("kosuke-docker-logs".into()).spawn(move || {
        let read = Python::attach(|py| reader.read(py, &opener, &sender));
        if let Err(error) = read {
            let error = Python::attach(|py| failure(py, &error));
            drop(sender.blocking_send(Err(error)));
        }
        // Its last reference to Python goes while it may.
        Python::attach(|_| drop(opener));
    });
    if let Err(error) = started {
        drop(failed.try_send(Err(EngineError::Refused(format!("cannot start a thread: {error}")))));
    }
    let closing = Closing(stream);
    stream::unfold((receiver, closing), |(mut receiver, closing)| async move {
        Some((receiver.recv().await?, (receiver, closing)))
    })
    .boxed()
}

/// What was opened, for as long as it may have to be closed.
#[derive(Clone, Default)]
struct Opened(Arc<Mutex<Option<Py<PyAny>>>>);

impl Opened {
    fn read(
        &self,
        py: Python<'_>,
        opener: &Py<PyAny>,
        sender: &mpsc::Sender<Result<LogChunk, EngineError>>,
    ) -> PyResult<()> {
        let logs = opener.bind(py).call0()?;
        *lock(&self.0) = Some(logs.clone().unbind());
        for chunk in logs.try_iter()? {
            let chunk = chunk?;
            let bytes = match chunk.cast::<PyBytes>() {
                Ok(bytes) => bytes.as_bytes().to_vec(),
                Err(_) => match chunk.cast::<PyString>() {
                    Ok(text) => text.to_string().into_bytes(),
                    Err(_) => continue,
                },
            };
            if py.detach(|| sender.blocking_send(Ok(LogChunk { stderr: false, at: None, bytes }))).is_err() {
                break;
            }
        }
        Ok(())
    }
}

struct Closing(Opened);

impl Drop for Closing {
    fn drop(&mut self) {
        let opened = lock(&self.0.0).take();
        let Some(opened) = opened else { return };
        let close = move || {
            Python::attach(|py| {
                if let Ok(close) = opened.bind(py).getattr(intern!(py, "close")) {
                    // A generator that is running refuses: it ends with its next chunk.
                    drop(close.call0());
                }
                drop(opened);
            });
        };
        // Closing a socket may block, and this may be the runtime's own thread.
        drop(std::thread::Builder::new().name("kosuke-docker-close".into()).spawn(close));
    }
}

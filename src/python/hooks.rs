//! Replaced hooks: the core's task asks, the facade answers on the caller's loop.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyTuple};
use tokio::sync::{Mutex as AsyncMutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::awaitable::awaitable;
use super::json::Json;
use super::{arguments, errors};
use crate::lock::lock;
use crate::service::{Hook, HookAnswer, HookFailure, HookRequest, Hooks};

type Question = (HookRequest, oneshot::Sender<Result<HookAnswer, HookFailure>>);

/// One call with replaced hooks: `next()` gives a question at a time, None when there will be none.
#[pyclass(frozen, module = "kosuke_docker._core")]
pub(super) struct HookCall {
    replaced: Vec<Hook>,
    /// Taken by the operation: when that drops it, `next()` gives None.
    sender: Mutex<Option<mpsc::Sender<Question>>>,
    questions: Arc<AsyncMutex<mpsc::Receiver<Question>>>,
    left: CancellationToken,
}

#[pymethods]
impl HookCall {
    #[new]
    #[expect(clippy::needless_pass_by_value, reason = "pyo3 hands over a list")]
    fn new(replaced: Vec<String>) -> Self {
        let (sender, questions) = mpsc::channel(1);
        Self {
            replaced: Hook::METHODS
                .into_iter()
                .chain([Hook::Progress])
                .filter(|hook| replaced.iter().any(|name| name == hook.name()))
                .collect(),
            sender: Mutex::new(Some(sender)),
            questions: Arc::new(AsyncMutex::new(questions)),
            left: CancellationToken::new(),
        }
    }

    /// Tells the core that the caller has left: a question that stands, and every later one, gets no answer.
    fn close(&self) {
        self.left.cancel();
    }

    /// The next question, None when the operation has no more.
    fn next<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let questions = Arc::clone(&self.questions);
        awaitable(py, async move {
            let question = questions.lock().await.recv().await;
            Ok(question.map(|(request, answer)| HookReply { request, answer: Mutex::new(Some(answer)) }))
        })
    }
}

impl HookCall {
    /// The core's end. It can be taken once.
    pub(super) fn hooks(&self) -> Option<Arc<dyn Hooks>> {
        let sender = lock(&self.sender).take()?;
        Some(Arc::new(Replaced { names: self.replaced.clone(), sender, left: self.left.clone() }))
    }
}

struct Replaced {
    names: Vec<Hook>,
    sender: mpsc::Sender<Question>,
    left: CancellationToken,
}

#[async_trait]
impl Hooks for Replaced {
    fn replaces(&self, hook: Hook) -> bool {
        self.names.contains(&hook)
    }

    fn left(&self) -> bool {
        self.left.is_cancelled()
    }

    async fn call(&self, request: HookRequest) -> Result<HookAnswer, HookFailure> {
        let (answer, answered) = oneshot::channel();
        let asked = async {
            self.sender.send((request, answer)).await.map_err(|_| HookFailure::Gone)?;
            answered.await.unwrap_or(Err(HookFailure::Gone))
        };
        tokio::select! {
            () = self.left.cancelled() => Err(HookFailure::Gone),
            answer = asked => answer,
        }
    }
}

/// One question.
#[pyclass(frozen, module = "kosuke_docker._core")]
pub(super) struct HookReply {
    request: HookRequest,
    answer: Mutex<Option<oneshot::Sender<Result<HookAnswer, HookFailure>>>>,
}

#[pymethods]
impl HookReply {
    /// The method's name.
    #[getter]
    fn name(&self) -> &'static str {
        self.request.hook().name()
    }

    /// What it is called with, after the project's id where it takes one.
    #[getter]
    fn arguments<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        match &self.request {
            HookRequest::Port | HookRequest::ProjectEnvironment | HookRequest::Database => Ok(PyTuple::empty(py)),
            HookRequest::PrepareEnvironment(variables) => {
                (arguments::variables_dict(py, variables)?,).into_pyobject(py)
            }
            HookRequest::Health(text) | HookRequest::Monitor(text) => (text,).into_pyobject(py),
            HookRequest::Progress(progress) => (Json::of(progress),).into_pyobject(py),
        }
    }

    /// Hands down what the method returned; raises when that cannot be used.
    fn done(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let answer = match self.request {
            HookRequest::Port => HookAnswer::Port(port(value)?),
            HookRequest::ProjectEnvironment | HookRequest::PrepareEnvironment(_) => {
                HookAnswer::Variables(arguments::variables(Some(value))?)
            }
            HookRequest::Health(_) => HookAnswer::Healthy(value.is_truthy()?),
            HookRequest::Database | HookRequest::Monitor(_) | HookRequest::Progress(_) => HookAnswer::Done,
        };
        self.send(Ok(answer));
        Ok(())
    }

    /// Tells the core that the method raised.
    fn failed(&self, message: String) {
        self.send(Err(HookFailure::Raised(message)));
    }
}

impl HookReply {
    fn send(&self, answer: Result<HookAnswer, HookFailure>) {
        let sender = lock(&self.answer).take();
        if let Some(sender) = sender {
            // Err: the operation was undone meanwhile and wants no answer.
            drop(sender.send(answer));
        }
    }
}

fn port(value: &Bound<'_, PyAny>) -> PyResult<u16> {
    let number = value.is_instance_of::<PyInt>() && !value.is_instance_of::<PyBool>();
    match value.extract::<u16>() {
        Ok(port) if number && port > 0 => Ok(port),
        _ => Err(errors::invalid("_get_random_port", "must return an int between 1 and 65535")),
    }
}

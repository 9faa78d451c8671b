//! The thread that hands results to Python: one for all calls, since each has to take the GIL, and a burst of calls would
//! have a thread each. It holds the GIL once for all results that wait, and wakes each event loop once for all of its own.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use pyo3::intern;
use pyo3::prelude::*;

use crate::lock::lock;

/// Results that are handed over before others get the GIL.
const AT_ONCE: usize = 64;

/// Makes an answer, with the GIL. None: nobody waits for one.
pub(super) type Delivery = Box<dyn FnOnce(Python<'_>) -> Option<Answer> + Send>;

/// A result, or an exception, and for whom.
pub(super) struct Answer {
    pub(super) event_loop: Py<PyAny>,
    pub(super) awaited: Py<PyAny>,
    pub(super) failed: bool,
    pub(super) value: Py<PyAny>,
    /// Is called where the loop is closed, and takes no answers.
    pub(super) ended: Py<PyAny>,
}

/// Where results are put. The thread ends when the last of these is gone.
#[derive(Clone)]
pub(super) struct DeliveryQueue(mpsc::Sender<Delivery>);

impl DeliveryQueue {
    /// Nothing, where the thread has ended.
    pub(super) fn hand_over(&self, delivery: Delivery) {
        drop(self.0.send(delivery));
    }
}

/// The thread.
pub(super) struct DeliveryThread {
    /// Is closed at its end: a join has no time-out.
    ended: mpsc::Receiver<()>,
}

impl DeliveryThread {
    pub(super) fn start() -> std::io::Result<(DeliveryQueue, Self)> {
        let (sender, mut deliveries) = mpsc::channel();
        let (ends, ended) = mpsc::sync_channel(0);
        std::thread::Builder::new().name("kosuke-docker-delivery".into()).spawn(move || {
            run(&mut deliveries);
            drop::<mpsc::SyncSender<()>>(ends);
        })?;
        Ok((DeliveryQueue(sender), Self { ended }))
    }

    /// Waits for its end, for `timeout` at the most.
    pub(super) fn wait(&self, timeout: Duration) {
        // An error tells of the end, or of the time-out.
        _ = self.ended.recv_timeout(timeout);
    }
}

fn run(deliveries: &mut mpsc::Receiver<Delivery>) {
    // Attached once: each time would make a thread state, and map memory for it.
    Python::attach(|py| {
        while let Ok(first) = next(py, deliveries) {
            let waiting = std::iter::once(first).chain(deliveries.try_iter()).take(AT_ONCE);
            // One that cannot be handed over must not keep the others back; the panic is printed.
            let answers = waiting.filter_map(|delivery| catch_unwind(AssertUnwindSafe(|| delivery(py))).ok().flatten());
            for batch in batches(answers) {
                batch.settle(py);
            }
        }
    });
}

/// Waits without the GIL.
fn next(py: Python<'_>, deliveries: &mut mpsc::Receiver<Delivery>) -> Result<Delivery, mpsc::RecvError> {
    py.detach(move || deliveries.recv())
}

/// The answers for one loop.
struct Batch {
    event_loop: Py<PyAny>,
    settlements: Vec<Settlement>,
    ended: Vec<Py<PyAny>>,
}

/// The answers loop by loop; most processes have one loop.
fn batches(answers: impl Iterator<Item = Answer>) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for Answer { event_loop, awaited, failed, value, ended } in answers {
        let settlement = Settlement { awaited, failed, value };
        match batches.iter_mut().find(|batch| batch.event_loop.is(&event_loop)) {
            Some(batch) => {
                batch.settlements.push(settlement);
                batch.ended.push(ended);
            }
            None => batches.push(Batch { event_loop, settlements: vec![settlement], ended: vec![ended] }),
        }
    }
    batches
}

impl Batch {
    /// Has the loop take them in.
    fn settle(self, py: Python<'_>) {
        // All references are in it: whoever awaits may go on before this thread does, and holds the last ones then.
        let settle = Settle(Mutex::new(self.settlements));
        if self.event_loop.call_method1(py, intern!(py, "call_soon_threadsafe"), (settle,)).is_err() {
            // The loop is closed, and calls nothing back.
            for ended in self.ended {
                drop(ended.call1(py, (py.None(),)));
            }
        }
    }
}

/// What an awaitable is to be told.
struct Settlement {
    awaited: Py<PyAny>,
    failed: bool,
    value: Py<PyAny>,
}

/// Answers on their way to a loop.
#[pyclass(frozen)]
struct Settle(Mutex<Vec<Settlement>>);

#[pymethods]
impl Settle {
    /// In the loop's thread: an awaitable that was cancelled takes no answer.
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        let settlements = std::mem::take(&mut *lock(&self.0));
        let mut result = Ok(());
        for settlement in settlements {
            result = result.and(settlement.settle(py));
        }
        result
    }
}

impl Settlement {
    fn settle(self, py: Python<'_>) -> PyResult<()> {
        if !self.awaited.call_method0(py, intern!(py, "done"))?.is_truthy(py)? {
            let method = if self.failed { intern!(py, "set_exception") } else { intern!(py, "set_result") };
            self.awaited.call_method1(py, method, (self.value,))?;
        }
        Ok(())
    }
}

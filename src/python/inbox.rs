//! How results reach an event loop: a queue for each loop that waits for some, and a pipe that wakes the loop, which makes
//! them into objects itself. So no thread of ours waits for the GIL, and many results wake the loop once.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

use crate::lock::lock;

/// Results that are taken in before the loop does something else.
const AT_ONCE: usize = 64;

/// Hands a result to whoever awaits it, with the GIL and in the loop's thread.
pub(super) type Delivery = Box<dyn FnOnce(Python<'_>) -> PyResult<()> + Send>;

/// The inboxes of all loops that wait for a result, by the loop's address. Only with the GIL: so nobody holds it while
/// Python forks.
static INBOXES: Mutex<Vec<(usize, Arc<Inbox>)>> = Mutex::new(Vec::new());

/// The results for one loop.
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    /// One byte is in it while the queue is not empty.
    wake: UnixStream,
    process: u32,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Delivery>,
    /// Results that will come, or wait here.
    expected: usize,
    /// The loop reads it no more.
    closed: bool,
}

impl Inbox {
    /// The inbox of the running loop, which from now on expects one result more.
    pub(super) fn expect(py: Python<'_>, event_loop: &Bound<'_, PyAny>) -> PyResult<Arc<Self>> {
        static CONTEXT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let address = event_loop.as_ptr() as usize;
        let known = lock(&INBOXES).iter().find(|(of, inbox)| *of == address && inbox.is_of_this_process()).cloned();
        if let Some((_, inbox)) = known
            && inbox.expect_another()
        {
            return Ok(inbox);
        }
        let (reads, wake) = UnixStream::pair()?;
        reads.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let queue = Queue { expected: 1, ..Queue::default() };
        let inbox = Arc::new(Self { queue: Mutex::new(queue), wake, process: std::process::id() });
        let reader = Bound::new(py, Reader { inbox: Arc::clone(&inbox), reads })?;
        // In a context of its own: it would keep that of the first call for as long as others wait.
        let context = CONTEXT.import(py, "contextvars", "Context")?.call0()?;
        let add_reader = event_loop.getattr(intern!(py, "add_reader"))?;
        context.call_method1(intern!(py, "run"), (add_reader, reader.get().reads.as_raw_fd(), &reader))?;
        lock(&INBOXES).push((address, Arc::clone(&inbox)));
        Ok(inbox)
    }

    fn is_of_this_process(&self) -> bool {
        self.process == std::process::id()
    }

    /// False: it is closed.
    fn expect_another(&self) -> bool {
        let mut queue = lock(&self.queue);
        queue.expected += usize::from(!queue.closed);
        !queue.closed
    }

    /// Puts a result in, from any thread.
    pub(super) fn put(&self, delivery: Delivery) {
        let mut queue = lock(&self.queue);
        if queue.closed {
            // What it holds of Python goes with the next call, by pyo3's own care: nobody waits for it.
            return;
        }
        queue.waiting.push_back(delivery);
        if queue.waiting.len() == 1 {
            // Full: then there is a byte in it.
            _ = (&self.wake).write(&[0]);
        }
    }
}

/// The loop's end of an inbox. It goes with the loop, or with the last result that is expected.
#[pyclass(frozen)]
struct Reader {
    inbox: Arc<Inbox>,
    reads: UnixStream,
}

#[pymethods]
impl Reader {
    /// In the loop's thread: takes in what has come.
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        static GET_RUNNING_LOOP: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
        let (deliveries, last) = self.take();
        let mut result = Ok(());
        for delivery in deliveries {
            // One that cannot be handed over must not keep the others back; a panic is printed.
            result = result.and(catch_unwind(AssertUnwindSafe(|| delivery(py))).unwrap_or(Ok(())));
        }
        if last {
            let event_loop = GET_RUNNING_LOOP.import(py, "asyncio", "get_running_loop")?.call0()?;
            event_loop.call_method1(intern!(py, "remove_reader"), (self.reads.as_raw_fd(),))?;
        }
        result
    }
}

impl Reader {
    /// Some results, and whether no other is expected: then the inbox is closed.
    fn take(&self) -> (Vec<Delivery>, bool) {
        let mut queue = lock(&self.inbox.queue);
        let some = queue.waiting.len().min(AT_ONCE);
        let deliveries = queue.waiting.drain(..some).collect();
        queue.expected -= some;
        if queue.waiting.is_empty() {
            _ = (&self.reads).read(&mut [0; 8]);
        }
        let last = queue.expected == 0;
        queue.closed |= last;
        drop(queue);
        if last {
            self.forget();
        }
        (deliveries, last)
    }

    fn forget(&self) {
        lock(&INBOXES).retain(|(_, inbox)| !Arc::ptr_eq(inbox, &self.inbox));
    }
}

impl Drop for Reader {
    /// The loop was closed, and takes nothing in any more.
    fn drop(&mut self) {
        self.forget();
        if !self.inbox.is_of_this_process() {
            // A forked child's copy: a thread that stayed in the parent may have held its lock.
            mem::forget(Arc::clone(&self.inbox));
            return;
        }
        let mut queue = lock(&self.inbox.queue);
        queue.closed = true;
        let waiting = mem::take(&mut queue.waiting);
        drop(queue);
        drop(waiting);
    }
}

//! The thread that hands results to Python: one for all calls, since each has to take the GIL, and a burst of calls would
//! have a thread each. It holds the GIL once for all results that wait.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::time::Duration;

use pyo3::prelude::*;

/// Results that are handed over before others get the GIL.
const AT_ONCE: usize = 64;

pub(super) type Delivery = Box<dyn FnOnce() + Send>;

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
        let (sender, deliveries) = mpsc::channel();
        let (ends, ended) = mpsc::sync_channel(0);
        std::thread::Builder::new().name("kosuke-docker-delivery".into()).spawn(move || {
            run(&deliveries);
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

fn run(deliveries: &mpsc::Receiver<Delivery>) {
    while let Ok(first) = deliveries.recv() {
        Python::attach(|_| {
            for delivery in std::iter::once(first).chain(deliveries.try_iter()).take(AT_ONCE) {
                // One that cannot be handed over must not keep the others back; the panic is printed.
                drop(catch_unwind(AssertUnwindSafe(delivery)));
            }
        });
    }
}

//! One event stream of an engine, for any number of services and previews. Events are hints: only an inspect decides.
//! A heartbeat finds an engine that is frozen, which a silent stream does not tell.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::engine::{Engine, EngineError, EngineEvent};
use crate::lock::lock;
use crate::state::{EngineStatus, Link};

/// News that may wait to be read. A listener that is further behind is told to resync.
const NEWS: usize = 1024;
/// Pauses before the next try: the first, doubled to the last, each shortened by up to a half at random.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_millis(500);
/// After the engine, or what stands before it, refused the stream.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);
/// How long it may take to read what the engine remembers, and how long callers wait for that.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the engine is asked whether it is there, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    /// Between two beats.
    pub interval: Duration,
    /// For the answer.
    pub timeout: Duration,
}

/// What listeners are told.
#[derive(Debug, Clone)]
pub(crate) enum News {
    Event(Arc<EngineEvent>),
    /// Connected (again), or too much was missed: all that is remembered has to be asked for anew.
    Resync,
    /// The engine does not answer.
    Disconnected,
}

/// See the module. Connects while somebody listens.
pub struct EngineEvents {
    engine: Arc<dyn Engine>,
    heartbeat: Heartbeat,
    status: Arc<EngineStatus>,
    news: broadcast::Sender<News>,
    /// Whether the events that the engine remembered when somebody began to listen are known.
    replayed: watch::Sender<bool>,
    connection: Mutex<Connection>,
}

#[derive(Default)]
struct Connection {
    listeners: usize,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl EngineEvents {
    /// The events of this engine; connects to nothing yet.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, heartbeat: Heartbeat) -> Arc<Self> {
        Arc::new(Self {
            engine,
            heartbeat,
            status: Arc::default(),
            news: broadcast::Sender::new(NEWS),
            replayed: watch::Sender::new(false),
            connection: Mutex::default(),
        })
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    pub(crate) fn status(&self) -> &Arc<EngineStatus> {
        &self.status
    }

    /// Begins to listen; the first listener makes the connection, in a task of the current runtime.
    pub(crate) fn listen(self: &Arc<Self>) -> Listener {
        let news = self.news.subscribe();
        let mut connection = lock(&self.connection);
        connection.listeners += 1;
        if connection.listeners == 1 {
            let (events, stop, before) = (Arc::clone(self), CancellationToken::new(), connection.task.take());
            connection.stop = stop.clone();
            connection.task = Some(tokio::spawn(async move {
                if let Some(before) = before {
                    drop(before.await);
                }
                stop.run_until_cancelled(events.stay_connected()).await;
                events.status.set_link(Link::Idle);
                events.replayed.send_replace(false);
            }));
        }
        Listener { events: Arc::clone(self), news }
    }

    /// Waits until it is known what the engine remembers, but not long, and only while somebody listens.
    pub(crate) async fn wait_replayed(&self) {
        if lock(&self.connection).listeners > 0 {
            let (mut replayed, mut link) = (self.replayed.subscribe(), self.status.watch_link());
            tokio::select! {
                _ = replayed.wait_for(|replayed| *replayed) => {}
                _ = link.wait_for(|link| matches!(link, Link::Down { .. })) => {}
                () = tokio::time::sleep(REPLAY_TIMEOUT) => {}
            }
        }
    }

    /// Waits until the connection is closed, if nobody listens any more.
    pub(crate) async fn wait_disconnected(&self) {
        let task = {
            let mut connection = lock(&self.connection);
            if connection.listeners > 0 { None } else { connection.task.take() }
        };
        if let Some(task) = task {
            drop(task.await);
        }
    }

    async fn stay_connected(&self) {
        let mut retry = RETRY_FIRST;
        loop {
            if let Err(error) = self.beat().await {
                self.disconnected(&error);
                tokio::time::sleep(jittered(retry)).await;
                retry = (retry * 2).min(RETRY_LAST);
                continue;
            }
            if !*self.replayed.borrow() {
                self.replay().await;
            }
            let connected = Instant::now();
            let broken = self.follow(connected).await;
            // Until the next connection, what is remembered counts for nothing.
            if matches!(self.status.link(), Link::Up { .. }) {
                self.status.set_link(Link::Idle);
            }
            if let EngineError::Refused(words) = &broken {
                log::warn!(target: "kosuke_docker::engine", "the engine refuses to tell events: {words}");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
            log::debug!(target: "kosuke_docker::engine", "the event stream broke: {broken}");
            // An engine that answers but ends every stream is not asked without pause.
            retry = if connected.elapsed() > RETRY_LAST { RETRY_FIRST } else { (retry * 2).min(RETRY_LAST) };
            if connected.elapsed() < RETRY_LAST {
                tokio::time::sleep(jittered(retry)).await;
            }
        }
    }

    /// Reads what the engine remembers: of OOM kills and signals nothing else tells. Where the engine's clock is behind
    /// ours, this waits for more until its timeout; where it is ahead, the stream tells the last of it.
    async fn replay(&self) {
        let past = async {
            let mut events = self.engine.events(self.status.next_event_at(), Some(SystemTime::now()));
            while let Some(Ok(event)) = events.next().await {
                self.event(event);
            }
        };
        drop(tokio::time::timeout(REPLAY_TIMEOUT, past).await);
        self.replayed.send_replace(true);
    }

    /// Reads one stream until it ends or the heartbeat stops. What was missed comes first.
    async fn follow(&self, connected: Instant) -> EngineError {
        let mut events = self.engine.events(self.status.next_event_at(), None);
        if matches!(self.status.set_link(Link::Up { since: connected }), Link::Down { .. }) {
            log::info!(target: "kosuke_docker::engine", "the engine answers again");
        }
        self.send(News::Resync);
        let beats = async {
            loop {
                tokio::time::sleep(self.heartbeat.interval).await;
                if let Err(error) = self.beat().await {
                    return error;
                }
            }
        };
        tokio::pin!(beats);
        loop {
            tokio::select! {
                error = &mut beats => {
                    self.disconnected(&error);
                    return error;
                }
                event = events.next() => match event {
                    Some(Ok(event)) => self.event(event),
                    Some(Err(error)) => return error,
                    None => return EngineError::Unreachable("the engine closed the event stream".into()),
                },
            }
        }
    }

    fn event(&self, event: EngineEvent) {
        self.status.record(&event);
        self.send(News::Event(Arc::new(event)));
    }

    async fn beat(&self) -> Result<(), EngineError> {
        let timeout = self.heartbeat.timeout;
        let answer = tokio::time::timeout(timeout, self.engine.ping()).await;
        answer.unwrap_or(Err(EngineError::Timeout(timeout)))?;
        self.status.answered();
        Ok(())
    }

    fn disconnected(&self, error: &EngineError) {
        let reason = error.to_string();
        let before = self.status.set_link(Link::Down { reason: reason.clone() });
        if !matches!(before, Link::Down { .. }) {
            log::warn!(target: "kosuke_docker::engine", "the engine does not answer: {reason}");
            self.send(News::Disconnected);
        }
    }

    fn send(&self, news: News) {
        // Err: nobody listens just now.
        drop(self.news.send(news));
    }
}

fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - fastrand::f64() / 2.0)
}

/// A place among the listeners. When the last is dropped the connection ends.
pub(crate) struct Listener {
    events: Arc<EngineEvents>,
    news: broadcast::Receiver<News>,
}

impl Listener {
    pub(crate) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Ok(news) => news,
            Err(broadcast::error::RecvError::Lagged(_)) => News::Resync,
            // This listener holds the events, and with them the sender.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut connection = lock(&self.events.connection);
        connection.listeners -= 1;
        if connection.listeners == 0 {
            connection.stop.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::engine::Change;
    use crate::engine::memory::MemoryEngine;

    #[tokio::test]
    async fn a_listener_that_is_far_behind_is_told_to_resync() {
        let heartbeat = Heartbeat { interval: Duration::from_secs(9), timeout: Duration::from_secs(9) };
        let events = EngineEvents::new(Arc::new(MemoryEngine::new()), heartbeat);
        let (mut behind, mut later) = (events.listen(), events.listen());
        let event = |number| EngineEvent {
            workload_id: "a".into(),
            name: "x".into(),
            labels: HashMap::new(),
            change: Change::Oom,
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(number),
        };
        for number in 0..=NEWS as u64 {
            events.event(event(number));
            if number == 0 {
                assert!(matches!(later.next().await, News::Event(_)));
            }
        }
        assert!(matches!(behind.next().await, News::Resync));
        // What it can still be told comes after that, and the status knows what it was not told.
        assert!(matches!(behind.next().await, News::Event(_)));
        assert!(matches!(later.next().await, News::Event(_)));
        assert_eq!(events.status().history("a").ooms as usize, NEWS + 1);
        assert_eq!(events.status().next_event_at(), Some(event(NEWS as u64).at + Duration::from_nanos(1)));
    }
}

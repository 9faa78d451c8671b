//! One event stream of an engine, for any number of services and previews. Events are hints: a look at the container
//! decides. A heartbeat finds an engine that is frozen, which a silent stream does not tell.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::lock;
use crate::engine::{Engine, EngineEvent, EventKind};
use crate::error::EngineError;

/// News that may wait to be read. A reader that is further behind looks at everything anew.
const NEWS: usize = 1024;
/// Pauses before the next try: the first, doubled to the last, each shortened by up to a half at random.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_millis(500);

/// After the engine, or what stands before it, refused the stream.
const REFUSED: Duration = Duration::from_secs(30);
/// How long it may take to read what the engine remembers, and how long the first look waits for that.
const CATCH_UP: Duration = Duration::from_secs(1);

/// How often the engine is asked whether it is there, and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Heartbeat {
    /// Between two beats.
    pub interval: Duration,
    /// For the answer.
    pub deadline: Duration,
}

/// Whether what is remembered is kept warm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// Nobody listens, or the first connection is being made.
    Idle,
    /// What was looked at after this moment is true until an event says otherwise.
    Up {
        since: Instant,
    },
    Down {
        reason: String,
    },
}

/// What the feed tells.
#[derive(Debug, Clone)]
pub(super) enum News {
    Event(Arc<EngineEvent>),
    /// Connected (again), or too much was missed: everything that is remembered has to be looked at.
    LookAgain,
    Lost,
}

/// What events alone tell about a container. The engine's own flag stays set for ever and misses a child's OOM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) ooms: u32,
    pub(super) last_oom: Option<SystemTime>,
    pub(super) last_kill: Option<SystemTime>,
}

/// See the module. Connects while somebody listens.
pub struct Feed {
    engine: Arc<dyn Engine>,
    heartbeat: Heartbeat,
    news: broadcast::Sender<News>,
    link: watch::Sender<Link>,
    /// What the engine remembered when somebody began to listen is known.
    caught_up: watch::Sender<bool>,
    /// When the engine last gave a sign of life.
    heard: Mutex<SystemTime>,
    facts: Mutex<HashMap<String, Facts>>,
    /// When the last event was that the facts know: the next connection reads on after it.
    last: Mutex<Option<SystemTime>>,
    reader: Mutex<Reader>,
}

#[derive(Default)]
struct Reader {
    listeners: usize,
    stop: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl Feed {
    /// A feed of this engine; connects to nothing yet.
    #[must_use]
    pub fn new(engine: Arc<dyn Engine>, heartbeat: Heartbeat) -> Arc<Self> {
        Arc::new(Self {
            engine,
            heartbeat,
            news: broadcast::Sender::new(NEWS),
            link: watch::Sender::new(Link::Idle),
            caught_up: watch::Sender::new(false),
            heard: Mutex::new(SystemTime::now()),
            facts: Mutex::default(),
            last: Mutex::default(),
            reader: Mutex::default(),
        })
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    pub(super) fn link(&self) -> Link {
        self.link.borrow().clone()
    }

    pub(super) fn heard(&self) -> SystemTime {
        *lock(&self.heard)
    }

    pub(super) fn facts(&self, container_id: &str) -> Facts {
        lock(&self.facts).get(container_id).copied().unwrap_or_default()
    }

    /// Begins to listen; the first listener makes the connection, in a task of the current runtime.
    pub(super) fn listen(self: &Arc<Self>) -> Listener {
        let news = self.news.subscribe();
        let mut reader = lock(&self.reader);
        reader.listeners += 1;
        if reader.listeners == 1 {
            let (feed, stop, before) = (Arc::clone(self), CancellationToken::new(), reader.task.take());
            reader.stop = stop.clone();
            reader.task = Some(tokio::spawn(async move {
                if let Some(before) = before {
                    drop(before.await);
                }
                stop.run_until_cancelled(feed.read()).await;
                feed.link.send_replace(Link::Idle);
                feed.caught_up.send_replace(false);
            }));
        }
        Listener { feed: Arc::clone(self), news }
    }

    /// Waits until it is known what the engine remembers, but not long, and only while somebody listens.
    pub(super) async fn caught_up(&self) {
        if lock(&self.reader).listeners > 0 {
            let (mut caught_up, mut link) = (self.caught_up.subscribe(), self.link.subscribe());
            tokio::select! {
                _ = caught_up.wait_for(|caught_up| *caught_up) => {}
                _ = link.wait_for(|link| matches!(link, Link::Down { .. })) => {}
                () = tokio::time::sleep(CATCH_UP) => {}
            }
        }
    }

    /// Waits until the connection is closed, if nobody listens any more.
    pub(super) async fn ended(&self) {
        let task = {
            let mut reader = lock(&self.reader);
            if reader.listeners > 0 { None } else { reader.task.take() }
        };
        if let Some(task) = task {
            drop(task.await);
        }
    }

    async fn read(&self) {
        let mut retry = RETRY_FIRST;
        loop {
            if let Err(error) = self.beat().await {
                self.lost(&error);
                tokio::time::sleep(retry.mul_f64(1.0 - fastrand::f64() / 2.0)).await;
                retry = (retry * 2).min(RETRY_LAST);
                continue;
            }
            if !*self.caught_up.borrow() {
                self.catch_up().await;
            }
            let connected = Instant::now();
            let broken = self.follow(connected).await;
            // Until the next connection, what is remembered counts for nothing.
            self.link.send_if_modified(|link| {
                let up = matches!(link, Link::Up { .. });
                if up {
                    *link = Link::Idle;
                }
                up
            });
            if let EngineError::Refused(words) = &broken {
                log::warn!(target: "kosuke_docker::engine", "the engine refuses to tell events: {words}");
                tokio::time::sleep(REFUSED).await;
            }
            log::debug!(target: "kosuke_docker::engine", "the event stream broke: {broken}");
            // An engine that answers but ends every stream is not asked without pause.
            retry = if connected.elapsed() > RETRY_LAST { RETRY_FIRST } else { (retry * 2).min(RETRY_LAST) };
            if connected.elapsed() < RETRY_LAST {
                tokio::time::sleep(retry.mul_f64(1.0 - fastrand::f64() / 2.0)).await;
            }
        }
    }

    /// Reads what the engine remembers: of OOM kills and signals nothing else tells. A clock of the engine's that is behind
    /// ours makes it wait for more, and one that is ahead leaves the last of it to the stream.
    async fn catch_up(&self) {
        let past = async {
            let mut events = self.engine.events(self.after_last(), Some(SystemTime::now()));
            while let Some(Ok(event)) = events.next().await {
                self.event(event);
            }
        };
        drop(tokio::time::timeout(CATCH_UP, past).await);
        self.caught_up.send_replace(true);
    }

    fn after_last(&self) -> Option<SystemTime> {
        lock(&self.last).map(|last| last + Duration::from_nanos(1))
    }

    /// Reads one stream until it ends or the heartbeat stops. What was missed comes first.
    async fn follow(&self, connected: Instant) -> EngineError {
        let mut events = self.engine.events(self.after_last(), None);
        if matches!(self.link(), Link::Down { .. }) {
            log::info!(target: "kosuke_docker::engine", "the engine answers again");
        }
        self.link.send_replace(Link::Up { since: connected });
        self.tell(News::LookAgain);
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
                    self.lost(&error);
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
        *lock(&self.heard) = SystemTime::now();
        {
            let mut last = lock(&self.last);
            *last = Some(event.at).max(*last);
        }
        {
            let mut facts = lock(&self.facts);
            match event.kind {
                EventKind::Destroyed => drop(facts.remove(&event.container_id)),
                EventKind::Oom => {
                    let facts = facts.entry(event.container_id.clone()).or_default();
                    facts.ooms += 1;
                    facts.last_oom = Some(event.at);
                }
                EventKind::Killed => facts.entry(event.container_id.clone()).or_default().last_kill = Some(event.at),
                EventKind::Changed => {}
            }
        }
        self.tell(News::Event(Arc::new(event)));
    }

    async fn beat(&self) -> Result<(), EngineError> {
        let deadline = self.heartbeat.deadline;
        let answer = tokio::time::timeout(deadline, self.engine.ping()).await;
        answer.unwrap_or(Err(EngineError::Timeout(deadline)))?;
        *lock(&self.heard) = SystemTime::now();
        Ok(())
    }

    fn lost(&self, error: &EngineError) {
        let reason = error.to_string();
        let down = self.link.send_if_modified(|link| {
            let changed = !matches!(link, Link::Down { .. });
            *link = Link::Down { reason: reason.clone() };
            changed
        });
        if down {
            log::warn!(target: "kosuke_docker::engine", "the engine does not answer: {reason}");
            self.tell(News::Lost);
        }
    }

    fn tell(&self, news: News) {
        // Err: nobody listens just now.
        drop(self.news.send(news));
    }
}

/// A place among the listeners. When the last is dropped the connection ends.
pub(super) struct Listener {
    feed: Arc<Feed>,
    news: broadcast::Receiver<News>,
}

impl Listener {
    pub(super) async fn next(&mut self) -> News {
        match self.news.recv().await {
            Ok(news) => news,
            Err(broadcast::error::RecvError::Lagged(_)) => News::LookAgain,
            // The feed is held by this listener, and with it the sender.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut reader = lock(&self.feed.reader);
        reader.listeners -= 1;
        if reader.listeners == 0 {
            reader.stop.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{DockerEngine, EngineAddress};

    #[tokio::test]
    async fn a_listener_that_is_far_behind_looks_at_everything_anew() {
        let engine = Arc::new(DockerEngine::new(EngineAddress::Unusable("none".into()), Duration::from_secs(1)));
        let feed = Feed::new(engine, Heartbeat { interval: Duration::from_secs(9), deadline: Duration::from_secs(9) });
        let (mut behind, mut later) = (feed.listen(), feed.listen());
        let event = |number| EngineEvent {
            container_id: "a".into(),
            name: "x".into(),
            labels: HashMap::new(),
            kind: EventKind::Oom,
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(number),
        };
        for number in 0..=NEWS as u64 {
            feed.event(event(number));
            if number == 0 {
                assert!(matches!(later.next().await, News::Event(_)));
            }
        }
        assert!(matches!(behind.next().await, News::LookAgain));
        // What it can still be told comes after that, and the facts know what it was not told.
        assert!(matches!(behind.next().await, News::Event(_)));
        assert!(matches!(later.next().await, News::Event(_)));
        assert_eq!(feed.facts("a").ooms as usize, NEWS + 1);
        assert_eq!(*lock(&feed.last), Some(event(NEWS as u64).at));
    }
}

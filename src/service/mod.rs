//! What the service does with its engine, its databases and its probe. It speaks to traits only.
//!
//! - `registry`: the cache, and the queue of operations of each preview
//! - `start`, `stop`, `restart`, `status`, `list`, `ready`, `logs`, `events`, `sweep`, `image`: one verb each
//! - `database`: what can be asked about and done to a preview's database
//! - `prepare`: what a start needs before a container is made
//! - `feed`: one event stream of the engine for all services; `warm`: keeps the cache true by it
//! - `monitor`: follows one container's output; `watch`: what that has taught, and the requests; `edits`: of its project
//! - `snapshot`: what is told about a preview, from all of these
//! - `hooks`: the steps that Python may replace

mod database;
mod edits;
mod events;
mod feed;
mod hooks;
mod image;
mod list;
mod logs;
mod monitor;
mod prepare;
mod ready;
mod registry;
mod restart;
mod snapshot;
mod start;
mod status;
mod stop;
mod sweep;
mod warm;
mod watch;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::database::{Databases, Login};
use crate::engine::Engine;
use crate::environment::{self, Variables};
use crate::error::Error;
use crate::id::PreviewId;
use crate::probe::Probe;
use crate::readiness::Patterns;
use crate::settings::Settings;

pub use database::DatabaseSweep;
pub use events::{EventKind, PreviewEvent, Subscription};
pub use feed::{Feed, Heartbeat};
pub use hooks::{Hook, HookAnswer, HookFailure, HookRequest, Hooks};
pub use logs::{LogLine, LogReader, LogStream};
pub use monitor::Chunks;
pub use ready::Patience;
pub use registry::ContainerInfo;
pub use start::{StartRequest, Started};
pub use sweep::Swept;

const PASSWORD_LENGTH: usize = 32;

/// One service: cheap to clone, all clones are one.
#[derive(Clone)]
pub struct PreviewService {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    engine: Arc<dyn Engine>,
    feed: Arc<Feed>,
    /// Whether it listens to the feed.
    listening: AtomicBool,
    /// Somebody wants to hear of every preview of this owner.
    watching_all: AtomicBool,
    /// The previews that somebody wants to hear of.
    watched: Mutex<HashSet<PreviewId>>,
    databases: Option<Arc<dyn Databases>>,
    probe: Probe,
    patterns: Patterns,
    registry: registry::Registry,
    /// The tokens of starts that failed while the engine was creating their container.
    undone: Mutex<HashSet<String>>,
    pulls: image::Pulls,
    /// The password that the next start of a preview will set.
    passwords: Mutex<HashMap<PreviewId, SecretString>>,
    /// Held while places in two queues are taken: two copies must not wait for each other.
    pairs: Mutex<()>,
    tasks: TaskTracker,
    closed: CancellationToken,
}

impl PreviewService {
    /// A service on the engine of `feed`; connects to nothing.
    #[must_use]
    pub fn new(settings: Settings, feed: Arc<Feed>, databases: Option<Arc<dyn Databases>>, probe: Probe) -> Self {
        let inner = Inner {
            // Settings that were validated have patterns that compile.
            patterns: settings.patterns().unwrap_or_default(),
            engine: Arc::clone(feed.engine()),
            registry: registry::Registry::new(snapshot::View::new(Arc::clone(&feed), &settings)),
            settings,
            feed,
            listening: AtomicBool::new(false),
            watching_all: AtomicBool::new(false),
            watched: Mutex::default(),
            databases,
            probe,
            undone: Mutex::default(),
            pulls: image::Pulls::default(),
            passwords: Mutex::default(),
            pairs: Mutex::default(),
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Asks the engine whether it answers.
    ///
    /// # Errors
    /// [`Error::DockerUnavailable`] or [`Error::Timeout`] with the cause.
    pub async fn ping(&self) -> Result<(), Error> {
        self.inner.engine.ping().await.map_err(|source| Error::engine("ping", None, source))
    }

    /// The variables for a container of `key`: the base, then `overlay`. The URL's password is the one that the next
    /// start of this preview will set; with `admin`, and where previews get no roles, it is the admin's.
    #[must_use]
    pub fn prepare_environment(&self, key: &PreviewId, overlay: &[(String, String)], admin: bool) -> Variables {
        self.inner.prepare_environment(key, overlay, admin)
    }

    /// What the cache holds.
    #[must_use]
    pub fn containers(&self) -> Vec<ContainerInfo> {
        self.inner.registry.containers()
    }

    /// Puts an entry into the cache; it is verified before it counts as running.
    pub fn put(&self, info: ContainerInfo) {
        let target = self.inner.target_of_url(&info.url);
        self.inner.registry.put(info, target);
    }

    /// Takes an entry out of the cache; the container is left alone.
    pub fn forget(&self, key: &PreviewId) {
        self.inner.registry.remove(key);
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.inner.closed.is_cancelled()
    }

    /// Tells every task of the service to end.
    pub fn abandon(&self) {
        self.inner.closed.cancel();
    }

    /// Ends every task of the service and waits for them, for `patience` at the most. Containers are left as they are.
    /// Tells how many tasks are still ending: a call that the engine does not answer is one.
    pub async fn close(&self, patience: Duration) -> usize {
        self.inner.closed.cancel();
        self.inner.tasks.close();
        drop(tokio::time::timeout(patience, self.inner.tasks.wait()).await);
        self.inner.tasks.len()
    }
}

impl Inner {
    /// Ends a turn in a preview's queue, and looks at what happened meanwhile.
    fn finish(self: &Arc<Self>, key: &PreviewId, turn: registry::Turn) {
        if self.registry.finish(key, turn) {
            self.look_soon(key);
        }
    }

    /// The same after something that has no look of its own at its end.
    fn look_after(self: &Arc<Self>, key: &PreviewId, turn: registry::Turn) {
        let _looked_at_anyway = self.registry.finish(key, turn);
        self.look_soon(key);
    }

    fn prepare_environment(&self, key: &PreviewId, overlay: &[(String, String)], admin: bool) -> Variables {
        let url = self.databases.as_ref().map(|databases| {
            let login =
                if admin || databases.admin_only() { Login::Admin } else { Login::Role(self.next_password(key)) };
            databases.url(&key.database_name(), &login)
        });
        environment::prepare(key, self.settings.preview_port, url.as_ref().map(ExposeSecret::expose_secret), overlay)
    }

    fn next_password(&self, key: &PreviewId) -> SecretString {
        lock(&self.passwords).entry(key.clone()).or_insert_with(new_password).clone()
    }

    fn spend_password(&self, key: &PreviewId) -> SecretString {
        lock(&self.passwords).remove(key).unwrap_or_else(new_password)
    }
}

/// Letters and digits only, so that no URL and no shell needs to quote it.
fn new_password() -> SecretString {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(PASSWORD_LENGTH);
    while text.len() < PASSWORD_LENGTH {
        let mut bytes = [0_u8; PASSWORD_LENGTH];
        if getrandom::fill(&mut bytes).is_err() {
            // The kernel's source does not fail after boot; a weaker password is better than none.
            fastrand::fill(&mut bytes);
        }
        // 62 * 4 = 248: what lies above would favour the first letters.
        let letters = bytes
            .iter()
            .filter(|&&byte| byte < 248)
            .map(|&byte| char::from(LETTERS[usize::from(byte) % LETTERS.len()]));
        text.extend(letters.take(PASSWORD_LENGTH - text.len()));
    }
    SecretString::from(text)
}

/// Locks without caring for a panic elsewhere: what we guard is valid after every statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_and_differ() {
        let (one, two) = (new_password(), new_password());
        assert_eq!(one.expose_secret().len(), PASSWORD_LENGTH);
        assert_ne!(one.expose_secret(), two.expose_secret());
    }
}

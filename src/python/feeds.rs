//! The feeds of this process: all services on one engine share one, also those with replaced hooks.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::engine::{DockerEngine, EngineAddress};
use crate::service::{Feed, Heartbeat};

type Key = (u32, EngineAddress, Duration, Heartbeat);

/// Held for moments only, and only by threads that hold the GIL: so nobody holds it while Python forks.
static FEEDS: Mutex<Vec<(Key, Weak<Feed>)>> = Mutex::new(Vec::new());

pub(super) fn shared(address: EngineAddress, timeout: Duration, heartbeat: Heartbeat) -> Arc<Feed> {
    let key = (std::process::id(), address, timeout, heartbeat);
    let mut feeds = FEEDS.lock().unwrap_or_else(PoisonError::into_inner);
    feeds.retain(|(_, feed)| feed.strong_count() > 0);
    if let Some(feed) = feeds.iter().find(|(known, _)| *known == key).and_then(|(_, feed)| feed.upgrade()) {
        return feed;
    }
    let feed = Feed::new(Arc::new(DockerEngine::new(key.1.clone(), timeout)), heartbeat);
    feeds.push((key, Arc::downgrade(&feed)));
    feed
}

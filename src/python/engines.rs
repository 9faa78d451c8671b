//! The engines of this process: all services on one share its event stream, also those with replaced hooks.

use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use crate::engine::{DockerEngine, EngineAddress};
use crate::lock::lock;
use crate::service::{EngineEvents, Heartbeat};

type Key = (u32, EngineAddress, Duration, Heartbeat);

/// Held for moments only, and only by threads that hold the GIL: so nobody holds it while Python forks.
static ENGINES: Mutex<Vec<(Key, Weak<EngineEvents>)>> = Mutex::new(Vec::new());

/// The events of the engine at this address, with these timeouts.
pub(super) fn shared(address: EngineAddress, timeout: Duration, heartbeat: Heartbeat) -> Arc<EngineEvents> {
    let key = (std::process::id(), address, timeout, heartbeat);
    let mut engines = lock(&ENGINES);
    engines.retain(|(_, events)| events.strong_count() > 0);
    if let Some(events) = engines.iter().find(|(known, _)| *known == key).and_then(|(_, events)| events.upgrade()) {
        return events;
    }
    let events = EngineEvents::new(Arc::new(DockerEngine::new(key.1.clone(), timeout)), heartbeat);
    engines.push((key, Arc::downgrade(&events)));
    events
}

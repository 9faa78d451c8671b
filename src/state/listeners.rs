//! Who wants to hear of changes.

use tokio::sync::broadcast;

use super::store::{Entries, Store};
use crate::engine::State;
use crate::id::PreviewId;
use crate::lock::lock;
use crate::preview::PreviewEvent;

impl Store {
    /// Whether anybody wants to hear of changes.
    pub(crate) fn is_heard(&self) -> bool {
        self.events.receiver_count() > 0
    }

    /// Whether anybody wants to hear of changes, and this preview's app is not paused: then it answers nothing.
    pub(crate) fn is_watched(&self, id: &PreviewId) -> bool {
        let entries = lock(&self.entries);
        let state = entries.all.get(id).and_then(|entry| Some(entry.observation.as_ref()?.workload.state));
        self.is_heard() && state != Some(State::Paused)
    }

    /// What comes and goes in browsers from now on.
    pub(crate) fn subscribe_browser(&self) -> broadcast::Receiver<PreviewEvent> {
        self.browser_events.subscribe()
    }

    /// What changes from now on.
    pub(crate) fn subscribe(&self) -> broadcast::Receiver<PreviewEvent> {
        let Entries { all, names, .. } = &mut *lock(&self.entries);
        if !self.is_heard() {
            // Nobody listened: what happened meanwhile is no news.
            for (id, entry) in all {
                let now = self.snapshots.preview(id, &names.of(id), entry, None);
                drop(entry.published.advance(id, now.as_ref()));
            }
        }
        self.events.subscribe()
    }
}

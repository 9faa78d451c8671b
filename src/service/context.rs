//! What the use cases share.

use std::sync::Arc;
use std::time::Duration;

use super::common::Common;
use crate::engine::{Engine, PortRange, Workload};
use crate::error::Error;
use crate::id::PreviewId;
use crate::settings::Settings;
use crate::state::{Ownership, Store};
use crate::sync::Reconciler;

/// How long a container that another process made may wait for its start before it counts as left behind.
/// Longer than a password may take to set: else the one that is late would overwrite the one that replaced it.
pub(crate) const UNSTARTED_TIMEOUT: Duration = Duration::from_secs(8);
/// Lost races before a start gives up: each means that somebody else made or removed the container meanwhile.
pub(crate) const MAX_RACES: usize = 20;
/// Between two questions to the engine about what another process is doing.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// The previews that are cached or being worked on, and those of a listing.
pub(crate) fn known_and(store: &Store, listed: impl Iterator<Item = PreviewId>) -> Vec<PreviewId> {
    let mut previews = store.previews();
    for id in listed {
        if !previews.contains(&id) {
            previews.push(id);
        }
    }
    previews
}

/// See the module.
pub(super) struct Context {
    pub(super) common: Arc<Common>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) reconciler: Arc<Reconciler>,
    pub(super) ownership: Ownership,
}

impl Context {
    pub(super) fn settings(&self) -> &Settings {
        &self.common.settings
    }

    pub(super) fn store(&self) -> &Store {
        &self.common.store
    }

    /// The engine's ports that previews may have.
    pub(super) fn port_range(&self) -> PortRange {
        let settings = self.settings();
        PortRange { first: settings.preview_port_range_start, last: settings.preview_port_range_end }
    }

    /// The previews that are cached, being worked on, or known to the engine as this owner's.
    pub(super) async fn known_and_listed(&self, operation: &'static str) -> Result<Vec<PreviewId>, Error> {
        let listed = self.engine.list(self.ownership.owner()).await;
        let listed = listed.map_err(|source| Error::engine(operation, None, source))?;
        // What is known already keeps its name.
        let listed: Vec<_> = listed.iter().filter_map(|workload| self.recognise(workload)).collect();
        Ok(known_and(self.store(), listed.into_iter()))
    }

    /// The preview that a listed container is of, None for another owner's. Of one that is not remembered the listing
    /// tells the container's name, too.
    pub(super) fn recognise(&self, listed: &Workload) -> Option<PreviewId> {
        let id = self.ownership.preview_of(listed)?;
        if !self.store().is_known(&id) {
            self.store().set_name(&id, &listed.name);
        }
        Some(id)
    }
}

//! What the use cases share.

use std::sync::Arc;
use std::time::Duration;

use super::common::Common;
use crate::engine::{Engine, PortRange};
use crate::settings::Settings;
use crate::state::{Ownership, Store};
use crate::sync::Reconciler;

/// How long a container that another process made may wait for its start before it counts as left behind.
/// Longer than a password may take to set: else the one that is late would overwrite the one that replaced it.
pub(super) const UNSTARTED_TIMEOUT: Duration = Duration::from_secs(8);
/// Between two questions to the engine about what another process is doing.
pub(super) const POLL: Duration = Duration::from_millis(50);

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
}

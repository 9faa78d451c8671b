//! That a container's database is gone: its labels cannot be changed, so it is remembered here.

use std::time::SystemTime;

use super::entry::LostDatabase;
use super::store::Store;
use crate::engine::Workload;
use crate::id::PreviewId;

impl Store {
    /// The database of the preview's container is gone. `container`: its id, None for the one that is remembered.
    pub(crate) fn lose_database(&self, id: &PreviewId, container: Option<&str>) {
        self.change(id, |entry| {
            let known = entry.observation.as_ref().map(|observation| observation.workload.id.clone());
            let container = container.map(str::to_owned).or(known);
            entry.lost_database = Some(LostDatabase { container, at: SystemTime::now() });
        });
    }

    /// A container with a new database was made, or it has the old one again.
    pub(crate) fn regain_database(&self, id: &PreviewId) {
        self.change(id, |entry| entry.lost_database = None);
    }

    /// Whether the database of this container is known to be gone.
    pub(crate) fn has_lost_database(&self, id: &PreviewId, workload: &Workload) -> bool {
        self.change(id, |entry| entry.lost_database.as_ref().is_some_and(|lost| lost.concerns(workload)))
    }
}

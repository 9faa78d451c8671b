//! What a start asked for, and the container that it found running does not have.

use super::entry::Drift;
use super::store::Store;
use crate::id::PreviewId;

impl Store {
    /// A start asked for these variables, and found this container running, which has others.
    pub(crate) fn set_drift(&self, id: &PreviewId, container: &str, names: Vec<String>) {
        self.change(id, |entry| entry.drift = Drift { container: container.to_owned(), names });
    }
}

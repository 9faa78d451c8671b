//! Which containers are ours to use, and which are ours to remove.

use crate::engine::Workload;
use crate::error::Error;
use crate::id::{LABEL_OWNER, PreviewId};

/// The owner of a deployment's previews.
#[derive(Debug, Clone)]
pub(crate) struct Ownership {
    owner: String,
}

impl Ownership {
    pub(crate) fn of(owner: &str) -> Self {
        Self { owner: owner.to_owned() }
    }

    pub(crate) fn owner(&self) -> &str {
        &self.owner
    }

    /// Whether a container of our name may be used and removed. A running one is used whoever made it (the older service
    /// set no labels); one that does not run is removed, so it has to carry our owner.
    ///
    /// # Errors
    /// [`Error::ContainerConflict`] with the reason.
    pub(crate) fn check(&self, id: &PreviewId, workload: &Workload) -> Result<(), Error> {
        let problem = match workload.labels.get(LABEL_OWNER) {
            Some(owner) if *owner == self.owner => return Ok(()),
            Some(owner) => format!("belongs to the owner {owner}"),
            None if workload.is_running() => return Ok(()),
            None => "does not run and was not made by this service: remove or rename it".to_owned(),
        };
        Err(Error::ContainerConflict { preview: id.clone(), name: workload.name.clone(), problem })
    }

    /// The preview in our labels, None for the container of another owner.
    pub(crate) fn preview_of(&self, workload: &Workload) -> Option<PreviewId> {
        PreviewId::from_labels(&workload.labels, &self.owner)
    }
}

//! Which containers are ours to use, and which are ours to remove.

use crate::engine::Workload;
use crate::error::Error;
use crate::id::{LABEL_OWNER, PreviewId};

/// What to do about a container that is not ours.
const STRANGER: &str = "remove or rename it, or set another PREVIEW_CONTAINER_NAME_PREFIX";

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
            Some(owner) => format!(
                "belongs to the owner {owner}, and this is {}: if both are one deployment, set PREVIEW_OWNER={owner}, \
                 else give this one a PREVIEW_CONTAINER_NAME_PREFIX of its own",
                self.owner
            ),
            None if workload.is_running() => return Ok(()),
            None => format!("does not run and was not made by this service: {STRANGER}"),
        };
        Err(Error::ContainerConflict { preview: id.clone(), name: workload.name.clone(), problem })
    }

    /// Why a running container of our name that does not publish the port cannot be used.
    pub(crate) fn without_port(workload: &Workload, port: u16) -> String {
        let problem = format!("runs, but publishes no port for {port}/tcp");
        if workload.labels.contains_key(LABEL_OWNER) {
            format!("{problem}: PREVIEW_PORT was another when it was made; stop_preview() removes it")
        } else {
            format!("{problem}, so that it is no preview: {STRANGER}")
        }
    }

    /// The preview in our labels, None for the container of another owner.
    pub(crate) fn preview_of(&self, workload: &Workload) -> Option<PreviewId> {
        PreviewId::from_labels(&workload.labels, &self.owner)
    }
}

//! Of which previews somebody wants to hear, whoever makes them.

use std::collections::HashSet;
use std::sync::Mutex;

use crate::id::PreviewId;
use crate::lock::lock;

/// See the module.
#[derive(Default)]
pub(crate) struct Interest(Mutex<Wanted>);

#[derive(Default)]
struct Wanted {
    all: bool,
    some: HashSet<PreviewId>,
}

impl Interest {
    /// From now on in this preview; None: in every one of this owner.
    pub(crate) fn add(&self, only: Option<&PreviewId>) {
        let mut wanted = lock(&self.0);
        match only {
            None => wanted.all = true,
            Some(id) => drop(wanted.some.insert(id.clone())),
        }
    }

    pub(crate) fn covers(&self, id: &PreviewId) -> bool {
        let wanted = lock(&self.0);
        wanted.all || wanted.some.contains(id)
    }
}

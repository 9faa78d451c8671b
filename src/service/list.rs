//! List: every preview of one owner, in the order of their ids.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::{StreamExt, stream};

use super::context::Context;
use super::status::Status;
use crate::engine::{EngineError, Workload};
use crate::error::Error;
use crate::id::{LABEL_PROJECT, PreviewId};
use crate::preview::Preview;
use crate::state::Store;

/// Previews asked about at once: each may wait for its probe.
pub(super) const PARALLEL_LOOKS: usize = 32;

/// See the module.
pub(super) struct List {
    context: Arc<Context>,
    status: Arc<Status>,
}

impl List {
    pub(super) fn new(context: Arc<Context>, status: Arc<Status>) -> Self {
        Self { context, status }
    }

    pub(super) async fn call(&self) -> Result<Vec<Preview>, Error> {
        let previews = self.context.known_and_listed("list").await?;
        let looks = stream::iter(previews).map(|id| async move { self.status.call(&id, None).await });
        let mut found = Vec::new();
        for look in looks.buffer_unordered(PARALLEL_LOOKS).collect::<Vec<_>>().await {
            found.extend(look?);
        }
        found.sort_by(|one, other| one.id.cmp(&other.id));
        Ok(found)
    }
}

/// The projects that a listing or the cache shows.
///
/// # Errors
/// That of the listing.
pub(crate) fn in_use(listed: Result<Vec<Workload>, EngineError>, store: &Store) -> Result<HashSet<u64>, Error> {
    let listed = listed.map_err(|source| Error::engine("sweep", None, source))?;
    let labelled = listed.iter().filter_map(|workload| workload.labels.get(LABEL_PROJECT)?.parse().ok());
    Ok(labelled.chain(store.previews().iter().map(PreviewId::project_id)).collect())
}

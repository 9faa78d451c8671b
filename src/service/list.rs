//! List: every preview of one owner, in the order of their ids.

use futures_util::StreamExt;
use futures_util::stream;

use super::{Inner, PreviewService};
use crate::engine::Container;
use crate::error::Error;
use crate::id::{LABEL_PROJECT, PreviewId};
use crate::preview::Preview;

/// Previews looked at at once: each may wait for its probe.
pub(super) const PARALLEL_LOOKS: usize = 32;

impl PreviewService {
    /// The previews of this owner: those that the engine knows and those that are being made here.
    ///
    /// # Errors
    /// When the engine cannot be asked.
    pub async fn list(&self) -> Result<Vec<Preview>, Error> {
        let previews = self.inner.known_and_owned("list").await?;
        let looks = stream::iter(previews).map(|(key, name)| async move { self.get(&key, &name, None).await });
        let mut found = Vec::new();
        for look in looks.buffer_unordered(PARALLEL_LOOKS).collect::<Vec<_>>().await {
            found.extend(look?);
        }
        found.sort_by_key(|preview| preview.project_id);
        Ok(found)
    }
}

impl Inner {
    /// What a listing shows of one preview: how an unknown preview of a supplied engine is found.
    pub(super) async fn listed(&self, key: &PreviewId) -> Result<Option<Container>, Error> {
        let listed = self.engine.list(&self.settings.preview_owner).await;
        let listed = listed.map_err(|source| Error::engine("list", Some(key), source))?;
        let id = key.project_id().to_string();
        Ok(listed.into_iter().find(|container| container.labels.get(LABEL_PROJECT) == Some(&id)))
    }
}

//! What can be asked about and done to a preview's database. What changes one waits for its preview's turn.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;

use super::registry::Turn;
use super::{Inner, PreviewService, lock};
use crate::database::{DatabaseError, DatabaseInfo, Databases, Ensured, Owned, Target};
use crate::error::Error;
use crate::id::{LABEL_PROJECT, PreviewId};

/// What a sweep of the databases found and did.
#[derive(Debug, Default)]
pub struct DatabaseSweep {
    /// Drops that had failed before and are done now.
    pub ended: Vec<String>,
    /// Databases and roles of ours whose project's folder is gone, and which no container uses.
    pub orphans: Vec<Owned>,
    /// Those that were removed.
    pub removed: Vec<String>,
    /// What could not be removed; it is tried again at the next sweep.
    pub failed: Vec<(String, DatabaseError)>,
}

impl PreviewService {
    /// Makes the database and role of a preview, or of one of its sessions, where they are missing; touches no password.
    /// None: no server configured.
    ///
    /// # Errors
    /// The server's own words.
    pub async fn ensure_database(
        &self,
        key: &PreviewId,
        session: Option<String>,
    ) -> Result<Option<Ensured>, DatabaseError> {
        let id = match session {
            Some(session) => PreviewId::session(key.project_id(), &session),
            None => key.clone(),
        };
        self.inner.ensure_database(&self.inner.target(&id)).await
    }

    /// Removes the preview's database with whoever is connected, and its role. None is no error.
    ///
    /// # Errors
    /// [`Error::Database`]: the drop is marked, and tried again by the next sweep.
    pub fn drop_database(
        &self,
        key: &PreviewId,
        name: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        let of = key.clone();
        self.in_turn(key, name, async move { inner.drop_database(&of).await })
    }

    /// Puts an empty database in the place of the preview's. Role and password stay: a running container reconnects.
    ///
    /// # Errors
    /// [`Error::Database`]: then the old one is as it was.
    pub fn reset_database(
        &self,
        key: &PreviewId,
        name: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        let of = key.clone();
        self.in_turn(key, name, async move {
            let reset = async { inner.databases()?.reset(&inner.target(&of)).await };
            reset.await.map_err(|source| Error::database(&of, source))
        })
    }

    /// Puts a copy of `from`'s database in the place of the preview's. `from`'s clients are disconnected for it.
    ///
    /// # Errors
    /// [`Error::InvalidInput`] for a preview and itself; [`Error::Database`]: then both are as they were.
    pub fn clone_database(
        &self,
        key: &PreviewId,
        name: &str,
        from: &PreviewId,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let inner = Arc::clone(&self.inner);
        let (of, source) = (key.clone(), from.clone());
        let copying = if key == from {
            Err(Error::InvalidInput { field: "from_project_id".into(), problem: "is the project itself".into() })
        } else {
            let _both_places_at_once = lock(&self.inner.pairs);
            let source_turn = self.inner.queue(from);
            Ok(self.in_turn(key, name, async move {
                source_turn.come().await;
                let copy = async { inner.databases()?.copy(&inner.target(&of), &inner.target(&source)).await };
                let copied = copy.await.map_err(|error| Error::database(&of, error));
                inner.finish(&source, source_turn);
                copied
            }))
        };
        async move { copying?.await }
    }

    /// What the server says about the preview's database.
    ///
    /// # Errors
    /// [`Error::Database`], also when there is none.
    pub async fn database_info(&self, key: &PreviewId) -> Result<DatabaseInfo, Error> {
        let info = async { self.inner.databases()?.info(&self.inner.target(key)).await };
        info.await.map_err(|source| Error::database(key, source))
    }

    /// The databases and roles of this owner whose project's folder is gone. Drops that failed are tried again.
    ///
    /// # Errors
    /// [`Error::Database`]; [`Error::InvalidSetting`] when `PROJECTS_DIR` cannot be read; what the engine fails with.
    pub async fn orphan_databases(&self) -> Result<Vec<Owned>, Error> {
        self.inner.sweep_databases(false).await.map(|sweep| sweep.orphans)
    }

    /// Removes them, and tells which. All are tried.
    ///
    /// # Errors
    /// As [`Self::orphan_databases`]; of those that could not be removed, the first. The others are logged.
    pub async fn remove_orphan_databases(&self) -> Result<Vec<String>, Error> {
        let sweep = self.inner.sweep_databases(true).await?;
        match sweep.failed.into_iter().next() {
            Some((_logged, source)) => Err(Error::Database { preview: None, source }),
            None => Ok(sweep.removed),
        }
    }

    /// An owned task behind what is queued already; the place is taken at the call.
    fn in_turn(
        &self,
        key: &PreviewId,
        name: &str,
        work: impl Future<Output = Result<(), Error>> + Send + 'static,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let turn = self.inner.registry.queue_stop(key, name);
        let (inner, key) = (Arc::clone(&self.inner), key.clone());
        let working = self.inner.tasks.spawn(async move {
            turn.come().await;
            let done = work.await;
            inner.finish(&key, turn);
            done
        });
        async move { working.await.unwrap_or(Err(Error::Closed { operation: "database" })) }
    }
}

impl Inner {
    /// Whose database it is.
    pub(super) fn target(&self, key: &PreviewId) -> Target {
        Target { id: key.clone(), owner: self.settings.preview_owner.clone() }
    }

    fn databases(&self) -> Result<&dyn Databases, DatabaseError> {
        let none = || DatabaseError::new("connect", "no database server is configured");
        self.databases.as_deref().ok_or_else(none)
    }

    /// A failure is logged.
    pub(super) async fn ensure_database(&self, target: &Target) -> Result<Option<Ensured>, DatabaseError> {
        let Some(databases) = &self.databases else {
            return Ok(None);
        };
        let project = target.id.project_id();
        match databases.ensure(target).await {
            Ok(ensured) => {
                if ensured.created {
                    log::info!(target: "kosuke_docker::database", "Created database for project {project}");
                }
                Ok(Some(ensured))
            }
            Err(error) => {
                log::error!(target: "kosuke_docker::database", "Error creating database for project {project}: {error}");
                Err(error)
            }
        }
    }

    /// Within the preview's turn. Without a server there is nothing to remove.
    pub(super) async fn drop_database(&self, key: &PreviewId) -> Result<(), Error> {
        let Some(databases) = &self.databases else {
            return Ok(());
        };
        let dropped = databases.remove(&self.target(key)).await.map_err(|source| Error::database(key, source))?;
        if dropped {
            log::info!(target: "kosuke_docker::database", "{key}: dropped its database");
        }
        Ok(())
    }

    /// Ends drops that failed, and looks for databases whose project's folder is gone; `remove` removes them, too. What
    /// does not carry this owner's mark is never touched.
    ///
    /// # Errors
    /// When the databases, the folders or the containers cannot be listed: without any of them all would look orphaned.
    pub(super) async fn sweep_databases(self: &Arc<Self>, remove: bool) -> Result<DatabaseSweep, Error> {
        let mut sweep = DatabaseSweep::default();
        let Some(databases) = &self.databases else {
            return Ok(sweep);
        };
        let owned = databases.owned(&self.settings.preview_owner).await;
        let owned = owned.map_err(|source| Error::Database { preview: None, source })?;
        let used = self.projects_in_use().await?;
        for database in owned {
            let key = database.target.id.clone();
            if database.dropping {
                match self.in_turn_of(&key, || databases.remove_again(&database)).await {
                    Ok(true) => sweep.ended.push(database.name),
                    Ok(false) => {}
                    Err(error) => sweep.fail(database.name, error),
                }
            } else if !used.contains(&key.project_id()) && self.is_gone(&key).await {
                sweep.orphans.push(database.clone());
                if remove {
                    match self.in_turn_of(&key, || self.drop_orphan(databases.as_ref(), &key, &database.target)).await {
                        Ok(true) => sweep.removed.push(database.name),
                        Ok(false) => {}
                        Err(error) => sweep.fail(database.name, error),
                    }
                }
            }
        }
        Ok(sweep)
    }

    /// The folder may have come while we waited for the turn.
    async fn drop_orphan(
        &self,
        databases: &dyn Databases,
        key: &PreviewId,
        target: &Target,
    ) -> Result<bool, DatabaseError> {
        Ok(self.is_gone(key).await && databases.remove(target).await?)
    }

    /// A place in the queue of a preview that may have no container.
    fn queue(&self, key: &PreviewId) -> Turn {
        self.registry.queue_stop(key, &key.container_name(&self.settings.preview_container_name_prefix))
    }

    async fn in_turn_of<T, F: Future<Output = T>>(self: &Arc<Self>, key: &PreviewId, work: impl FnOnce() -> F) -> T {
        let turn = self.queue(key);
        turn.come().await;
        let done = work().await;
        self.finish(key, turn);
        done
    }

    /// The projects that have a container or are being worked on.
    async fn projects_in_use(&self) -> Result<HashSet<u64>, Error> {
        let folder = &self.settings.projects_dir;
        let readable = tokio::fs::read_dir(folder).await;
        drop(readable.map_err(|error| Error::InvalidSetting {
            field: "projects_dir",
            problem: format!("{}: {error}", folder.display()),
        })?);
        let listed = self.engine.list(&self.settings.preview_owner).await;
        let listed = listed.map_err(|source| Error::engine("sweep", None, source))?;
        let labelled = listed.iter().filter_map(|container| container.labels.get(LABEL_PROJECT)?.parse().ok());
        let known = self.registry.previews().into_iter().map(|(key, _)| key.project_id());
        Ok(labelled.chain(known).collect())
    }

    /// Only a clear no counts. Sessions go with their project.
    async fn is_gone(&self, key: &PreviewId) -> bool {
        let folder = self.settings.projects_dir.join(PreviewId::project(key.project_id()).folder());
        matches!(tokio::fs::symlink_metadata(&folder).await, Err(error) if error.kind() == std::io::ErrorKind::NotFound)
    }
}

impl DatabaseSweep {
    fn fail(&mut self, name: String, error: DatabaseError) {
        log::error!(target: "kosuke_docker::database", "database {name} could not be removed: {error}");
        self.failed.push((name, error));
    }
}

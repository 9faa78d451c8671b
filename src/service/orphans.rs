//! The databases that nobody needs any more: those whose project's folder is gone, and those whose drop had failed.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::path::PathBuf;

use super::api::SweepResult;
use super::common::Common;
use crate::database::{DatabaseError, Databases, Owned};
use crate::error::Error;
use crate::id::PreviewId;

/// What a sweep of the databases found and did.
#[derive(Debug, Default)]
struct DatabaseSweep {
    /// Drops that had failed before and are done now.
    ended: Vec<String>,
    /// Databases and roles of ours whose project's folder is gone, and which no container uses.
    orphans: Vec<Owned>,
    /// Those that were removed.
    removed: Vec<String>,
    /// What could not be removed; it is tried again at the next sweep.
    failed: Vec<(String, DatabaseError)>,
}

impl DatabaseSweep {
    fn fail(&mut self, name: String, error: DatabaseError) {
        log::error!(target: "kosuke_docker::database", "database {name} could not be removed: {error}");
        self.failed.push((name, error));
    }
}

/// The databases and roles of this deployment whose project's folder is gone and which no project `in_use` has. Drops that
/// failed are tried again.
///
/// # Errors
/// [`Error::Database`]; [`Error::InvalidSetting`] when `PROJECTS_DIR` cannot be read; that of `in_use`.
pub async fn orphan_databases(
    common: &Common,
    in_use: impl Future<Output = Result<HashSet<u64>, Error>>,
) -> Result<Vec<Owned>, Error> {
    sweep_databases(common, in_use, false).await.map(|sweep| sweep.orphans)
}

/// Removes them, and tells which. All are tried.
///
/// # Errors
/// As [`orphan_databases`]; of those that could not be removed, the first. The others are logged.
pub async fn remove_orphan_databases(
    common: &Common,
    in_use: impl Future<Output = Result<HashSet<u64>, Error>>,
) -> Result<Vec<String>, Error> {
    let sweep = sweep_databases(common, in_use, true).await?;
    match sweep.failed.into_iter().next() {
        Some((_logged, source)) => Err(Error::Database { preview: None, source }),
        None => Ok(sweep.removed),
    }
}

/// Ends drops that failed, and looks for databases whose project's folder is gone; `remove` removes them, too. What
/// does not carry this deployment's mark is never touched.
///
/// # Errors
/// When the databases, the folders or the containers cannot be listed: without any of them all would seem orphaned.
async fn sweep_databases(
    common: &Common,
    in_use: impl Future<Output = Result<HashSet<u64>, Error>>,
    remove: bool,
) -> Result<DatabaseSweep, Error> {
    let mut sweep = DatabaseSweep::default();
    let databases = match common.databases.required() {
        Ok(databases) => databases,
        // Who asks for the removal is told that there was none.
        Err(source) if remove => return Err(Error::Database { preview: None, source }),
        Err(_) => return Ok(sweep),
    };
    check_projects_dir(common).await?;
    let owned = common.databases.owned(databases.as_ref()).await;
    let owned = owned.map_err(|source| Error::Database { preview: None, source })?;
    let in_use = in_use.await?;
    for database in owned {
        let id = database.target.id.clone();
        if database.dropping {
            match common.operations.run_here(&id, databases.remove_again(&database)).await {
                Ok(true) => sweep.ended.push(database.name),
                Ok(false) => {}
                Err(error) => sweep.fail(database.name, error),
            }
        } else if !in_use.contains(&id.project_id()) && is_folder_gone(common, &id).await {
            sweep.orphans.push(database.clone());
            if remove {
                let dropping = drop_orphan(common, databases.as_ref(), &database);
                match common.operations.run_here(&id, dropping).await {
                    Ok(true) => sweep.removed.push(database.name),
                    Ok(false) => {}
                    Err(error) => sweep.fail(database.name, error),
                }
            }
        }
    }
    Ok(sweep)
}

/// The databases' part of a sweep: what failed is told in its result.
pub(crate) async fn sweep_databases_into(
    common: &Common,
    result: &mut SweepResult,
    in_use: impl Future<Output = Result<HashSet<u64>, Error>>,
    remove: bool,
) {
    match sweep_databases(common, in_use, remove).await {
        Ok(databases) => {
            result.orphan_databases = databases.orphans;
            result.removed_databases = databases.ended.into_iter().chain(databases.removed).collect();
            let failed = databases.failed.iter().map(|(name, error)| format!("database {name}: {error}"));
            result.problems.extend(failed);
        }
        Err(error) => result.problems.push(error.to_string()),
    }
}

/// The folder may have come while we waited in the queue.
async fn drop_orphan(common: &Common, databases: &dyn Databases, orphan: &Owned) -> Result<bool, DatabaseError> {
    Ok(is_folder_gone(common, &orphan.target.id).await && databases.remove(&orphan.target).await?)
}

async fn check_projects_dir(common: &Common) -> Result<(), Error> {
    let folder = &common.settings.projects_dir;
    let readable = tokio::fs::read_dir(folder).await;
    readable.map(drop).map_err(|error| Error::InvalidSetting {
        field: "projects_dir",
        problem: format!("{}: {error}", folder.display()),
    })
}

/// Whether the project's folder is known to be gone. Sessions go with their project.
async fn is_folder_gone(common: &Common, id: &PreviewId) -> bool {
    let folder: PathBuf = common.settings.projects_dir.join(PreviewId::project(id.project_id()).folder());
    matches!(tokio::fs::symlink_metadata(&folder).await, Err(error) if error.kind() == ErrorKind::NotFound)
}

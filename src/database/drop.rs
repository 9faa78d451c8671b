//! Drop: the database, whoever is connected to it, then its role. A drop that fails leaves a mark, so that a later one
//! finishes it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::catalog::{check_owner, find_database, find_role};
use super::connection::Connection;
use super::disown::drop_role;
use super::drop_database::drop_database;
use super::error::DatabaseError;
use super::mark::Mark;
use super::server::Server;
use super::sessions::end_sessions;
use super::sql::{quote_name, quote_text};
use super::target::{Owned, Target};

/// Longer than a copy may take: the builder of a younger temporary database may still be at work.
const BUILD_TIMEOUT: Duration = Duration::from_secs(3600);

/// False: there was neither database nor role.
pub(super) async fn drop_target(
    server: &Server,
    connection: &Connection,
    target: &Target,
) -> Result<bool, DatabaseError> {
    let name = target.name();
    connection.lock(&[&name]).await?;
    if let Some(entry) = find_database(connection, &name).await? {
        check_owner(&entry, target)?;
    }
    drop_marked(server, connection, &name, &Mark::dropping(target)).await
}

/// Finishes a drop that failed. False: there is nothing left to drop, or it may not be dropped any more.
pub(super) async fn finish_drop(
    server: &Server,
    connection: &Connection,
    owned: &Owned,
) -> Result<bool, DatabaseError> {
    connection.lock(&[&owned.name]).await?;
    let mark = if owned.role_only {
        let role = find_role(connection, &owned.name).await?;
        // A database of this name was created since: its role is in use.
        if find_database(connection, &owned.name).await?.is_some() { None } else { role.and_then(|role| role.mark) }
    } else {
        find_database(connection, &owned.name).await?.and_then(|entry| entry.mark())
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match mark.filter(|mark| mark.dropping && mark.target == owned.target) {
        // An app can write any time into its database's comment, one in the future, too.
        Some(Mark { temporary: Some(since), .. }) if now.as_secs().abs_diff(since) < BUILD_TIMEOUT.as_secs() => {
            Ok(false)
        }
        Some(mark) => drop_marked(server, connection, &owned.name, &mark).await,
        None => Ok(false),
    }
}

/// Marks and drops the database `name`, and the role of that name if it is ours. False: there was neither.
pub(super) async fn drop_marked(
    server: &Server,
    connection: &Connection,
    name: &str,
    mark: &Mark,
) -> Result<bool, DatabaseError> {
    let (entry, role) = (find_database(connection, name).await?, find_role(connection, name).await?);
    let owns = entry.as_ref().is_some_and(|entry| entry.owner == name);
    let role =
        role.filter(|role| owns || role.mark.as_ref().is_some_and(|known| known.target.owner == mark.target.owner));
    let (quoted, text) = (quote_name(name), quote_text(&mark.text()));
    if entry.is_some() {
        let comment = format!("COMMENT ON DATABASE {quoted} IS {text}");
        connection.run_if_allowed(name, "mark database", &comment).await?;
    }
    if role.is_some() {
        let close = format!("ALTER ROLE {quoted} NOLOGIN; COMMENT ON ROLE {quoted} IS {text}");
        connection.run_if_allowed(name, "close role", &close).await?;
        end_sessions(connection, "usename", name).await?;
    }
    if entry.is_some() {
        drop_database(server, connection, name).await?;
    }
    if role.is_some() {
        drop_role(server, connection, name).await?;
    }
    Ok(entry.is_some() || role.is_some())
}

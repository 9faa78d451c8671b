//! Drop: the database, whoever is connected to it, then its role. A drop that fails leaves a mark, so that a later one
//! finishes it.

use std::time::Duration;

use super::catalog::{find_database, find_own_database, find_role};
use super::connection::Connection;
use super::disown::drop_role;
use super::drop_database::drop_database;
use super::error::DatabaseError;
use super::mark::{Mark, now};
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
    connection.lock(&[&target.name]).await?;
    find_own_database(connection, target).await?;
    drop_marked(server, connection, &target.name, &Mark::dropping(target)).await
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
        find_database(connection, &owned.name).await?.and_then(|entry| entry.mark)
    };
    let is_same = |mark: &Mark| mark.dropping && mark.id == owned.target.id && mark.check(&owned.target).is_ok();
    match mark.filter(is_same) {
        // Where the comment tells the time, it may be one in the future.
        Some(Mark { temporary: Some(since), .. }) if now().abs_diff(since) < BUILD_TIMEOUT.as_secs() => Ok(false),
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
    let is_ours =
        |known: &Mark| known.owner == mark.owner && (known.deployment.is_none() || known.deployment == mark.deployment);
    let role = role.filter(|role| owns || role.mark.as_ref().is_some_and(is_ours));
    let (quoted, text) = (quote_name(name), quote_text(&mark.text()));
    if role.is_some() {
        let close = format!("ALTER ROLE {quoted} NOLOGIN; COMMENT ON ROLE {quoted} IS {text}");
        connection.run_if_allowed(name, "close role", &close).await?;
        end_sessions(connection, "usename", name).await?;
    }
    if entry.is_some() {
        let comment = format!("COMMENT ON DATABASE {quoted} IS {text}");
        connection.run_if_allowed(name, "mark database", &comment).await?;
    }
    if entry.is_some() {
        drop_database(server, connection, name).await?;
    }
    if role.is_some() {
        drop_role(server, connection, name).await?;
    }
    Ok(entry.is_some() || role.is_some())
}

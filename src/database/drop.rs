//! Drop: the database, whoever is connected to it, then its role. A drop that fails leaves a mark, so that a later one
//! finishes it.

use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::catalog::{admin_rights, find_database, find_own_database, find_role};
use super::connection::Connection;
use super::error::DatabaseError;
use super::mark::{Mark, now};
use super::server::Server;
use super::sessions::{end_sessions, run_alone};
use super::sql::{quote_name, quote_text};
use super::target::{Owned, Target};

/// The first server version with `DROP DATABASE ... WITH (FORCE)`.
const FORCE_VERSION: i32 = 130_000;
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

/// Drops the database `name`, whoever is connected to it, and no role.
pub(super) async fn drop_database(server: &Server, connection: &Connection, name: &str) -> Result<(), DatabaseError> {
    let (quoted, step) = (quote_name(name), "drop database");
    if admin_rights(connection).await?.server_version >= FORCE_VERSION {
        let sql = format!("DROP DATABASE IF EXISTS {quoted} WITH (FORCE)");
        match connection.retry_while_busy(step, &sql).await {
            // A session did not end in time.
            Err(error) if error.is(&[SqlState::OBJECT_IN_USE]) => {}
            other => return Ok(other?),
        }
    }
    run_alone(server, connection, name, step, &format!("DROP DATABASE IF EXISTS {quoted}")).await
}

async fn drop_role(server: &Server, connection: &Connection, name: &str) -> Result<(), DatabaseError> {
    let sql = format!("DROP ROLE IF EXISTS {}", quote_name(name));
    end_sessions(connection, "usename", name).await?;
    match connection.retry_while_busy("drop role", &sql).await {
        Err(error) if error.is(&[SqlState::DEPENDENT_OBJECTS_STILL_EXIST]) => {}
        other => return Ok(other?),
    }
    disown(server, connection, name).await?;
    Ok(connection.retry_while_busy("drop role", &sql).await?)
}

/// A role that owns or was granted something elsewhere cannot be dropped: what it owns becomes the admin's, its grants end.
async fn disown(server: &Server, connection: &Connection, role: &str) -> Result<(), DatabaseError> {
    let quoted = quote_name(role);
    if !admin_rights(connection).await?.superuser {
        connection.run_if_allowed(role, "join role", &format!("GRANT {quoted} TO CURRENT_USER")).await?;
    }
    let disown = format!("REASSIGN OWNED BY {quoted} TO CURRENT_USER; DROP OWNED BY {quoted}");
    let sql = "SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid \
               JOIN pg_roles r ON r.oid = s.refobjid \
               WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = $1 AND d.datallowconn";
    for row in connection.rows("find what it owns", sql, &[&role]).await? {
        let inside = server.open_inside(Some(row.get(0))).await?;
        let done = inside.retry_while_busy("disown", &disown).await;
        inside.close().await;
        done?;
    }
    Ok(connection.retry_while_busy("disown", &disown).await?)
}

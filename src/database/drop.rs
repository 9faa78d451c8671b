//! Drop: the database whoever is connected, then its role. A drop that fails leaves a mark, so that another one ends it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_postgres::error::SqlState;

use super::connection::{BUSY_PAUSE, Connection};
use super::ensure::{Admin, check_owner, find};
use super::mark::Mark;
use super::postgres::PostgresServer;
use super::sql::{quote_name, quote_text};
use super::{Owned, Target};
use crate::error::DatabaseError;

/// Since when there is `WITH (FORCE)`.
const FORCE_VERSION: i32 = 130_000;
/// Five seconds each: <https://www.postgresql.org/docs/current/sql-dropdatabase.html>
const TRIES: u32 = 2;
/// Longer than a copy may take: what is younger may still be somebody's work.
const BUILDING: Duration = Duration::from_secs(3600);

impl PostgresServer {
    pub(super) async fn drop_on(&self, connection: &Connection, target: &Target) -> Result<bool, DatabaseError> {
        let name = target.name();
        self.lock(connection, &[&name]).await?;
        if let Some(found) = find(connection, &name).await? {
            check_owner(&found, target)?;
        }
        self.drop_all(connection, &name, &Mark::dropping(target)).await
    }

    pub(super) async fn drop_again_on(&self, connection: &Connection, owned: &Owned) -> Result<bool, DatabaseError> {
        self.lock(connection, &[&owned.name]).await?;
        let mark = if owned.role_only {
            let role = find_role(connection, &owned.name).await?;
            // A database of this name would have been made since: its role is in use.
            if find(connection, &owned.name).await?.is_some() { None } else { role.and_then(|role| role.mark) }
        } else {
            find(connection, &owned.name).await?.and_then(|found| found.mark())
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        match mark.filter(|mark| mark.dropping && mark.target == owned.target) {
            // An app may write what it likes into its database's comment.
            Some(Mark { temporary: Some(since), .. }) if now.as_secs().abs_diff(since) < BUILDING.as_secs() => {
                Ok(false)
            }
            Some(mark) => self.drop_all(connection, &owned.name, &mark).await,
            None => Ok(false),
        }
    }

    /// The database `name` and the role of that name, if it is ours.
    pub(super) async fn drop_all(
        &self,
        connection: &Connection,
        name: &str,
        mark: &Mark,
    ) -> Result<bool, DatabaseError> {
        let (found, role) = (find(connection, name).await?, find_role(connection, name).await?);
        let owns = found.as_ref().is_some_and(|found| found.owner == name);
        let role =
            role.filter(|role| owns || role.mark.as_ref().is_some_and(|known| known.target.owner == mark.target.owner));
        let (quoted, text) = (quote_name(name), quote_text(&mark.text()));
        if found.is_some() {
            let comment = format!("COMMENT ON DATABASE {quoted} IS {text}");
            connection.permitted(name, "mark database", &comment).await?;
        }
        if role.is_some() {
            let close = format!("ALTER ROLE {quoted} NOLOGIN; COMMENT ON ROLE {quoted} IS {text}");
            connection.permitted(name, "close role", &close).await?;
        }
        if found.is_some() {
            self.drop_database(connection, name).await?;
        }
        if role.is_some() {
            self.drop_role(connection, name).await?;
        }
        Ok(found.is_some() || role.is_some())
    }

    pub(super) async fn drop_database(&self, connection: &Connection, name: &str) -> Result<(), DatabaseError> {
        let (quoted, step) = (quote_name(name), "drop database");
        if Admin::of(connection).await?.version >= FORCE_VERSION {
            let sql = format!("DROP DATABASE IF EXISTS {quoted} WITH (FORCE)");
            match connection.settle(step, &sql).await {
                // A backend that did not end in time.
                Err(error) if error.is(&[SqlState::OBJECT_IN_USE]) => {}
                other => return Ok(other?),
            }
        }
        self.alone(connection, name, step, &format!("DROP DATABASE IF EXISTS {quoted}")).await
    }

    /// Runs what needs the database `name` for itself. The statement locks it against new sessions, waits five seconds for
    /// those that are there, and meanwhile they are ended: whoever reconnects waits outside, and nothing is to be restored.
    pub(super) async fn alone(
        &self,
        connection: &Connection,
        name: &str,
        step: &'static str,
        sql: &str,
    ) -> Result<(), DatabaseError> {
        let helper = self.open_inside(None).await?;
        let mut tries = 1;
        let done = loop {
            let done = {
                let mut running = std::pin::pin!(connection.settle(step, sql));
                loop {
                    tokio::select! {
                        done = &mut running => break done,
                        () = tokio::time::sleep(BUSY_PAUSE) => {
                            if let Err(error) = end_sessions(&helper, "datname", name).await {
                                log::warn!(target: "kosuke_docker::database", "database {name}: {error}");
                            }
                        }
                    }
                }
            };
            match done {
                Err(error) if error.is(&[SqlState::OBJECT_IN_USE]) && tries < TRIES => tries += 1,
                done => break done,
            }
        };
        helper.close().await;
        done.map_err(DatabaseError::from)
    }

    async fn drop_role(&self, connection: &Connection, name: &str) -> Result<(), DatabaseError> {
        let sql = format!("DROP ROLE IF EXISTS {}", quote_name(name));
        end_sessions(connection, "usename", name).await?;
        match connection.settle("drop role", &sql).await {
            Err(error) if error.is(&[SqlState::DEPENDENT_OBJECTS_STILL_EXIST]) => {}
            other => return Ok(other?),
        }
        self.disown(connection, name).await?;
        Ok(connection.settle("drop role", &sql).await?)
    }

    /// What a role still owns or was granted elsewhere stands in the way of its drop: it becomes the admin's, or ends.
    async fn disown(&self, connection: &Connection, role: &str) -> Result<(), DatabaseError> {
        let quoted = quote_name(role);
        if !Admin::of(connection).await?.superuser {
            connection.permitted(role, "join role", &format!("GRANT {quoted} TO CURRENT_USER")).await?;
        }
        let disown = format!("REASSIGN OWNED BY {quoted} TO CURRENT_USER; DROP OWNED BY {quoted}");
        let sql = "SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_database d ON d.oid = s.dbid \
                   JOIN pg_roles r ON r.oid = s.refobjid \
                   WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = $1 AND d.datallowconn";
        for row in connection.rows("find what it owns", sql, &[&role]).await? {
            let inside = self.open_inside(Some(row.get(0))).await?;
            let done = inside.settle("disown", &disown).await;
            inside.close().await;
            done?;
        }
        Ok(connection.settle("disown", &disown).await?)
    }
}

struct Role {
    mark: Option<Mark>,
}

async fn find_role(connection: &Connection, name: &str) -> Result<Option<Role>, DatabaseError> {
    let sql = "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1";
    let row = connection.row("find role", sql, &[&name]).await?;
    Ok(row.map(|row| Role { mark: row.get::<_, Option<String>>(0).as_deref().and_then(Mark::parse) }))
}

/// Ends all sessions of a database (`datname`) or role (`usename`) but our own.
async fn end_sessions(connection: &Connection, column: &'static str, name: &str) -> Result<(), DatabaseError> {
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE {column} = $1 AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    );
    connection.rows("end sessions", &sql, &[&name]).await.map(drop)
}

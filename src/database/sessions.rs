//! Other clients' sessions: how they are ended, and a statement that needs a database without any.

use std::convert::Infallible;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::Mutex;
use tokio_postgres::error::SqlState;

use super::connection::{BUSY_PAUSE, Connection};
use super::error::DatabaseError;
use super::mark::{MAX_COMMENT, Mark};
use super::server::Server;
use super::tables::READING;

/// A call that takes longer than twice this may wait for a lock.
const BLOCKED_PAUSE: Duration = Duration::from_millis(600);

/// Postgres waits five seconds in each: <https://www.postgresql.org/docs/current/sql-dropdatabase.html>
const TRIES: u32 = 2;

/// Ends all sessions of a database (`datname`) or role (`usename`) but our own.
pub(super) async fn end_sessions(
    connection: &Connection,
    column: &'static str,
    name: &str,
) -> Result<(), DatabaseError> {
    let sql = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE {column} = $1 AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    );
    connection.rows("end sessions", &sql, &[&name]).await.map(drop)
}

/// Runs a statement that needs the database `name` without sessions. The statement locks the database against new sessions
/// and waits five seconds for those that are there; meanwhile a second connection ends them.
pub(super) async fn run_alone(
    server: &Server,
    connection: &Connection,
    name: &str,
    step: &'static str,
    sql: &str,
) -> Result<(), DatabaseError> {
    let helper = server.open_inside(None).await?;
    let mut tries = 1;
    let done = loop {
        let done = {
            let mut running = std::pin::pin!(connection.retry_while_busy(step, sql));
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

/// Does a call's work. Meanwhile the sessions of previews' roles that hold up the admin are ended: an app may keep a lock on
/// its own role or database, and on another's role, by an open transaction. Nobody else's session is.
pub(super) async fn unblocked<T>(server: &Server, work: impl Future<Output = T>) -> T {
    let helper = Mutex::new(None);
    let done = {
        let (work, ending) = (std::pin::pin!(work), std::pin::pin!(keep_ending_blockers(server, &helper)));
        match select(work, ending).await {
            Either::Left((done, _)) => done,
            Either::Right((never, _)) => match never {},
        }
    };
    if let Some(helper) = helper.into_inner() {
        helper.close().await;
    }
    done
}

/// One call does it for all: looking for who holds a lock is dear.
async fn keep_ending_blockers(server: &Server, helper: &Mutex<Option<Connection>>) -> Infallible {
    tokio::time::sleep(BLOCKED_PAUSE).await;
    let _turn = server.unblocking.lock().await;
    let mut helper = helper.lock().await;
    loop {
        // Also before the first look: a turn often comes because the call before got through.
        tokio::time::sleep(BLOCKED_PAUSE).await;
        if let Err(error) = end_blockers(server, &mut helper).await {
            *helper = None;
            log::warn!(target: "kosuke_docker::database", "end who is in the way: {error}");
        }
    }
}

/// Ends the sessions of previews' roles that any session of ours waits for, but for one that reads sizes: an app may well
/// be changing a table.
async fn end_blockers(server: &Server, helper: &mut Option<Connection>) -> Result<(), DatabaseError> {
    let helper = match helper {
        Some(helper) => helper,
        None => helper.insert(server.open_inside(None).await?),
    };
    let sql = format!(
        "SELECT DISTINCT b.pid, b.usename::text, left(shobj_description(b.usesysid, 'pg_authid'), {MAX_COMMENT}) \
         FROM pg_stat_activity w CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS blocking(pid) \
         JOIN pg_stat_activity b ON b.pid = blocking.pid WHERE w.usename = current_user \
         AND w.application_name = 'kosuke-docker' AND w.wait_event_type = 'Lock' AND b.usesysid <> w.usesysid \
         AND left(w.query, length($1)) <> $1"
    );
    for row in helper.rows("find who is in the way", &sql, &[&READING]).await? {
        let (pid, user): (i32, String) = (row.get(0), row.get(1));
        // No app can write the comment of a role.
        if row.get::<_, Option<String>>(2).is_none_or(|comment| Mark::parse(&comment).is_none()) {
            continue;
        }
        log::info!(target: "kosuke_docker::database", "a session of {user} is ended: it holds up the admin");
        let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND usename = $2";
        helper.rows("end sessions", sql, &[&pid, &user]).await?;
    }
    Ok(())
}

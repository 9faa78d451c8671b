//! Other clients' sessions: how they are ended, and a statement that needs a database without any.

use tokio_postgres::error::SqlState;

use super::connection::{BUSY_PAUSE, Connection};
use super::error::DatabaseError;
use super::server::Server;

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

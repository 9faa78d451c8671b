//! Drops a database, whoever is connected to it.

use tokio_postgres::error::SqlState;

use super::catalog::admin_rights;
use super::connection::Connection;
use super::error::DatabaseError;
use super::server::Server;
use super::sessions::run_alone;
use super::sql::quote_name;

/// The first server version with `DROP DATABASE ... WITH (FORCE)`.
const FORCE_VERSION: i32 = 130_000;
/// An app may make a template of its database, again and again.
const TEMPLATE_TRIES: u32 = 3;

/// Drops the database `name`, whoever is connected to it, and no role.
pub(super) async fn drop_database(server: &Server, connection: &Connection, name: &str) -> Result<(), DatabaseError> {
    let mut tries = 1;
    loop {
        match try_drop(server, connection, name).await {
            // "cannot drop a template database"
            Err(error)
                if tries < TEMPLATE_TRIES && error.sqlstate.as_deref() == Some(SqlState::WRONG_OBJECT_TYPE.code()) =>
            {
                let sql = format!("ALTER DATABASE {} IS_TEMPLATE false", quote_name(name));
                connection.retry_while_busy("drop database", &sql).await?;
                tries += 1;
            }
            done => return done,
        }
    }
}

async fn try_drop(server: &Server, connection: &Connection, name: &str) -> Result<(), DatabaseError> {
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

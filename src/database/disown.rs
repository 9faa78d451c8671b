//! Drops a role. What it owns in databases of others goes: none of it becomes the admin's, who would then be the one that
//! a function of the role's runs as.

use tokio_postgres::error::SqlState;

use super::catalog::admin_rights;
use super::connection::Connection;
use super::drop_database::drop_database;
use super::error::{DatabaseError, StepError};
use super::mark::{MAX_COMMENT, Mark};
use super::server::Server;
use super::sessions::end_sessions;
use super::sql::quote_name;

const STEP: &str = "disown";
/// Others may grant the role something between a look and its drop.
const TRIES: u32 = 3;
/// In a database that is no preview's, whose sessions are not ended.
const LOCK_TIMEOUT_MS: u32 = 5000;

/// Drops the role `name`, if there is one.
pub(super) async fn drop_role(server: &Server, connection: &Connection, name: &str) -> Result<(), DatabaseError> {
    let sql = format!("DROP ROLE IF EXISTS {}", quote_name(name));
    end_sessions(connection, "usename", name).await?;
    let mut tries = 0;
    loop {
        match connection.retry_while_busy("drop role", &sql).await {
            Err(error) if !error.is(&[SqlState::DEPENDENT_OBJECTS_STILL_EXIST]) => return Err(error.into()),
            Err(error) if tries == TRIES => return Err(left(connection, name, error).await),
            Err(_) => disown(server, connection, name).await?,
            Ok(()) => return Ok(()),
        }
        tries += 1;
    }
}

/// Drops what the role owns outside of its own database, and ends what it was granted. In a preview's database whatever
/// depends on that goes, too; elsewhere it is another's, and an error.
async fn disown(server: &Server, connection: &Connection, role: &str) -> Result<(), DatabaseError> {
    let quoted = quote_name(role);
    if !admin_rights(connection).await?.superuser {
        connection.run_if_allowed(role, "join role", &format!("GRANT {quoted} TO CURRENT_USER")).await?;
    }
    drop_unfinished(server, connection, role).await?;
    let disown = format!("SET lock_timeout = {LOCK_TIMEOUT_MS}; DROP OWNED BY {quoted}");
    for (database, of_preview) in holders(connection, role).await? {
        let within = |error: DatabaseError| DatabaseError {
            message: format!("database {database}: {}", error.message),
            ..error
        };
        let inside = server.open_inside(Some(&database)).await.map_err(within)?;
        let sql = if of_preview { format!("{disown} CASCADE") } else { disown.clone() };
        let done = inside.retry_while_busy(STEP, &sql).await;
        inside.close().await;
        done.map_err(DatabaseError::from).map_err(within)?;
    }
    Ok(connection.retry_while_busy(STEP, &disown).await?)
}

/// Drops databases of the role that a reset or copy left under a temporary name.
async fn drop_unfinished(server: &Server, connection: &Connection, role: &str) -> Result<(), DatabaseError> {
    let sql = format!(
        "SELECT d.datname::text, left(shobj_description(d.oid, 'pg_database'), {MAX_COMMENT}), \
         left(shobj_description(r.oid, 'pg_authid'), {MAX_COMMENT}) FROM pg_database d \
         JOIN pg_roles r ON r.oid = d.datdba WHERE r.rolname = $1 AND d.datname <> $1"
    );
    for row in connection.rows("find what it owns", &sql, &[&role]).await? {
        if Mark::of_database(row.get(0), row.get(1), role, row.get(2)).is_some_and(|mark| mark.dropping) {
            drop_database(server, connection, row.get(0)).await?;
        }
    }
    Ok(())
}

/// The databases with something of the role's, and whether each is a preview's: no app can mark its role, and only its own
/// database.
async fn holders(connection: &Connection, role: &str) -> Result<Vec<(String, bool)>, DatabaseError> {
    let sql = format!(
        "SELECT d.datname::text, left(shobj_description(d.oid, 'pg_database'), {MAX_COMMENT}), \
         left(shobj_description(d.datdba, 'pg_authid'), {MAX_COMMENT}) FROM pg_database d WHERE d.datallowconn AND EXISTS \
         (SELECT FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid \
         WHERE s.dbid = d.oid AND s.refclassid = 'pg_authid'::regclass AND r.rolname = $1) ORDER BY 1"
    );
    let rows = connection.rows("find what it owns", &sql, &[&role]).await?;
    let marked = |comment: Option<String>| comment.is_some_and(|comment| Mark::parse(&comment).is_some());
    Ok(rows.iter().map(|row| (row.get(0), marked(row.get(1)) || marked(row.get(2)))).collect())
}

/// The error with the names of the databases that something of the role's is left in.
async fn left(connection: &Connection, role: &str, error: StepError) -> DatabaseError {
    let error = DatabaseError::from(error);
    let sql = "SELECT DISTINCT d.datname::text FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid \
               JOIN pg_database d ON d.oid = s.dbid OR (s.classid = 'pg_database'::regclass AND d.oid = s.objid) \
               WHERE s.refclassid = 'pg_authid'::regclass AND r.rolname = $1 ORDER BY 1";
    match connection.rows("find what it owns", sql, &[&role]).await {
        Ok(rows) => {
            let names: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
            DatabaseError { message: format!("{}; left: {}", error.message, names.join(", ")), ..error }
        }
        Err(other) => DatabaseError { message: format!("{}; {other}", error.message), ..error },
    }
}

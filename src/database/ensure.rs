//! Ensure: creates a preview's database and role where they are missing, and isolates both. Idempotent, and safe to run
//! many times at once.

use tokio_postgres::error::SqlState;

use super::catalog::{find_own_database, isolation};
use super::connection::{BUSY_PAUSE, Connection};
use super::databases::Ensured;
use super::drop::drop_marked;
use super::error::DatabaseError;
use super::mark::Mark;
use super::policy::{NO_ROLES, Policy};
use super::public;
use super::server::Server;
use super::setup::Setup;
use super::sql::quote_name;
use super::target::Target;
use crate::preview::Isolation;
use crate::settings::PostgresIsolation;

/// `CREATE DATABASE` waits five seconds for sessions in the template; then it fails with 55006.
const TEMPLATE_BUSY_TRIES: u32 = 20;

pub(super) async fn ensure(
    server: &Server,
    connection: &Connection,
    policy: &Policy,
    target: &Target,
) -> Result<Ensured, DatabaseError> {
    let name = target.name.clone();
    let setup = Setup::new(server, connection, policy, target).await?;
    connection.lock(&[&name]).await?;
    let mut entry = find_own_database(connection, target).await?;
    if let Some(database) = &entry
        && (database.half_dropped || database.mark.as_ref().is_some_and(|mark| mark.dropping))
    {
        drop_marked(server, connection, &name, &Mark::dropping(target)).await?;
        entry = None;
    }
    let created = entry.is_none() && create_database(connection, &name).await?;
    let complete = setup.apply(&name).await?;
    setup.create_extensions(&name).await?;
    if !setup.with_role {
        let detail = (policy.isolation == PostgresIsolation::Auto).then(|| NO_ROLES.to_owned());
        return Ok(Ensured { created, isolation: Isolation::Admin, detail });
    }
    if policy.revoke_public {
        public::close(connection, &name).await?;
    }
    let (isolation, detail) = isolation(connection, &name, complete).await?;
    Ok(Ensured { created, isolation, detail })
}

/// Whether this call created it. A create that lost a race ends with 42P04, or with 23505 on the catalogue's index. Nobody
/// may connect until the database is set up.
async fn create_database(connection: &Connection, name: &str) -> Result<bool, DatabaseError> {
    let sql = format!("CREATE DATABASE {} ALLOW_CONNECTIONS false", quote_name(name));
    let mut tries = 0;
    loop {
        match connection.run("create database", &sql).await {
            Ok(()) => return Ok(true),
            Err(error) if error.is(&[SqlState::DUPLICATE_DATABASE, SqlState::UNIQUE_VIOLATION]) => return Ok(false),
            Err(error) if error.is(&[SqlState::OBJECT_IN_USE]) && tries < TEMPLATE_BUSY_TRIES => tries += 1,
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(BUSY_PAUSE).await;
    }
}

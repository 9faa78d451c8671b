//! Ensure: creates a preview's database and role where they are missing, and isolates both. Idempotent, and safe to run
//! many times at once.

use tokio_postgres::error::SqlState;

use super::catalog::{find_own_database, isolation};
use super::connection::Connection;
use super::create::create_statement;
use super::databases::Ensured;
use super::drop::drop_marked;
use super::error::DatabaseError;
use super::mark::Mark;
use super::policy::{NO_ROLES, Policy};
use super::public;
use super::server::Server;
use super::setup::Setup;
use super::target::Target;
use super::{extensions, replace};
use crate::preview::Isolation;
use crate::settings::PostgresIsolation;

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
    let created = entry.is_none()
        && if policy.extensions.is_empty() {
            create_database(connection, &name).await?
        } else {
            // Under a name that nobody knows: no other process may hand it over before the extensions are in it.
            replace::create(&setup).await?
        };
    let complete = setup.apply(&name).await?;
    if !created {
        extensions::ensure(&setup, &name).await?;
    }
    if !setup.with_role {
        let detail = (policy.isolation == PostgresIsolation::Auto).then(|| NO_ROLES.to_owned());
        return Ok(Ensured { created, isolation: Isolation::Admin, detail });
    }
    if policy.revoke_public {
        public::close(connection, &name).await?;
    }
    let (isolation, detail) = isolation(connection, &name, complete, policy.revoke_public).await?;
    Ok(Ensured { created, isolation, detail })
}

/// Whether this call created it. A create that lost a race ends with 42P04, or with 23505 on the catalogue's index. Nobody
/// may connect until the database is set up.
async fn create_database(connection: &Connection, name: &str) -> Result<bool, DatabaseError> {
    let sql = create_statement(connection, name).await?;
    match connection.run("create database", &sql).await {
        Ok(()) => Ok(true),
        Err(error) if error.is(&[SqlState::DUPLICATE_DATABASE, SqlState::UNIQUE_VIOLATION]) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

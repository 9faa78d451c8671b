//! Info: what the server says about a preview's database, and which databases and roles are ours.

use super::catalog::{find_own_database, isolation};
use super::connection::Connection;
use super::databases::DatabaseInfo;
use super::error::DatabaseError;
use super::mark::{MAX_COMMENT, Mark};
use super::server::Server;
use super::tables::{count, tables};
use super::target::{Deployment, Owned, Target};
use crate::preview::Isolation;

/// `admin_only`: containers get the admin's credentials.
pub(super) async fn info(
    server: &Server,
    connection: &Connection,
    admin_only: bool,
    target: &Target,
) -> Result<DatabaseInfo, DatabaseError> {
    let name = target.name.clone();
    let missing = || DatabaseError::new("find database", format!("there is no database {name}"));
    let entry = find_own_database(connection, target).await?.ok_or_else(missing)?;
    let inside = server.open_inside(Some(&name)).await?;
    let tables = tables(&inside).await;
    inside.close().await;
    let (tables, table_count) = tables?;
    let sql = "SELECT pg_database_size(d.oid), (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid \
               AND a.backend_type = 'client backend' AND a.application_name <> 'kosuke-docker'), r.rolconnlimit \
               FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = $1";
    let row = connection.row("measure database", sql, &[&name]).await?.ok_or_else(missing)?;
    let isolation = if entry.owner == name && !admin_only {
        isolation(connection, &name, true, false).await?.0
    } else {
        Isolation::Admin
    };
    Ok(DatabaseInfo {
        owner: entry.owner,
        isolation,
        size_bytes: count(row.get(0)),
        connections: u32::try_from(row.get::<_, i64>(1)).unwrap_or_default(),
        connection_limit: u32::try_from(row.get::<_, i32>(2)).ok(),
        tables,
        table_count,
        name,
    })
}

/// Every database of this deployment, and every role of it whose database is gone. `prefix`: of the databases' names.
pub(super) async fn owned(
    connection: &Connection,
    deployment: &Deployment,
    prefix: &str,
) -> Result<Vec<Owned>, DatabaseError> {
    let sql = format!(
        "SELECT d.datname::text, left(shobj_description(d.oid, 'pg_database'), {MAX_COMMENT}), \
         pg_get_userbyid(d.datdba)::text, left(shobj_description(d.datdba, 'pg_authid'), {MAX_COMMENT}), \
         CASE WHEN d.datallowconn AND has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) END \
         FROM pg_database d WHERE shobj_description(d.oid, 'pg_database') IS NOT NULL \
         OR shobj_description(d.datdba, 'pg_authid') IS NOT NULL ORDER BY 1"
    );
    let databases = connection.rows("list databases", &sql, &[]).await?;
    let sql = format!(
        "SELECT r.rolname::text, left(shobj_description(r.oid, 'pg_authid'), {MAX_COMMENT}) FROM pg_roles r \
         WHERE shobj_description(r.oid, 'pg_authid') IS NOT NULL \
         AND NOT EXISTS (SELECT FROM pg_database d WHERE d.datname = r.rolname) ORDER BY 1"
    );
    let roles = connection.rows("list roles", &sql, &[]).await?;
    let databases = databases.iter().filter_map(|row| {
        let (name, owner): (String, &str) = (row.get(0), row.get(2));
        let mark = Mark::of_database(&name, row.get(1), owner, row.get(3))?;
        // Without a role of its own, who owns it may have written the mark: it can give away that one, and no other.
        let is_ours = owner == name || mark.dropping || mark.id.database_name(prefix) == name;
        let size_bytes = row.get::<_, Option<i64>>(4).map(count);
        is_ours.then_some((name, mark, size_bytes, false))
    });
    let roles = roles.iter().filter_map(|row| Some((row.get(0), Mark::parse(row.get(1))?, None, true)));
    Ok(databases
        .chain(roles)
        .filter(|(_, mark, ..)| mark.is_listed_for(deployment))
        .map(|(name, mark, size_bytes, role_only)| {
            let target = Target { id: mark.id, name: name.clone(), deployment: deployment.clone() };
            Owned { name, target, size_bytes, role_only, dropping: mark.dropping }
        })
        .collect())
}

/// Those of these databases that do not exist.
pub(super) async fn missing(connection: &Connection, names: &[String]) -> Result<Vec<String>, DatabaseError> {
    let sql = "SELECT asked FROM unnest($1::text[]) AS asked \
               WHERE NOT EXISTS (SELECT FROM pg_database d WHERE d.datname::text = asked)";
    let rows = connection.rows("find databases", sql, &[&names]).await?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

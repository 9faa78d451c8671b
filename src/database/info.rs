//! Info: what the server says about a preview's database, and which databases and roles are ours.

use super::catalog::{COMMENT_LENGTH, check_owner, find_database, isolation};
use super::connection::Connection;
use super::databases::DatabaseInfo;
use super::error::DatabaseError;
use super::mark::Mark;
use super::server::Server;
use super::tables::{count, tables};
use super::target::{Owned, Target};
use crate::preview::Isolation;

/// `admin_only`: containers get the admin's credentials.
pub(super) async fn info(
    server: &Server,
    connection: &Connection,
    admin_only: bool,
    target: &Target,
) -> Result<DatabaseInfo, DatabaseError> {
    let name = target.name();
    let missing = || DatabaseError::new("find database", format!("there is no database {name}"));
    let entry = find_database(connection, &name).await?.ok_or_else(missing)?;
    check_owner(&entry, target)?;
    let inside = server.open_inside(Some(&name)).await?;
    let tables = tables(&inside).await;
    inside.close().await;
    let (tables, table_count) = tables?;
    let sql = "SELECT pg_database_size(d.oid), (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid \
               AND a.backend_type = 'client backend' AND a.application_name <> 'kosuke-docker'), r.rolconnlimit \
               FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = $1";
    let row = connection.row("measure database", sql, &[&name]).await?.ok_or_else(missing)?;
    let isolation =
        if entry.owner == name && !admin_only { isolation(connection, &name, true).await?.0 } else { Isolation::Admin };
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

/// Every database with this owner's mark, and every role with it whose database is gone.
pub(super) async fn owned(connection: &Connection, owner: &str) -> Result<Vec<Owned>, DatabaseError> {
    let sql = "SELECT d.datname::text, left(shobj_description(d.oid, 'pg_database'), $1), \
               CASE WHEN d.datallowconn AND has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) END \
               FROM pg_database d WHERE shobj_description(d.oid, 'pg_database') IS NOT NULL ORDER BY 1";
    let databases = connection.rows("list databases", sql, &[&COMMENT_LENGTH]).await?;
    let sql = "SELECT r.rolname::text, shobj_description(r.oid, 'pg_authid'), NULL::bigint FROM pg_roles r \
               WHERE shobj_description(r.oid, 'pg_authid') IS NOT NULL \
               AND NOT EXISTS (SELECT FROM pg_database d WHERE d.datname = r.rolname) ORDER BY 1";
    let roles = connection.rows("list roles", sql, &[]).await?;
    let both = databases.iter().map(|row| (row, false)).chain(roles.iter().map(|row| (row, true)));
    Ok(both
        .filter_map(|(row, role_only)| {
            let (name, mark): (String, _) = (row.get(0), Mark::parse(row.get(1))?);
            // An app may write the comment of its own database: it can give away that one, and no other.
            if mark.target.owner != owner || (!mark.dropping && mark.target.name() != name) {
                return None;
            }
            let size_bytes = row.get::<_, Option<i64>>(2).map(count);
            let (target, dropping) = (mark.target, mark.dropping);
            Some(Owned { name, target, size_bytes, role_only, dropping })
        })
        .collect())
}

//! Info: what the server says about a preview's database, and which databases are ours.

use super::connection::Connection;
use super::ensure::{check_owner, find, isolation};
use super::mark::Mark;
use super::postgres::PostgresServer;
use super::{Databases, Owned, Target};
use crate::error::DatabaseError;
use crate::preview::Isolation;

/// A preview's database. The Python model `DatabaseInfo` has the same fields.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct DatabaseInfo {
    /// Its name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// How it is kept apart now.
    pub isolation: Isolation,
    /// On disk.
    pub size_bytes: u64,
    /// Sessions of clients, without ours.
    pub connections: u32,
    /// How many its owner may have; None: no limit.
    pub connection_limit: Option<u32>,
    /// Tables and materialised views, the system's left out, by schema and name.
    pub tables: Vec<TableInfo>,
}

/// A table of it.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct TableInfo {
    /// Its schema.
    #[serde(rename = "schema_name")]
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The planner's estimate; None: never counted.
    pub row_estimate: Option<u64>,
    /// With its indexes and what is stored beside it.
    pub size_bytes: u64,
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

impl PostgresServer {
    pub(super) async fn info_on(
        &self,
        connection: &Connection,
        target: &Target,
    ) -> Result<DatabaseInfo, DatabaseError> {
        let name = target.name();
        let missing = || DatabaseError::new("find database", format!("there is no database {name}"));
        let found = find(connection, &name).await?.ok_or_else(missing)?;
        check_owner(&found, target)?;
        let inside = self.open_inside(Some(&name)).await?;
        let tables = tables(&inside).await;
        inside.close().await;
        let tables = tables?;
        let sql = "SELECT pg_database_size(d.oid), (SELECT count(*) FROM pg_stat_activity a WHERE a.datid = d.oid \
                   AND a.backend_type = 'client backend' AND a.application_name <> 'kosuke-docker'), r.rolconnlimit \
                   FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = $1";
        let row = connection.row("measure database", sql, &[&name]).await?.ok_or_else(missing)?;
        let isolation = if found.owner == name && !self.admin_only() {
            isolation(connection, &name, true).await?.0
        } else {
            Isolation::Admin
        };
        Ok(DatabaseInfo {
            owner: found.owner,
            isolation,
            size_bytes: count(row.get(0)),
            connections: u32::try_from(row.get::<_, i64>(1)).unwrap_or_default(),
            connection_limit: u32::try_from(row.get::<_, i32>(2)).ok(),
            tables,
            name,
        })
    }
}

async fn tables(inside: &Connection) -> Result<Vec<TableInfo>, DatabaseError> {
    let sql = "SELECT n.nspname::text, c.relname::text, c.reltuples::bigint, pg_total_relation_size(c.oid) \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'm') \
               AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY 1, 2";
    let rows = inside.rows("list tables", sql, &[]).await?;
    let table = |row: &tokio_postgres::Row| TableInfo {
        schema: row.get(0),
        name: row.get(1),
        row_estimate: u64::try_from(row.get::<_, i64>(2)).ok(),
        // None: it was dropped meanwhile.
        size_bytes: count(row.get::<_, Option<i64>>(3).unwrap_or_default()),
    };
    Ok(rows.iter().map(table).collect())
}

/// Every database with this owner's mark, and every such role that has no database any more.
pub(super) async fn owned(connection: &Connection, owner: &str) -> Result<Vec<Owned>, DatabaseError> {
    let sql = "SELECT d.datname::text, shobj_description(d.oid, 'pg_database'), \
               CASE WHEN d.datallowconn AND has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) END \
               FROM pg_database d WHERE shobj_description(d.oid, 'pg_database') IS NOT NULL ORDER BY 1";
    let databases = connection.rows("list databases", sql, &[]).await?;
    let sql = "SELECT r.rolname::text, shobj_description(r.oid, 'pg_authid'), NULL::bigint FROM pg_roles r \
               WHERE shobj_description(r.oid, 'pg_authid') IS NOT NULL \
               AND NOT EXISTS (SELECT FROM pg_database d WHERE d.datname = r.rolname) ORDER BY 1";
    let roles = connection.rows("list roles", sql, &[]).await?;
    let both = databases.iter().map(|row| (row, false)).chain(roles.iter().map(|row| (row, true)));
    Ok(both
        .filter_map(|(row, role_only)| {
            let (name, mark): (String, _) = (row.get(0), Mark::parse(row.get(1))?);
            // An app may write the comment of its own database: it can give away this one, and no other.
            if mark.target.owner != owner || (!mark.dropping && mark.target.name() != name) {
                return None;
            }
            let size_bytes = row.get::<_, Option<i64>>(2).map(count);
            let (target, dropping) = (mark.target, mark.dropping);
            Some(Owned { name, target, size_bytes, role_only, dropping })
        })
        .collect())
}

//! The tables of a preview's database. An app may hold a lock on any of them and make any number, so reading them waits for
//! none and ends.

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::connection::Connection;
use super::databases::TableInfo;
use super::error::DatabaseError;

/// How many tables are listed at the most.
const LISTED: i64 = 1000;
/// A table may be locked between the look at the locks and the reading of its size: then all is read again, so often.
const TRIES: u32 = 3;
/// How the statement begins: the sessions that it waits for are not ended.
pub(super) const READING: &str = "WITH held";
/// For the case that one is locked in between.
const LOCK_TIMEOUT_MS: u32 = 300;

pub(super) fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

/// The first [`LISTED`] tables by schema and name, and how many there are.
pub(super) async fn tables(inside: &Connection) -> Result<(Vec<TableInfo>, u64), DatabaseError> {
    inside.run("list tables", &format!("SET lock_timeout = {LOCK_TIMEOUT_MS}")).await?;
    for _ in 0..TRIES {
        match read(inside, true).await {
            Err(error) if error.sqlstate.as_deref() == Some(SqlState::LOCK_NOT_AVAILABLE.code()) => {}
            other => return other,
        }
    }
    read(inside, false).await
}

/// `sized`: with the sizes of those that nobody holds, or waits to hold, a lock on that excludes readers.
async fn read(inside: &Connection, sized: bool) -> Result<(Vec<TableInfo>, u64), DatabaseError> {
    // A size is that of a table with its indexes, its TOAST table and that one's index: a lock on any of them counts.
    let sql = "WITH held AS (SELECT DISTINCT l.relation FROM pg_locks l JOIN pg_database d ON d.oid = l.database \
               WHERE d.datname = current_database() AND l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'), \
               parents AS (SELECT coalesce(i.indrelid, h.relation) AS oid \
               FROM held h LEFT JOIN pg_index i ON i.indexrelid = h.relation), \
               locked AS (SELECT coalesce(c.oid, p.oid) AS oid FROM parents p LEFT JOIN pg_class c ON c.reltoastrelid = p.oid), \
               listed AS (SELECT c.oid, n.nspname, c.relname, c.reltuples, count(*) OVER () AS total \
               FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'm') \
               AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY n.nspname, c.relname LIMIT $1) \
               SELECT nspname::text, relname::text, reltuples::bigint, CASE WHEN $2 AND oid NOT IN (SELECT oid FROM locked) \
               THEN pg_total_relation_size(oid) END, total FROM listed ORDER BY 1, 2";
    let rows = inside.rows("list tables", sql, &[&LISTED, &sized]).await?;
    let table = |row: &Row| TableInfo {
        schema: row.get(0),
        name: row.get(1),
        row_estimate: u64::try_from(row.get::<_, i64>(2)).ok(),
        size_bytes: row.get::<_, Option<i64>>(3).map(count),
    };
    Ok((rows.iter().map(table).collect(), rows.first().map_or(0, |row| count(row.get(4)))))
}

//! Closes the server's other databases to the previews' roles. `docs/postgres.md` says how to undo it.

use super::connection::Connection;
use super::error::DatabaseError;
use super::mark::{MAX_COMMENT, Mark};
use super::sql::quote_name;

/// Takes CONNECT from PUBLIC where the admin may. Before, every login role that is not a preview's gets it by name.
pub(super) async fn close(connection: &Connection, own: &str) -> Result<(), DatabaseError> {
    let sql = format!(
        "SELECT d.datname::text, left(shobj_description(d.oid, 'pg_database'), {MAX_COMMENT}) \
         FROM pg_database d, pg_roles me \
         WHERE me.rolname = current_user AND d.datallowconn AND d.datname <> $1 \
         AND has_database_privilege('public', d.oid, 'CONNECT') \
         AND (me.rolsuper OR pg_has_role(d.datdba, 'USAGE')) ORDER BY d.oid"
    );
    let open = connection.rows("find open databases", &sql, &[&own]).await?;
    if open.is_empty() {
        return Ok(());
    }
    // A role of ours without a mark, from an early version, owns the database of its name.
    let sql = format!(
        "SELECT r.rolname::text, left(shobj_description(r.oid, 'pg_authid'), {MAX_COMMENT}) FROM pg_roles r \
         WHERE r.rolcanlogin AND r.rolname <> $1 AND NOT (r.rolname ~ '^kosuke_project_' AND EXISTS \
         (SELECT FROM pg_database d WHERE d.datdba = r.oid AND d.datname = r.rolname)) ORDER BY r.oid"
    );
    let is_ours =
        |row: &tokio_postgres::Row| row.get::<_, Option<String>>(1).is_some_and(|c| Mark::parse(&c).is_some());
    let roles = connection.rows("find roles", &sql, &[&own]).await?;
    let roles: Vec<String> = roles.iter().filter(|row| !is_ours(row)).map(|row| quote_name(row.get(0))).collect();
    for row in open.iter().filter(|row| !is_ours(row)) {
        let (name, quoted) = (row.get::<_, &str>(0), quote_name(row.get(0)));
        let revoke = format!("REVOKE CONNECT ON DATABASE {quoted} FROM PUBLIC");
        let sql = if roles.is_empty() {
            revoke
        } else {
            format!("GRANT CONNECT ON DATABASE {quoted} TO {}; {revoke}", roles.join(", "))
        };
        if connection.run_if_allowed(name, "revoke connect", &sql).await? {
            let count = roles.len();
            log::info!(target: "kosuke_docker::database", "database {name}: CONNECT taken from PUBLIC, given to {count} roles");
        }
    }
    Ok(())
}

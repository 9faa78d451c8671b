//! Reads the server's catalogues: the admin's rights, a database, a role, and what a role may connect to.

use super::connection::Connection;
use super::error::DatabaseError;
use super::mark::{MAX_COMMENT, Mark};
use super::target::Target;
use crate::preview::Isolation;

/// How many databases the detail of a partial isolation names.
const NAMED_DATABASES: usize = 3;

/// What the admin may do on the server.
pub(super) struct AdminRights {
    pub(super) superuser: bool,
    pub(super) creates_roles: bool,
    /// As `server_version_num` has it.
    pub(super) server_version: i32,
}

pub(super) async fn admin_rights(connection: &Connection) -> Result<AdminRights, DatabaseError> {
    let sql = "SELECT rolsuper, rolsuper OR rolcreaterole, current_setting('server_version_num')::int \
               FROM pg_roles WHERE rolname = current_user";
    let row = connection.row("find admin", sql, &[]).await?;
    let row = row.ok_or_else(|| DatabaseError::new("find admin", "it went away"))?;
    Ok(AdminRights { superuser: row.get(0), creates_roles: row.get(1), server_version: row.get(2) })
}

/// A database's row in `pg_database`.
pub(super) struct DatabaseEntry {
    pub(super) owner: String,
    /// Whether every role may connect.
    pub(super) public: bool,
    /// Whether any role may connect.
    pub(super) allows_connections: bool,
    /// Whether a drop was begun and did not end.
    pub(super) half_dropped: bool,
    /// As much of its comment as counts. The owner may write it.
    pub(super) comment: Option<String>,
    /// See [`Mark::of_database`].
    pub(super) mark: Option<Mark>,
}

pub(super) async fn find_database(connection: &Connection, name: &str) -> Result<Option<DatabaseEntry>, DatabaseError> {
    // -2 marks what an interrupted DROP DATABASE left: https://www.postgresql.org/docs/current/sql-dropdatabase.html
    let sql = format!(
        "SELECT pg_get_userbyid(d.datdba)::text, has_database_privilege('public', d.oid, 'CONNECT'), \
               d.datallowconn, d.datconnlimit = -2, left(shobj_description(d.oid, 'pg_database'), {MAX_COMMENT}), \
               left(shobj_description(d.datdba, 'pg_authid'), {MAX_COMMENT}) FROM pg_database d WHERE d.datname = $1"
    );
    let row = connection.row("find database", &sql, &[&name]).await?;
    Ok(row.map(|row| {
        let (owner, comment): (String, Option<String>) = (row.get(0), row.get(4));
        let mark = Mark::of_database(name, comment.as_deref(), &owner, row.get(5));
        let (public, allows_connections, half_dropped) = (row.get(1), row.get(2), row.get(3));
        DatabaseEntry { owner, public, allows_connections, half_dropped, comment, mark }
    }))
}

/// Finds the target's database. An error where it or the role of its name is another deployment's.
pub(super) async fn find_own_database(
    connection: &Connection,
    target: &Target,
) -> Result<Option<DatabaseEntry>, DatabaseError> {
    let entry = find_database(connection, &target.name).await?;
    let role = find_role(connection, &target.name).await?.and_then(|role| role.mark);
    for mark in [entry.as_ref().and_then(|entry| entry.mark.as_ref()), role.as_ref()].into_iter().flatten() {
        mark.check(target)?;
    }
    Ok(entry)
}

/// A role's row in `pg_roles`.
pub(super) struct RoleEntry {
    /// -1: no limit.
    pub(super) connection_limit: i32,
    /// Whether it may do more than log in.
    pub(super) privileged: bool,
    pub(super) mark: Option<Mark>,
}

pub(super) async fn find_role(connection: &Connection, name: &str) -> Result<Option<RoleEntry>, DatabaseError> {
    let sql = format!(
        "SELECT rolconnlimit, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls, \
               left(shobj_description(oid, 'pg_authid'), {MAX_COMMENT}) FROM pg_roles WHERE rolname = $1"
    );
    let row = connection.row("find role", &sql, &[&name]).await?;
    Ok(row.map(|row| RoleEntry {
        connection_limit: row.get(0),
        privileged: row.get(1),
        mark: row.get::<_, Option<String>>(2).as_deref().and_then(Mark::parse),
    }))
}

/// How well the role `name` is isolated, and why not better. It counts what the role may connect to now, whoever allowed it.
/// `closes_others`: whether the settings ask for that.
pub(super) async fn isolation(
    connection: &Connection,
    name: &str,
    complete: bool,
    closes_others: bool,
) -> Result<(Isolation, Option<String>), DatabaseError> {
    let sql = "SELECT datname::text FROM pg_database WHERE datallowconn AND datname <> $1 \
               AND has_database_privilege($1::name, oid, 'CONNECT') ORDER BY datname";
    let open = connection.rows("find open databases", sql, &[&name]).await?;
    let names: Vec<String> = open.iter().take(NAMED_DATABASES).map(|row| row.get(0)).collect();
    let mut problems = Vec::new();
    if !names.is_empty() {
        let more = if open.len() > names.len() { ", ..." } else { "" };
        let fix = if closes_others { "" } else { ": POSTGRES_REVOKE_PUBLIC=true closes them to it" };
        problems.push(format!("its role may connect to {}{more}{fix}", names.join(", ")));
    }
    if !complete {
        problems.push("the admin role (POSTGRES_USER) lacks rights: the log names them".to_owned());
    }
    Ok(if problems.is_empty() { (Isolation::Role, None) } else { (Isolation::Partial, Some(problems.join("; "))) })
}

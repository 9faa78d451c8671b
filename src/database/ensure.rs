//! Ensure: the database, the role that owns it, and the walls around both. Idempotent, and safe to run many times at once.

use std::sync::atomic::Ordering;

use tokio_postgres::error::SqlState;

use super::connection::{BUSY_PAUSE, Connection};
use super::mark::Mark;
use super::postgres::PostgresServer;
use super::sql::{quote_name, quote_text, take_over};
use super::{Ensured, Target};
use crate::error::DatabaseError;
use crate::preview::Isolation;
use crate::settings::PostgresIsolation;

/// `CREATE DATABASE` waits five seconds for who is connected to the template; then it fails with 55006.
const TEMPLATE_BUSY_TRIES: u32 = 20;
/// Databases named in the detail of a partial isolation.
const NAMED: usize = 3;
const NO_ROLES: &str = "the admin role may not create roles";

/// Who we are on the server.
pub(super) struct Admin {
    pub(super) superuser: bool,
    makes_roles: bool,
    /// As `server_version_num` has it.
    pub(super) version: i32,
}

impl Admin {
    pub(super) async fn of(connection: &Connection) -> Result<Self, DatabaseError> {
        let sql = "SELECT rolsuper, rolsuper OR rolcreaterole, current_setting('server_version_num')::int \
                   FROM pg_roles WHERE rolname = current_user";
        let row = connection.row("find admin", sql, &[]).await?;
        let row = row.ok_or_else(|| DatabaseError::new("find admin", "it went away"))?;
        Ok(Self { superuser: row.get(0), makes_roles: row.get(1), version: row.get(2) })
    }
}

/// A database as it stands on the server.
pub(super) struct Found {
    pub(super) owner: String,
    /// Whether every role may connect.
    public: bool,
    /// Whether anybody may.
    allows: bool,
    /// A drop was begun and did not end.
    half_gone: bool,
    comment: Option<String>,
}

impl Found {
    pub(super) fn mark(&self) -> Option<Mark> {
        self.comment.as_deref().and_then(Mark::parse)
    }
}

pub(super) async fn find(connection: &Connection, name: &str) -> Result<Option<Found>, DatabaseError> {
    // -2 marks what an interrupted DROP DATABASE left: https://www.postgresql.org/docs/current/sql-dropdatabase.html
    let sql = "SELECT pg_get_userbyid(d.datdba)::text, has_database_privilege('public', d.oid, 'CONNECT'), \
               d.datallowconn, d.datconnlimit = -2, shobj_description(d.oid, 'pg_database') \
               FROM pg_database d WHERE d.datname = $1";
    let row = connection.row("find database", sql, &[&name]).await?;
    Ok(row.map(|row| Found {
        owner: row.get(0),
        public: row.get(1),
        allows: row.get(2),
        half_gone: row.get(3),
        comment: row.get(4),
    }))
}

/// Two deployments that shared a database would lock each other out: every start sets the password anew.
pub(super) fn check_owner(found: &Found, target: &Target) -> Result<(), DatabaseError> {
    match found.mark() {
        Some(mark) if mark.target.owner != target.owner => Err(DatabaseError::new(
            "find database",
            format!("{} belongs to the owner {}", target.name(), mark.target.owner),
        )),
        _ => Ok(()),
    }
}

impl PostgresServer {
    pub(super) async fn ensure_on(&self, connection: &Connection, target: &Target) -> Result<Ensured, DatabaseError> {
        let name = target.name();
        let admin = Admin::of(connection).await?;
        let with_role = self.with_role(&admin)?;
        self.lock(connection, &[&name]).await?;
        let mut found = find(connection, &name).await?;
        if let Some(database) = &found {
            check_owner(database, target)?;
            if database.half_gone || database.mark().is_some_and(|mark| mark.dropping) {
                self.drop_all(connection, &name, &Mark::dropping(target)).await?;
                found = None;
            }
        }
        let created = found.is_none() && create_database(connection, &name).await?;
        let complete = self.set_up(connection, &name, target, &admin, with_role).await?;
        self.make_extensions(&name).await?;
        if !with_role {
            let detail = (self.isolation == PostgresIsolation::Auto).then(|| NO_ROLES.to_owned());
            return Ok(Ensured { created, isolation: Isolation::Admin, detail });
        }
        if self.revoke_public {
            super::public::close(connection, &name).await?;
        }
        let (isolation, detail) = isolation(connection, &name, complete).await?;
        Ok(Ensured { created, isolation, detail })
    }

    /// Whether containers get a role of their own.
    pub(super) fn with_role(&self, admin: &Admin) -> Result<bool, DatabaseError> {
        match self.isolation {
            PostgresIsolation::Admin => return Ok(false),
            PostgresIsolation::Role if !admin.makes_roles => {
                return Err(DatabaseError::new("create role", format!("{NO_ROLES} (POSTGRES_ISOLATION=role)")));
            }
            _ => {}
        }
        let before = self.admin_only.swap(!admin.makes_roles, Ordering::Relaxed);
        if !admin.makes_roles && !before {
            log::warn!(target: "kosuke_docker::database", "{NO_ROLES}: previews get its own credentials");
        }
        Ok(admin.makes_roles)
    }

    /// What is right already is left alone. False: the admin lacked rights for a part of it.
    pub(super) async fn set_up(
        &self,
        connection: &Connection,
        name: &str,
        target: &Target,
        admin: &Admin,
        with_role: bool,
    ) -> Result<bool, DatabaseError> {
        if with_role {
            self.ensure_role(connection, target).await?;
        }
        let Some(found) = find(connection, name).await? else {
            return Err(DatabaseError::new("find database", "it went away while it was being prepared"));
        };
        let (quoted, role) = (quote_name(name), quote_name(&target.name()));
        let mut steps = Vec::new();
        let mut complete = true;
        let to_hand_over = with_role && found.owner != target.name();
        if to_hand_over {
            if !admin.superuser {
                // Only a member may hand over to a role: https://www.postgresql.org/docs/current/sql-alterdatabase.html
                connection.permitted(name, "join role", &format!("GRANT {role} TO CURRENT_USER")).await?;
            }
            if found.allows {
                complete &= self.take_over(name, &target.name()).await?;
            }
        }
        if with_role && found.public {
            // Public may connect to every database by default: a role could look into its neighbours'.
            steps.push(format!("REVOKE CONNECT, TEMPORARY ON DATABASE {quoted} FROM PUBLIC"));
        }
        if found.mark().is_none_or(|mark| mark.target != *target) {
            let note = found.comment.filter(|comment| Mark::parse(comment).is_none());
            let mark = Mark { note, ..Mark::of(target) };
            steps.push(format!("COMMENT ON DATABASE {quoted} IS {}", quote_text(&mark.text())));
        }
        if !found.allows {
            steps.push(format!("ALTER DATABASE {quoted} ALLOW_CONNECTIONS true"));
        }
        if to_hand_over {
            // Last, because the owner is the mark that the rest was done.
            steps.push(format!("ALTER DATABASE {quoted} OWNER TO {role}"));
        }
        if steps.is_empty() {
            return Ok(true);
        }
        // One message is one transaction: nobody sees half of it.
        if connection.permitted(name, "set up", &steps.join("; ")).await? {
            return Ok(complete);
        }
        if to_hand_over {
            steps.pop();
            let grant = format!("GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {quoted} TO {role}");
            connection.permitted(name, "grant connect", &grant).await?;
        }
        for step in steps {
            connection.permitted(name, "set up", &step).await?;
        }
        Ok(false)
    }

    async fn ensure_role(&self, connection: &Connection, target: &Target) -> Result<(), DatabaseError> {
        let (name, limit) = (target.name(), self.connection_limit);
        let (role, mark) = (quote_name(&name), quote_text(&Mark::of(target).text()));
        let sql = "SELECT rolconnlimit, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls, \
                   shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = $1";
        if connection.row("find role", sql, &[&name]).await?.is_none() {
            let create = format!(
                "CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS \
                 CONNECTION LIMIT {limit}; COMMENT ON ROLE {role} IS {mark}"
            );
            match connection.run("create role", &create).await {
                Err(error) if !error.is(&[SqlState::DUPLICATE_OBJECT, SqlState::UNIQUE_VIOLATION]) => {
                    return Err(error.into());
                }
                _ => {}
            }
        }
        let Some(row) = connection.row("find role", sql, &[&name]).await? else {
            return Err(DatabaseError::new("find role", "it went away while it was being prepared"));
        };
        let (found, powers, comment): (i32, bool, Option<String>) = (row.get(0), row.get(1), row.get(2));
        if powers {
            let strip = format!("ALTER ROLE {role} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS");
            connection.settle("limit role", &strip).await?;
        }
        if found != i32::from(limit) {
            connection.permitted(&name, "limit role", &format!("ALTER ROLE {role} CONNECTION LIMIT {limit}")).await?;
        }
        let known = comment.as_deref().and_then(Mark::parse);
        if known.is_none_or(|known| known.dropping || known.target != *target) {
            connection.permitted(&name, "mark role", &format!("COMMENT ON ROLE {role} IS {mark}")).await?;
        }
        Ok(())
    }

    /// A database of the older service: what the admin made in it goes to the role, else the app could not read it.
    async fn take_over(&self, name: &str, role: &str) -> Result<bool, DatabaseError> {
        let inside = self.open_inside(Some(name)).await?;
        let taken = inside.permitted(name, "take over", &take_over(role)).await;
        inside.close().await;
        taken
    }

    /// Trusted ones the role may make itself; these are for the others:
    /// <https://www.postgresql.org/docs/current/extend-extensions.html>
    pub(super) async fn make_extensions(&self, name: &str) -> Result<(), DatabaseError> {
        if self.extensions.is_empty() {
            return Ok(());
        }
        let inside = self.open_inside(Some(name)).await?;
        let mut done = Ok(());
        for extension in &self.extensions {
            // Where the app looks for it. Our own search path is the system's alone.
            let create = format!("SET search_path = public; CREATE EXTENSION IF NOT EXISTS \"{extension}\"");
            done = inside.settle("create extension", &create).await.map_err(Into::into);
            if done.is_err() {
                break;
            }
        }
        inside.close().await;
        done
    }
}

/// How well the role `name` is kept apart, and why not better: what it may connect to now, whoever allowed it.
pub(super) async fn isolation(
    connection: &Connection,
    name: &str,
    complete: bool,
) -> Result<(Isolation, Option<String>), DatabaseError> {
    let sql = "SELECT datname::text FROM pg_database WHERE datallowconn AND datname <> $1 \
               AND has_database_privilege($1::name, oid, 'CONNECT') ORDER BY datname";
    let open = connection.rows("find open databases", sql, &[&name]).await?;
    let names: Vec<String> = open.iter().take(NAMED).map(|row| row.get(0)).collect();
    let mut problems = Vec::new();
    if !names.is_empty() {
        let more = if open.len() > names.len() { ", ..." } else { "" };
        problems.push(format!("its role may connect to {}{more}", names.join(", ")));
    }
    if !complete {
        problems.push("the admin role lacks rights: see the log".to_owned());
    }
    Ok(if problems.is_empty() { (Isolation::Role, None) } else { (Isolation::Partial, Some(problems.join("; "))) })
}

/// Tells whether this call made it. Racing creates end with 42P04, or 23505 on the catalogue's index: both mean it exists.
/// Nobody may connect until it is set up.
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

//! Setup: the role that owns a database, and the rights on both. Used by `ensure` and `replace`.

use tokio_postgres::error::SqlState;

use super::catalog::{AdminRights, DatabaseEntry, admin_rights, find_database, find_role};
use super::connection::Connection;
use super::error::DatabaseError;
use super::mark::Mark;
use super::policy::Policy;
use super::server::Server;
use super::sql::{quote_name, quote_text, take_over};
use super::target::Target;

/// The setup of one preview's databases, over the connection of one call.
pub(super) struct Setup<'a> {
    pub(super) server: &'a Server,
    pub(super) connection: &'a Connection,
    pub(super) target: &'a Target,
    pub(super) admin: AdminRights,
    /// Whether containers get a role of their own.
    pub(super) with_role: bool,
    pub(super) policy: &'a Policy,
}

impl<'a> Setup<'a> {
    /// Reads what the admin may do; changes nothing.
    pub(super) async fn new(
        server: &'a Server,
        connection: &'a Connection,
        policy: &'a Policy,
        target: &'a Target,
    ) -> Result<Self, DatabaseError> {
        let admin = admin_rights(connection).await?;
        let with_role = policy.with_role(&admin)?;
        Ok(Self { server, connection, target, admin, with_role, policy })
    }

    /// Role, owner, rights and mark of the database `name`. What is right already is left alone. False: the admin lacked
    /// rights for a part of it.
    pub(super) async fn apply(&self, name: &str) -> Result<bool, DatabaseError> {
        if self.with_role {
            self.ensure_role().await?;
        }
        let Some(entry) = find_database(self.connection, name).await? else {
            return Err(DatabaseError::new("find database", "it went away while it was being prepared"));
        };
        let (quoted, role) = (quote_name(name), quote_name(&self.target.name));
        let hand_over = self.with_role && entry.owner != self.target.name;
        let complete = !hand_over || self.prepare_hand_over(name, &entry).await?;
        let steps = self.steps(name, &entry);
        // Last, because the owner tells the next call that the rest was done.
        let change_owner = hand_over.then(|| format!("ALTER DATABASE {quoted} OWNER TO {role}"));
        let all = [steps.as_slice(), change_owner.as_slice()].concat();
        if all.is_empty() {
            return Ok(true);
        }
        // One message is one transaction: no other session sees half of it.
        if self.connection.run_if_allowed(name, "set up", &all.join("; ")).await? {
            return Ok(complete);
        }
        if hand_over {
            let grant = format!("GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {quoted} TO {role}");
            self.connection.run_if_allowed(name, "grant connect", &grant).await?;
        }
        for step in steps {
            self.connection.run_if_allowed(name, "set up", &step).await?;
        }
        Ok(false)
    }

    /// The statements that the database lacks, all but the change of its owner.
    fn steps(&self, name: &str, entry: &DatabaseEntry) -> Vec<String> {
        let quoted = quote_name(name);
        let mut steps = Vec::new();
        if self.with_role && entry.public {
            // Public may connect to every database by default: one preview's role could read another's database.
            steps.push(format!("REVOKE CONNECT, TEMPORARY ON DATABASE {quoted} FROM PUBLIC"));
        }
        // Not the mark that counts: the role's may be right, and this one an app's.
        let written = entry.comment.as_deref().and_then(Mark::parse);
        if written.as_ref().is_none_or(|written| !written.is_of(self.target)) {
            let note = written.map_or_else(|| entry.comment.clone(), |written| written.note);
            let mark = Mark { note, ..Mark::of(self.target) };
            steps.push(format!("COMMENT ON DATABASE {quoted} IS {}", quote_text(&mark.text())));
        }
        if !entry.allows_connections {
            steps.push(format!("ALTER DATABASE {quoted} ALLOW_CONNECTIONS true"));
        }
        steps
    }

    /// What must be done before the role can own the database `name`.
    async fn prepare_hand_over(&self, name: &str, entry: &DatabaseEntry) -> Result<bool, DatabaseError> {
        let role = self.target.name.clone();
        if !self.admin.superuser {
            // Only a member may hand over to a role: https://www.postgresql.org/docs/current/sql-alterdatabase.html
            let join = format!("GRANT {} TO CURRENT_USER", quote_name(&role));
            self.connection.run_if_allowed(name, "join role", &join).await?;
        }
        if !entry.allows_connections {
            return Ok(true);
        }
        // A database of the older service: the app could not read what the admin made in it.
        let inside = self.server.open_inside(Some(name)).await?;
        let taken = inside.run_if_allowed(name, "take over", &take_over(&role)).await;
        inside.close().await;
        taken
    }

    async fn ensure_role(&self) -> Result<(), DatabaseError> {
        let (connection, name, limit) = (self.connection, &self.target.name, self.policy.connection_limit);
        let (role, mark) = (quote_name(name), quote_text(&Mark::of(self.target).text()));
        if find_role(connection, name).await?.is_none() {
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
        let Some(entry) = find_role(connection, name).await? else {
            return Err(DatabaseError::new("find role", "it went away while it was being prepared"));
        };
        // Somebody may have made it meanwhile.
        entry.mark.as_ref().map_or(Ok(()), |mark| mark.check(self.target))?;
        if entry.privileged {
            let strip = format!("ALTER ROLE {role} NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS");
            connection.retry_while_busy("limit role", &strip).await?;
        }
        if entry.connection_limit != i32::from(limit) {
            let change = format!("ALTER ROLE {role} CONNECTION LIMIT {limit}");
            connection.run_if_allowed(name, "limit role", &change).await?;
        }
        if entry.mark.is_none_or(|mark| mark.dropping || !mark.is_of(self.target)) {
            let comment = format!("COMMENT ON ROLE {role} IS {mark}");
            connection.run_if_allowed(name, "mark role", &comment).await?;
        }
        Ok(())
    }
}

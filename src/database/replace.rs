//! Replace: a new database, empty or a copy, is built beside the old one and then takes its name, in one transaction.
//! What fails before that changes nothing; the role and its password stay, so whoever was connected reconnects.

use super::Target;
use super::connection::Connection;
use super::ensure::{Admin, Found, check_owner, find};
use super::mark::Mark;
use super::postgres::PostgresServer;
use super::sql::{quote_name, quote_text};
use crate::error::DatabaseError;

impl PostgresServer {
    /// `source`: copy this one; None: begin empty.
    pub(super) async fn replace_on(
        &self,
        connection: &Connection,
        target: &Target,
        source: Option<&Target>,
    ) -> Result<(), DatabaseError> {
        let name = target.name();
        let source_name = source.map(Target::name);
        let admin = Admin::of(connection).await?;
        let with_role = self.with_role(&admin)?;
        let names: Vec<&str> = [Some(name.as_str()), source_name.as_deref()].into_iter().flatten().collect();
        self.lock(connection, &names).await?;
        let old = find(connection, &name).await?;
        if let Some(old) = &old {
            check_owner(old, target)?;
        }
        let source = match (source, &source_name) {
            (Some(source), Some(name)) => {
                let Some(found) = find(connection, name).await? else {
                    return Err(DatabaseError::new("find source", format!("there is no database {name}")));
                };
                check_owner(&found, source)?;
                Some((name.as_str(), found))
            }
            _ => None,
        };
        let new = passing_name();
        let built = self.build(connection, &new, target, source, &admin, with_role).await;
        let swapped = match built {
            Ok(()) => self.swap(connection, &new, target, old.is_some()).await,
            Err(error) => Err(error),
        };
        if swapped.is_err()
            && let Err(error) = self.drop_database(connection, &new).await
        {
            log::warn!(target: "kosuke_docker::database", "database {new} is left until the next sweep: {error}");
        }
        swapped
    }

    async fn build(
        &self,
        connection: &Connection,
        new: &str,
        target: &Target,
        source: Option<(&str, Found)>,
        admin: &Admin,
        with_role: bool,
    ) -> Result<(), DatabaseError> {
        let quoted = quote_name(new);
        let create = format!("CREATE DATABASE {quoted} ALLOW_CONNECTIONS false");
        match &source {
            None => connection.settle("create database", &create).await?,
            Some((name, _)) => {
                let copy = format!("{create} TEMPLATE {}", quote_name(name));
                self.alone(connection, name, "copy database", &copy).await?;
            }
        }
        let mark = quote_text(&Mark::temporary(target).text());
        connection.settle("mark database", &format!("COMMENT ON DATABASE {quoted} IS {mark}")).await?;
        self.set_up(connection, new, target, admin, with_role).await?;
        if let Some((name, found)) = source {
            let role = if with_role { target.name() } else { self.admin_user.clone() };
            if found.owner == name {
                self.hand_on(connection, new, name, &role, admin).await?;
            } else if with_role {
                let inside = self.open_inside(Some(new)).await?;
                let taken = inside.settle("take over", &super::sql::take_over(&role)).await;
                inside.close().await;
                taken?;
            }
        }
        self.make_extensions(new).await
    }

    /// Gives all that the role `from` owns in database `new` to the role `to`.
    async fn hand_on(
        &self,
        connection: &Connection,
        new: &str,
        from: &str,
        to: &str,
        admin: &Admin,
    ) -> Result<(), DatabaseError> {
        let (from_role, to_role) = (quote_name(from), quote_name(to));
        if !admin.superuser {
            connection.permitted(new, "join role", &format!("GRANT {from_role} TO CURRENT_USER")).await?;
        }
        let sql = "SELECT datname::text FROM pg_database WHERE pg_get_userbyid(datdba) = $1";
        let owned = connection.rows("find databases", sql, &[&from]).await?;
        // REASSIGN OWNED gives whole databases away, too: in the same transaction they are given back.
        let mut steps = vec![format!("REASSIGN OWNED BY {from_role} TO {to_role}")];
        steps.extend(owned.iter().map(|row| format!("ALTER DATABASE {} OWNER TO {from_role}", quote_name(row.get(0)))));
        let inside = self.open_inside(Some(new)).await?;
        let done = inside.settle("hand over", &steps.join("; ")).await;
        inside.close().await;
        Ok(done?)
    }

    async fn swap(
        &self,
        connection: &Connection,
        new: &str,
        target: &Target,
        exists: bool,
    ) -> Result<(), DatabaseError> {
        let (name, old) = (target.name(), passing_name());
        let (quoted, quoted_old) = (quote_name(&name), quote_name(&old));
        let mut steps = Vec::new();
        if exists {
            let mark = quote_text(&Mark::dropping(target).text());
            steps.push(format!("ALTER DATABASE {quoted} RENAME TO {quoted_old}"));
            steps.push(format!("COMMENT ON DATABASE {quoted_old} IS {mark}"));
        }
        steps.push(format!("ALTER DATABASE {} RENAME TO {quoted}", quote_name(new)));
        steps.push(format!("COMMENT ON DATABASE {quoted} IS {}", quote_text(&Mark::of(target).text())));
        self.alone(connection, &name, "swap databases", &steps.join("; ")).await?;
        if exists && let Err(error) = self.drop_database(connection, &old).await {
            log::warn!(target: "kosuke_docker::database", "database {old} is left until the next sweep: {error}");
        }
        Ok(())
    }
}

/// A name for moments, in no project's way.
fn passing_name() -> String {
    format!("kosuke_passing_{:016x}", fastrand::u64(..))
}

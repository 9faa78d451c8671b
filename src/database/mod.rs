//! One database and one role per preview. The service knows this trait only.
//!
//! - `dsn`, `tls`, `connection`: how the server is reached, and how little is left behind there
//! - `ensure`, `drop`, `replace` (reset and clone), `info`: one verb each; `public` closes the server's other databases
//! - `mark`: what makes a database ours; `sql`: quoting, and the statements that are long

mod connection;
mod drop;
mod dsn;
mod ensure;
mod info;
mod mark;
mod postgres;
mod public;
mod replace;
mod sql;
mod tls;

use async_trait::async_trait;
use secrecy::SecretString;

pub use crate::error::DatabaseError;
use crate::id::PreviewId;
use crate::preview::Isolation;

pub use info::{DatabaseInfo, TableInfo};
pub use postgres::PostgresServer;

/// What a container is told to log in with.
#[derive(Debug, Clone)]
pub enum Login {
    /// The database's own role, with this password.
    Role(SecretString),
    /// The admin's credentials.
    Admin,
}

/// Which database, and whose it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Which preview's.
    pub id: PreviewId,
    /// The deployment, as containers have it in their labels.
    pub owner: String,
}

impl Target {
    /// The name of the database and of its role.
    #[must_use]
    pub fn name(&self) -> String {
        self.id.database_name()
    }
}

impl serde::Serialize for Target {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        let mut fields = serializer.serialize_struct("Target", 2)?;
        fields.serialize_field("project_id", &self.id.project_id())?;
        fields.serialize_field("session", &self.id.session_id())?;
        fields.end()
    }
}

/// A database, or a role without one, that carries our mark.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Owned {
    /// Its name on the server.
    pub name: String,
    /// Which preview's, and whose.
    #[serde(flatten)]
    pub target: Target,
    /// None for a role whose database is gone, and where the admin may not know it.
    pub size_bytes: Option<u64>,
    /// Whether there is a role only.
    pub role_only: bool,
    /// Its drop was begun and did not end.
    pub dropping: bool,
}

/// A database server that gives each preview a database of its own.
#[async_trait]
pub trait Databases: Send + Sync + 'static {
    /// Makes the database and a role of its name, where they are missing. Never touches a password.
    async fn ensure(&self, target: &Target) -> Result<Ensured, DatabaseError>;

    /// Sets the password of the role `name`.
    async fn set_password(&self, name: &str, password: &SecretString) -> Result<(), DatabaseError>;

    /// The URL of database `name` as a container reaches it. Pure.
    fn url(&self, name: &str, login: &Login) -> SecretString;

    /// Whether containers get the admin's credentials: as the settings say, or as the last [`Self::ensure`] found. Pure.
    fn admin_only(&self) -> bool;

    /// Removes the database with whoever is connected, and its role. False: there was neither.
    async fn remove(&self, target: &Target) -> Result<bool, DatabaseError>;

    /// Ends a drop that did not end. False: somebody else ended it, or began anew.
    async fn remove_again(&self, owned: &Owned) -> Result<bool, DatabaseError>;

    /// All that carries this owner's mark.
    async fn owned(&self, owner: &str) -> Result<Vec<Owned>, DatabaseError>;

    /// What the server says about the database.
    async fn info(&self, target: &Target) -> Result<DatabaseInfo, DatabaseError>;

    /// Puts an empty database in the place of the one that is there; role and password stay.
    async fn reset(&self, target: &Target) -> Result<(), DatabaseError>;

    /// Puts a copy of `source`'s database in the place of `target`'s; role and password stay.
    async fn copy(&self, target: &Target, source: &Target) -> Result<(), DatabaseError>;
}

/// What [`Databases::ensure`] found and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    /// Whether this call made the database.
    pub created: bool,
    /// How well it is kept apart.
    pub isolation: Isolation,
    /// Why not better.
    pub detail: Option<String>,
}

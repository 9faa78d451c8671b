//! The trait [`Databases`], and what its calls take and return.

use async_trait::async_trait;
use secrecy::SecretString;
use serde::Serialize;

use super::error::DatabaseError;
use super::target::{Deployment, Owned, Target};
use crate::preview::Isolation;

/// A database server that gives each preview a database of its own.
#[async_trait]
pub trait Databases: Send + Sync + 'static {
    /// Creates the database and a role of its name, where they are missing. Never sets a password.
    async fn ensure(&self, target: &Target) -> Result<Ensured, DatabaseError>;

    /// Sets the password of the role `name`.
    async fn set_password(&self, name: &str, password: &SecretString) -> Result<(), DatabaseError>;

    /// The host and port of the server for containers, as the settings have them. No I/O.
    fn endpoint(&self) -> (String, u16);

    /// Fails where the server does not take containers' connections on this address of its machine.
    async fn check_listens(&self, host: &str) -> Result<(), DatabaseError>;

    /// The URL of database `name` on `host`, as a container reaches it. No I/O.
    fn url(&self, name: &str, login: &Login, host: &str) -> SecretString;

    /// Whether containers get the admin's credentials: as the settings say, or as the last [`Self::ensure`] found. No I/O.
    fn admin_only(&self) -> bool;

    /// Removes the database, whoever is connected to it, and its role. False: there was neither.
    async fn remove(&self, target: &Target) -> Result<bool, DatabaseError>;

    /// Finishes a drop that failed. False: somebody else finished it, or the database was created again since.
    async fn remove_again(&self, owned: &Owned) -> Result<bool, DatabaseError>;

    /// Everything on the server with this deployment's mark.
    async fn owned(&self, deployment: &Deployment) -> Result<Vec<Owned>, DatabaseError>;

    /// Those of these databases that do not exist.
    async fn missing(&self, names: &[String]) -> Result<Vec<String>, DatabaseError>;

    /// What the server says about the database. An error where there is none.
    async fn info(&self, target: &Target) -> Result<DatabaseInfo, DatabaseError>;

    /// Replaces the database by an empty one; role and password stay.
    async fn reset(&self, target: &Target) -> Result<(), DatabaseError>;

    /// Replaces `target`'s database by a copy of `source`'s; role and password stay.
    async fn copy(&self, target: &Target, source: &Target) -> Result<(), DatabaseError>;
}

/// The credentials that a container gets.
#[derive(Debug, Clone)]
pub enum Login {
    /// The database's own role, with this password.
    Role(SecretString),
    /// The admin's credentials.
    Admin,
}

/// The result of [`Databases::ensure`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    /// Whether this call created the database.
    pub created: bool,
    /// How well it is isolated.
    pub isolation: Isolation,
    /// Why the isolation is not better.
    pub detail: Option<String>,
}

/// A preview's database. The Python model `DatabaseInfo` has the same fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DatabaseInfo {
    /// Its name.
    pub name: String,
    /// The role that owns it.
    pub owner: String,
    /// How well it is isolated now.
    pub isolation: Isolation,
    /// Size on disk.
    pub size_bytes: u64,
    /// Number of client sessions, without this package's own.
    pub connections: u32,
    /// How many sessions the owner may have; None: no limit.
    pub connection_limit: Option<u32>,
    /// Tables and materialised views, by schema and name, the first 1,000; the system's are left out.
    pub tables: Vec<TableInfo>,
    /// How many there are.
    pub table_count: u64,
}

/// A table of a [`DatabaseInfo`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TableInfo {
    /// Its schema.
    #[serde(rename = "schema_name")]
    pub schema: String,
    /// Its name.
    pub name: String,
    /// The planner's estimate; None: never counted.
    pub row_estimate: Option<u64>,
    /// Size on disk, with indexes and TOAST data; None: somebody holds a lock that excludes readers, or it is gone.
    pub size_bytes: Option<u64>,
}

//! One database and one role per preview. The service knows this trait only.

mod postgres;
mod tls;

use async_trait::async_trait;
use secrecy::SecretString;

use crate::error::DatabaseError;
use crate::preview::Isolation;

pub use postgres::PostgresServer;

/// What a container is told to log in with.
#[derive(Debug, Clone)]
pub enum Login {
    /// The database's own role, with this password.
    Role(SecretString),
    /// The admin's credentials, for a database that a replaced hook made.
    Admin,
}

/// A database server that gives each preview a database of its own.
#[async_trait]
pub trait Databases: Send + Sync + 'static {
    /// Makes the database `name` and a role of that name, where they are missing. Never touches a password.
    async fn ensure(&self, name: &str) -> Result<Ensured, DatabaseError>;

    /// Sets the password of the role `name`.
    async fn set_password(&self, name: &str, password: &SecretString) -> Result<(), DatabaseError>;

    /// The URL of database `name` as a container reaches it. Pure.
    fn url(&self, name: &str, login: &Login) -> SecretString;
}

/// What [`Databases::ensure`] found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ensured {
    /// Whether this call made the database.
    pub created: bool,
    /// How well it is kept apart.
    pub isolation: Isolation,
}

//! One database and one role per preview. The service knows the trait [`Databases`] only.
//!
//! Calls go down this list, never up:
//!
//! - `postgres`: [`PostgresServer`], the trait on a Postgres server; [`memory`]: the trait in memory, for tests
//! - `ensure`, `replace` (reset and copy), `drop`, `info`: one verb each
//! - `setup`: role, rights and extensions of one database; `public`: closes the server's other databases
//! - `sessions`: ends the sessions of a database or role; `policy`: what the settings ask for
//! - `server`: opens connections to the server; `catalog`: reads its catalogues
//! - `connection`, `dsn`, `tls`: one connection, and how the server is reached
//! - `mark`: the comment that makes a database ours; `sql`: quoting and long statements; `url`: what a container is told
//! - `databases`, `target`, `error`: the trait and its types

mod catalog;
mod connection;
mod databases;
mod drop;
mod dsn;
mod ensure;
mod error;
mod info;
mod listens;
mod mark;
pub mod memory;
mod policy;
mod postgres;
mod public;
mod replace;
mod server;
mod sessions;
mod setup;
mod sql;
mod target;
mod tls;
mod url;

pub use databases::{DatabaseInfo, Databases, Ensured, Login, TableInfo};
pub use error::DatabaseError;
pub use postgres::PostgresServer;
pub use target::{Deployment, Owned, Target};

//! One database and one role per preview. The service knows the trait [`Databases`] only.
//!
//! Calls go down this list, never up:
//!
//! - `postgres`: [`PostgresServer`], the trait on a Postgres server; [`memory`]: the trait in memory, for tests
//! - `ensure`, `replace` (reset and copy), `drop`, `info`: one verb each; `tables` is a part of `info`
//! - `setup`: role and rights of one database; `create`: the statement that makes one; `extensions`: what the admin adds to it
//! - `disown`: drops a role and what it owns elsewhere; `drop_database`: drops a database; `public`: closes the server's other databases
//! - `sessions`: ends sessions that stand in the way; `policy`: what the settings ask for
//! - `server`: opens connections to the server; `catalog`: reads its catalogues
//! - `connection`, `dsn`, `tls`: one connection, and how the server is reached
//! - `mark`: the comment that makes a database ours; `sql`: quoting and long statements; `url`: what a container is told
//! - `databases`, `target`, `error`: the trait and its types

mod catalog;
mod connection;
mod create;
mod databases;
mod disown;
mod drop;
mod drop_database;
mod dsn;
mod ensure;
mod error;
mod extensions;
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
mod tables;
mod target;
mod tls;
mod url;

pub use databases::{DatabaseInfo, Databases, Ensured, Login, TableInfo};
pub use error::DatabaseError;
pub use postgres::PostgresServer;
pub use target::{Deployment, Owned, Target};

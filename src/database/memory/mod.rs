//! A database server in memory, for tests.
//!
//! - `server`: [`MemoryDatabases`], the trait [`Databases`](super::Databases) in memory
//! - `calls`: [`Call`] and [`Held`]: which calls were made, and which are to fail or to wait

mod calls;
mod server;
#[cfg(test)]
mod tests;

pub use calls::{Call, Held};
pub use server::MemoryDatabases;

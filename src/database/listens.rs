//! Whether a server on this machine takes connections on the address that containers see of it.

use std::time::Duration;

use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, NoTls};

use super::error::{DatabaseError, failure};

const TIMEOUT: Duration = Duration::from_secs(3);
/// A name that no role has: the server's rules about addresses come before the password.
const NOBODY: &str = "kosuke_nobody";

/// See the module.
pub(super) async fn check(host: &str, port: u16) -> Result<(), DatabaseError> {
    let fix = format!(
        "a container reaches this machine's server at {host}:{port}: let it listen there (listen_addresses, and a line for \
         the containers' networks in pg_hba.conf), or set POSTGRES_CONTAINER_HOST"
    );
    let mut config = Config::new();
    config.host(host).port(port).user(NOBODY).dbname(NOBODY).password(NOBODY).connect_timeout(TIMEOUT);
    let refused = match tokio::time::timeout(TIMEOUT, config.connect(NoTls)).await {
        Ok(Ok(_)) => return Ok(()),
        // The server's words: it is there, and refuses the address, or this name only.
        Ok(Err(error)) if error.as_db_error().is_some() => {
            let by_address = error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
            let words = error.to_string() + error.as_db_error().map_or("", |error| error.message());
            if !by_address || !words.contains("pg_hba.conf") {
                return Ok(());
            }
            failure("reach from a container", &error).message
        }
        Ok(Err(error)) => failure("reach from a container", &error).message,
        Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
    };
    Err(DatabaseError::new("reach from a container", format!("{refused}; {fix}")))
}

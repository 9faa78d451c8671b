//! [`PostgresServer`]: [`Databases`] on a Postgres server, over one short-lived connection per call. There is no pool: calls
//! are rare, an idle session would block drops and copies, and a session that a server's restart broke would have to be
//! detected.

use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::config::Host;

use super::databases::{DatabaseInfo, Databases, Ensured, Login};
use super::error::DatabaseError;
use super::policy::Policy;
use super::server::{COPY_TIMEOUT, Server};
use super::sessions::unblocked;
use super::sql::{quote_name, quote_text};
use super::target::{Deployment, Owned, Target};
use super::url::url;
use super::{drop, ensure, info, listens, replace};
use crate::settings::{InvalidSetting, Postgres};

const ENSURE_TIMEOUT: Duration = Duration::from_secs(15);
const INFO_TIMEOUT: Duration = Duration::from_secs(15);
/// A restart waits for it, and goes on without it.
const MISSING_TIMEOUT: Duration = Duration::from_secs(5);
/// Well below the time that another process allows a container that is created and not started.
const PASSWORD_TIMEOUT: Duration = Duration::from_secs(4);
/// A drop waits for a checkpoint.
const DROP_TIMEOUT: Duration = Duration::from_secs(60);

/// A Postgres server, used as its admin.
pub struct PostgresServer {
    server: Server,
    policy: Policy,
    /// Of the databases' names.
    prefix: String,
    container_host: String,
    container_port: u16,
}

impl PostgresServer {
    /// Reads the settings; connects to nothing.
    ///
    /// # Errors
    /// [`InvalidSetting`] for a URL that cannot be read; it does not repeat the URL.
    pub fn new(settings: &Postgres) -> Result<Self, InvalidSetting> {
        let server = Server::new(&settings.admin)?;
        let admin_host = match server.config().get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            // A container cannot use this machine's socket folder: it must be told a host.
            _ => "localhost".to_owned(),
        };
        let admin_port = server.config().get_ports().first().copied();
        Ok(Self {
            server,
            policy: Policy::new(settings),
            prefix: settings.database_prefix.clone(),
            container_host: settings.container_host.clone().unwrap_or(admin_host),
            container_port: settings.container_port.or(admin_port).unwrap_or(5432),
        })
    }

    /// Whether [`Self::new`] accepts these settings.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn check(settings: &Postgres) -> Result<(), InvalidSetting> {
        Self::new(settings).map(|_| ())
    }
}

/// Gives a call its connection and its deadline. A macro, because an async closure cannot promise a future that is `Send`.
macro_rules! call {
    ($self:expr, $limit:expr, |$connection:ident| $work:expr) => {{
        let $connection = $self.server.open($limit).await?;
        let done = tokio::time::timeout($limit, $work).await;
        $connection.finish(done, $limit).await
    }};
}

#[async_trait]
impl Databases for PostgresServer {
    async fn ensure(&self, target: &Target) -> Result<Ensured, DatabaseError> {
        call!(self, ENSURE_TIMEOUT, |connection| {
            unblocked(&self.server, ensure::ensure(&self.server, &connection, &self.policy, target))
        })
    }

    async fn set_password(&self, name: &str, password: &SecretString) -> Result<(), DatabaseError> {
        // The verifier, not the password: statements may be written to the server's log.
        let verifier = postgres_protocol::password::scram_sha_256(password.expose_secret().as_bytes());
        let sql = format!("ALTER ROLE {} LOGIN PASSWORD {}", quote_name(name), quote_text(&verifier));
        call!(self, PASSWORD_TIMEOUT, |connection| {
            unblocked(&self.server, async { Ok(connection.retry_while_busy("set password", &sql).await?) })
        })
    }

    fn endpoint(&self) -> (String, u16) {
        (self.container_host.clone(), self.container_port)
    }

    async fn check_listens(&self, host: &str) -> Result<(), DatabaseError> {
        listens::check(host, self.container_port).await
    }

    fn url(&self, name: &str, login: &Login, host: &str) -> SecretString {
        let (user, password) = match login {
            Login::Role(password) => (name, password.expose_secret().as_bytes()),
            Login::Admin => (self.server.admin_user(), self.server.config().get_password().unwrap_or_default()),
        };
        url(user, password, host, self.container_port, name)
    }

    fn admin_only(&self) -> bool {
        self.policy.admin_only()
    }

    async fn remove(&self, target: &Target) -> Result<bool, DatabaseError> {
        call!(self, DROP_TIMEOUT, |connection| {
            unblocked(&self.server, drop::drop_target(&self.server, &connection, target))
        })
    }

    async fn remove_again(&self, owned: &Owned) -> Result<bool, DatabaseError> {
        call!(self, DROP_TIMEOUT, |connection| {
            unblocked(&self.server, drop::finish_drop(&self.server, &connection, owned))
        })
    }

    async fn owned(&self, deployment: &Deployment) -> Result<Vec<Owned>, DatabaseError> {
        call!(self, INFO_TIMEOUT, |connection| info::owned(&connection, deployment, &self.prefix))
    }

    async fn missing(&self, names: &[String]) -> Result<Vec<String>, DatabaseError> {
        call!(self, MISSING_TIMEOUT, |connection| info::missing(&connection, names))
    }

    async fn info(&self, target: &Target) -> Result<DatabaseInfo, DatabaseError> {
        call!(self, INFO_TIMEOUT, |connection| {
            info::info(&self.server, &connection, self.policy.admin_only(), target)
        })
    }

    async fn reset(&self, target: &Target) -> Result<(), DatabaseError> {
        call!(self, COPY_TIMEOUT, |connection| {
            unblocked(&self.server, replace::replace(&self.server, &connection, &self.policy, target, None))
        })
    }

    async fn copy(&self, target: &Target, source: &Target) -> Result<(), DatabaseError> {
        call!(self, COPY_TIMEOUT, |connection| {
            unblocked(&self.server, replace::replace(&self.server, &connection, &self.policy, target, Some(source)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{PostgresAdmin, PostgresIsolation};

    fn server(container_host: Option<&str>) -> Result<PostgresServer, InvalidSetting> {
        PostgresServer::new(&Postgres {
            admin: PostgresAdmin::Parts {
                host: "db".into(),
                port: 5433,
                user: "ad@min".into(),
                password: SecretString::from("p/w:é"),
                database: "postgres".into(),
            },
            container_host: container_host.map(str::to_owned),
            container_port: None,
            isolation: PostgresIsolation::Auto,
            connection_limit: 10,
            database_prefix: "x_".into(),
            extensions: Vec::new(),
            revoke_public: false,
        })
    }

    #[test]
    fn urls_are_encoded() -> Result<(), InvalidSetting> {
        let role = Login::Role(SecretString::from("pw"));
        assert_eq!(server(None)?.endpoint(), ("db".to_owned(), 5433));
        assert_eq!(server(None)?.url("x_1", &role, "db").expose_secret(), "postgresql://x_1:pw@db:5433/x_1");
        assert_eq!(
            server(None)?.url("x_1", &Login::Admin, "fd00::1").expose_secret(),
            "postgresql://ad%40min:p%2Fw%3A%C3%A9@[fd00::1]:5433/x_1"
        );
        Ok(())
    }
}

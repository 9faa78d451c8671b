//! [`Databases`] on a Postgres server, over one short-lived connection per call. No pool: calls are rare, an idle session
//! would stand in the way of drops and copies, and one that a restart of the server broke would have to be found out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connection::{Connection, failure};
use super::sql::{quote_name, quote_text};
use super::tls::Tls;
use super::{DatabaseInfo, Databases, Ensured, Login, Owned, Target, dsn};
use crate::error::{DatabaseError, Error};
use crate::settings::{Postgres, PostgresAdmin, PostgresIsolation};

/// For all of it: the driver bounds only the TCP connection, and a frozen server would hold its callers for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ENSURE_TIMEOUT: Duration = Duration::from_secs(15);
const INFO_TIMEOUT: Duration = Duration::from_secs(15);
/// Well below the time that another process grants to a container that is made and not started.
const PASSWORD_TIMEOUT: Duration = Duration::from_secs(4);
/// A drop waits for a checkpoint.
const DROP_TIMEOUT: Duration = Duration::from_secs(60);
/// A copy takes as long as the disk needs.
const COPY_TIMEOUT: Duration = Duration::from_secs(600);
/// Calls at once: a start of many previews must not use up the server's slots. A call has two connections at the most.
const MAX_CALLS: usize = 8;
const LOCK_PATIENCE: Duration = Duration::from_secs(5);
/// The first half of the advisory locks' keys.
const LOCK_CLASS: i32 = 0x6b6f_7375;

/// A Postgres server, reached as its admin.
pub struct PostgresServer {
    config: Config,
    tls: Tls,
    container_host: String,
    container_port: u16,
    pub(super) admin_user: String,
    pub(super) isolation: PostgresIsolation,
    pub(super) connection_limit: u16,
    pub(super) extensions: Vec<String>,
    pub(super) revoke_public: bool,
    /// The last answer to whether containers get the admin's credentials.
    pub(super) admin_only: AtomicBool,
    slots: Arc<Semaphore>,
}

impl PostgresServer {
    /// Reads the settings; connects to nothing.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a URL that cannot be read; the URL is not repeated.
    pub fn new(settings: &Postgres) -> Result<Self, Error> {
        let (mut config, tls) = match &settings.admin {
            PostgresAdmin::Url(url) => dsn::parse(url.expose_secret())?,
            PostgresAdmin::Parts { host, port, user, password, database } => {
                let mut config = Config::new();
                config.host(host).port(*port).user(user).password(password.expose_secret()).dbname(database);
                (config, Tls::default())
            }
        };
        config.connect_timeout(CONNECT_TIMEOUT).application_name("kosuke-docker");
        let admin_host = match config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            // A container cannot use this machine's socket folder: it must be told a host.
            _ => "localhost".to_owned(),
        };
        Ok(Self {
            tls,
            container_host: settings.container_host.clone().unwrap_or(admin_host),
            container_port: settings.container_port.or(config.get_ports().first().copied()).unwrap_or(5432),
            admin_user: config.get_user().unwrap_or("postgres").to_owned(),
            config,
            isolation: settings.isolation,
            connection_limit: settings.connection_limit,
            extensions: settings.extensions.clone(),
            revoke_public: settings.revoke_public,
            admin_only: AtomicBool::new(settings.isolation == PostgresIsolation::Admin),
            slots: Arc::new(Semaphore::new(MAX_CALLS)),
        })
    }

    /// Tells whether [`Self::new`] would take these settings.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn check(settings: &Postgres) -> Result<(), Error> {
        Self::new(settings).map(drop)
    }

    /// A call's first connection, once fewer than [`MAX_CALLS`] are being made.
    async fn open(&self, limit: Duration) -> Result<Connection, DatabaseError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(|_| DatabaseError::new("connect", "closed"))?;
        self.connect(None, limit, Some(slot)).await
    }

    /// A further connection of a call, to any database of the server.
    pub(super) async fn open_inside(&self, database: Option<&str>) -> Result<Connection, DatabaseError> {
        self.connect(database, COPY_TIMEOUT, None).await
    }

    async fn connect(
        &self,
        database: Option<&str>,
        limit: Duration,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Result<Connection, DatabaseError> {
        let mut config = self.config.clone();
        if let Some(database) = database {
            config.dbname(database);
        }
        // The server ends a statement that we wait for no more, even if nobody can tell it to. And what an app put into its
        // schemas is not looked at: the admin must not run an operator of its making (CVE-2018-1058).
        let (given, limit) = (self.config.get_options().unwrap_or_default(), limit.as_millis());
        config.options(format!("{given} -c statement_timeout={limit} -c search_path=pg_catalog"));
        let late = || DatabaseError::new("connect", format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()));
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, self.attempts(config));
        let (client, driver, tls) = connecting.await.unwrap_or_else(|_| Err(late()))?;
        Ok(Connection::new(client, driver, tls, slot))
    }

    async fn attempts(&self, mut config: Config) -> Result<Connected, DatabaseError> {
        let mut last = DatabaseError::new("connect", "no way to connect");
        for &mode in self.tls.attempts() {
            config.ssl_mode(mode);
            let tls = if mode == SslMode::Disable {
                None
            } else {
                let tls = self.tls.client_config().map_err(|problem| DatabaseError::new("connect", problem))?;
                Some(MakeRustlsConnect::new(tls))
            };
            let connected = match &tls {
                None => config.connect(NoTls).await.map(|(client, driver)| (client, run(driver))),
                Some(tls) => config.connect(tls.clone()).await.map(|(client, driver)| (client, run(driver))),
            };
            match connected {
                Ok((client, driver)) => return Ok((client, driver, tls)),
                Err(error) => {
                    last = failure("connect", &error);
                    // As libpq: the other way only where this one was turned away, not for a wrong password.
                    let turned_away = error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
                    if !turned_away && !error.to_string().contains("TLS handshake") {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    /// Keeps other processes' calls about these databases out until the connection ends, but not for ever: all of it is
    /// safe without, and any role may hold such a lock.
    pub(super) async fn lock(&self, connection: &Connection, names: &[&str]) -> Result<(), DatabaseError> {
        let mut names = names.to_vec();
        names.sort_unstable();
        for name in names {
            let sql = format!(
                "SET lock_timeout = {}; SELECT pg_advisory_lock({LOCK_CLASS}, hashtext({})); RESET lock_timeout",
                LOCK_PATIENCE.as_millis(),
                quote_text(name)
            );
            match connection.run("wait for others", &sql).await {
                Err(error) if error.is(&[SqlState::LOCK_NOT_AVAILABLE]) => {
                    log::warn!(target: "kosuke_docker::database", "database {name}: others work on it, too");
                }
                other => other?,
            }
        }
        Ok(())
    }
}

type Connected = (Client, JoinHandle<()>, Option<MakeRustlsConnect>);

fn run<S, T>(driver: tokio_postgres::Connection<S, T>) -> JoinHandle<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // What it ends with, the call that it served was told, too.
    tokio::spawn(async move { drop(driver.await) })
}

/// Gives a call its connection and its limit.
macro_rules! call {
    ($server:expr, $limit:expr, |$connection:ident| $work:expr) => {{
        let $connection = $server.open($limit).await?;
        let done = tokio::time::timeout($limit, $work).await;
        $connection.end(done, $limit).await
    }};
}

#[async_trait]
impl Databases for PostgresServer {
    async fn ensure(&self, target: &Target) -> Result<Ensured, DatabaseError> {
        call!(self, ENSURE_TIMEOUT, |connection| self.ensure_on(&connection, target))
    }

    async fn set_password(&self, name: &str, password: &SecretString) -> Result<(), DatabaseError> {
        call!(self, PASSWORD_TIMEOUT, |connection| async {
            // The verifier, not the password: statements may end up in the server's log.
            let verifier = postgres_protocol::password::scram_sha_256(password.expose_secret().as_bytes());
            let sql = format!("ALTER ROLE {} LOGIN PASSWORD {}", quote_name(name), quote_text(&verifier));
            Ok(connection.settle("set password", &sql).await?)
        })
    }

    fn url(&self, name: &str, login: &Login) -> SecretString {
        let (user, password) = match login {
            Login::Role(password) => (name, password.expose_secret().as_bytes()),
            Login::Admin => (self.admin_user.as_str(), self.config.get_password().unwrap_or_default()),
        };
        let host = &self.container_host;
        let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.clone() };
        SecretString::from(format!(
            "postgresql://{}:{}@{host}:{}/{}",
            percent(user.as_bytes()),
            percent(password),
            self.container_port,
            percent(name.as_bytes())
        ))
    }

    fn admin_only(&self) -> bool {
        self.admin_only.load(Ordering::Relaxed)
    }

    async fn remove(&self, target: &Target) -> Result<bool, DatabaseError> {
        call!(self, DROP_TIMEOUT, |connection| self.drop_on(&connection, target))
    }

    async fn remove_again(&self, owned: &Owned) -> Result<bool, DatabaseError> {
        call!(self, DROP_TIMEOUT, |connection| self.drop_again_on(&connection, owned))
    }

    async fn owned(&self, owner: &str) -> Result<Vec<Owned>, DatabaseError> {
        call!(self, INFO_TIMEOUT, |connection| super::info::owned(&connection, owner))
    }

    async fn info(&self, target: &Target) -> Result<DatabaseInfo, DatabaseError> {
        call!(self, INFO_TIMEOUT, |connection| self.info_on(&connection, target))
    }

    async fn reset(&self, target: &Target) -> Result<(), DatabaseError> {
        call!(self, COPY_TIMEOUT, |connection| self.replace_on(&connection, target, None))
    }

    async fn copy(&self, target: &Target, source: &Target) -> Result<(), DatabaseError> {
        call!(self, COPY_TIMEOUT, |connection| self.replace_on(&connection, target, Some(source)))
    }
}

const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];

/// Percent-encodes all but RFC 3986's unreserved characters.
fn percent(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            text.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(container_host: Option<&str>) -> Result<PostgresServer, Error> {
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
            connection_limit: 20,
            extensions: Vec::new(),
            revoke_public: false,
        })
    }

    #[test]
    fn urls_are_encoded() -> Result<(), Error> {
        let role = Login::Role(SecretString::from("pw"));
        assert_eq!(server(None)?.url("x_1", &role).expose_secret(), "postgresql://x_1:pw@db:5433/x_1");
        assert_eq!(
            server(Some("fd00::1"))?.url("x_1", &Login::Admin).expose_secret(),
            "postgresql://ad%40min:p%2Fw%3A%C3%A9@[fd00::1]:5433/x_1"
        );
        Ok(())
    }
}

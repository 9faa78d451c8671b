//! Opens connections to the server as its admin: configuration, TLS, deadlines, and how many calls run at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::connection::Connection;
use super::dsn;
use super::error::{DatabaseError, failure};
use super::tls::Tls;
use crate::settings::{InvalidSetting, PostgresAdmin};

/// For the whole of a connect: the driver bounds only the TCP connection, and a frozen server would never answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// For a statement on a further connection of a call. A copy takes as long as the disk needs.
pub(super) const COPY_TIMEOUT: Duration = Duration::from_secs(600);
/// Calls at once: a start of many previews must not use up the server's connections. A call has two at the most,
/// and one of them a third.
const MAX_CALLS: usize = 8;
/// The oldest version that is known to work.
const OLDEST: u16 = 10;
/// What `ALTER DATABASE ... SET` of an app must not decide for the admin, by the first version that knows it: whom it acts as,
/// where names are looked for, what is loaded when it connects, whether it may write, and when it is thrown out. What a client
/// asks for when it connects beats what the database says.
const OWN_SETTINGS: [(u16, &str); 6] = [
    (10, "-c role=none -c search_path=pg_catalog -c local_preload_libraries= -c row_security=on"),
    (
        10,
        "-c default_transaction_read_only=off -c default_transaction_deferrable=off -c default_transaction_isolation=read\\ committed",
    ),
    (10, "-c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c default_tablespace="),
    (12, "-c default_table_access_method=heap -c tcp_user_timeout=0"),
    (14, "-c idle_session_timeout=0 -c client_connection_check_interval=0"),
    (17, "-c transaction_timeout=0"),
];

pub(super) struct Server {
    config: Config,
    tls: Tls,
    slots: Arc<Semaphore>,
    /// Held by the call that ends who is in the way, for all calls.
    pub(super) unblocking: Mutex<()>,
    /// The server's major version; 0 before the first connection.
    version: AtomicU16,
}

impl Server {
    /// Reads the settings; connects to nothing.
    pub(super) fn new(admin: &PostgresAdmin) -> Result<Self, InvalidSetting> {
        let (mut config, tls) = match admin {
            PostgresAdmin::Url(url) => dsn::parse(url.expose_secret())?,
            PostgresAdmin::Parts { host, port, user, password, database } => {
                let mut config = Config::new();
                config.host(host).port(*port).user(user).password(password.expose_secret()).dbname(database);
                (config, Tls::default())
            }
        };
        config.connect_timeout(CONNECT_TIMEOUT).application_name("kosuke-docker");
        Ok(Self {
            config,
            tls,
            slots: Arc::new(Semaphore::new(MAX_CALLS)),
            unblocking: Mutex::default(),
            version: AtomicU16::new(0),
        })
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// The admin's user name.
    pub(super) fn admin_user(&self) -> &str {
        self.config.get_user().unwrap_or("postgres")
    }

    /// A call's first connection, once fewer than [`MAX_CALLS`] calls are running. The server ends a statement that takes
    /// longer than `limit`.
    pub(super) async fn open(&self, limit: Duration) -> Result<Connection, DatabaseError> {
        let slot = Arc::clone(&self.slots).acquire_owned().await;
        let slot = slot.map_err(|_| DatabaseError::new("connect", "closed"))?;
        self.connect(None, limit, Some(slot)).await
    }

    /// A further connection of a call; `database`: another one than the admin's.
    pub(super) async fn open_inside(&self, database: Option<&str>) -> Result<Connection, DatabaseError> {
        let inside = self.connect(database, COPY_TIMEOUT, None).await?;
        let sql = "SELECT current_user::text, session_user::text";
        let row = inside.row("connect", sql, &[]).await?;
        let (current, session): (String, String) = row.map(|row| (row.get(0), row.get(1))).unwrap_or_default();
        if current == session && self.config.get_user().is_none_or(|admin| admin == current) {
            return Ok(inside);
        }
        inside.close().await;
        Err(DatabaseError::new("connect", format!("the admin would act as {current} there")))
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
        // The server ends a late statement by itself, even if a cancel cannot reach it. The search path leaves an app's
        // schemas out: the admin must not run an operator that an app made (CVE-2018-1058).
        let version = self.version.load(Ordering::Relaxed);
        let own = OWN_SETTINGS.iter().filter(|(since, _)| *since <= version.max(OLDEST)).map(|(_, options)| *options);
        let own = own.collect::<Vec<_>>().join(" ");
        let (given, limit) = (self.config.get_options().unwrap_or_default(), limit.as_millis());
        config.options(format!("{given} -c statement_timeout={limit} {own}"));
        let late = || DatabaseError::new("connect", format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()));
        let connecting = tokio::time::timeout(CONNECT_TIMEOUT, self.try_modes(config));
        let (client, driver, tls) = connecting.await.unwrap_or_else(|_| Err(late()))?;
        Ok(Connection::new(client, driver, tls, slot))
    }

    /// Connects with the first of the TLS modes that the server accepts.
    async fn try_modes(&self, mut config: Config) -> Result<Connected, DatabaseError> {
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
                None => config.connect(NoTls).await.map(|(client, driver)| (client, self.spawn(driver))),
                Some(tls) => config.connect(tls.clone()).await.map(|(client, driver)| (client, self.spawn(driver))),
            };
            match connected {
                Ok((client, driver)) => return Ok((client, driver, tls)),
                Err(error) => {
                    last = failure("connect", &error);
                    // As libpq: the next mode only where the server refused this one, not for a wrong password.
                    let refused = error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
                    if !refused && !error.to_string().contains("TLS handshake") {
                        break;
                    }
                }
            }
        }
        Err(last)
    }

    fn spawn<S, T>(&self, driver: tokio_postgres::Connection<S, T>) -> JoinHandle<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        if let Some(version) = driver.parameter("server_version").and_then(major) {
            self.version.store(version, Ordering::Relaxed);
        }
        // Its error is not lost: the statement that was running fails with it.
        tokio::spawn(async move { drop(driver.await) })
    }
}

type Connected = (Client, JoinHandle<()>, Option<MakeRustlsConnect>);

/// `15.18 (Debian 15.18-0)` and `17beta1` to 15 and 17.
fn major(version: &str) -> Option<u16> {
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read() {
        let told = ["15.18 (Debian 15.18-0+deb12u1)", "17beta1", "9.6.24", "devel", ""];
        assert_eq!(told.map(major), [Some(15), Some(17), Some(9), None, None]);
    }
}

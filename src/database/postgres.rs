//! [`Databases`] on a Postgres server, over one short-lived connection per call.

use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use secrecy::{ExposeSecret, SecretString};
use tokio::task::JoinHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Databases, Ensured, Login, tls};
use crate::error::{DatabaseError, Error};
use crate::preview::Isolation;
use crate::settings::{Postgres, PostgresAdmin};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const STATEMENT_TIMEOUT: &str = "-c statement_timeout=10000";
/// `CREATE DATABASE` fails while anyone is connected to the template: 55006, gone in moments.
const TEMPLATE_BUSY_TRIES: u32 = 20;
const TEMPLATE_BUSY_PAUSE: Duration = Duration::from_millis(100);
/// The driver bounds only the TCP connection: a frozen server would hold its callers for ever.
const ENSURE_TIMEOUT: Duration = Duration::from_secs(15);
/// Well below the time that another process grants to a container that is made and not started.
const PASSWORD_TIMEOUT: Duration = Duration::from_secs(4);
/// Connections at once: a start of many previews must not use up the server's slots.
const MAX_CONNECTIONS: usize = 8;

/// A Postgres server, reached as its admin.
pub struct PostgresServer {
    config: Config,
    verify_tls: bool,
    container_host: String,
    container_port: u16,
    admin_user: String,
    slots: tokio::sync::Semaphore,
}

impl PostgresServer {
    /// Reads the settings; connects to nothing.
    ///
    /// # Errors
    /// [`Error::InvalidSetting`] for a URL that cannot be read; the URL is not repeated.
    pub fn new(settings: &Postgres) -> Result<Self, Error> {
        let (mut config, verify_tls) = match &settings.admin {
            PostgresAdmin::Url(url) => parse_url(url.expose_secret())?,
            PostgresAdmin::Parts { host, port, user, password, database } => {
                let mut config = Config::new();
                config.host(host).port(*port).user(user).password(password.expose_secret()).dbname(database);
                (config, false)
            }
        };
        config.connect_timeout(CONNECT_TIMEOUT).application_name("kosuke-docker").options(STATEMENT_TIMEOUT);
        let admin_host = match config.get_hosts().first() {
            Some(Host::Tcp(host)) => host.clone(),
            // A container cannot use this machine's socket folder: it must be told a host.
            _ => "localhost".to_owned(),
        };
        Ok(Self {
            verify_tls,
            container_host: settings.container_host.clone().unwrap_or(admin_host),
            container_port: settings.container_port.or(config.get_ports().first().copied()).unwrap_or(5432),
            admin_user: config.get_user().unwrap_or("postgres").to_owned(),
            config,
            slots: tokio::sync::Semaphore::new(MAX_CONNECTIONS),
        })
    }

    /// Tells whether [`Self::new`] would take these settings.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn check(settings: &Postgres) -> Result<(), Error> {
        Self::new(settings).map(drop)
    }

    async fn connect(&self, database: Option<&str>) -> Result<Connection, DatabaseError> {
        let mut config = self.config.clone();
        if let Some(database) = database {
            config.dbname(database);
        }
        let failed = |error: &tokio_postgres::Error| failure("connect", error);
        if config.get_ssl_mode() == SslMode::Disable {
            let (client, connection) = config.connect(NoTls).await.map_err(|error| failed(&error))?;
            return Ok(Connection { client, driver: tokio::spawn(async move { drop(connection.await) }) });
        }
        let tls = tls::client_config(self.verify_tls)
            .map_err(|error| DatabaseError { step: "connect", message: error.to_string() })?;
        let (client, connection) = config.connect(MakeRustlsConnect::new(tls)).await.map_err(|error| failed(&error))?;
        Ok(Connection { client, driver: tokio::spawn(async move { drop(connection.await) }) })
    }

    async fn slot(&self) -> Result<tokio::sync::SemaphorePermit<'_>, DatabaseError> {
        self.slots.acquire().await.map_err(|_| DatabaseError { step: "connect", message: "closed".into() })
    }
}

struct Connection {
    client: Client,
    driver: JoinHandle<()>,
}

impl Connection {
    /// Says goodbye and waits until the socket is closed.
    async fn close(self) {
        drop(self.client);
        if self.driver.await.is_err() {
            log::debug!(target: "kosuke_docker::database", "a database connection did not end by itself");
        }
    }

    async fn run(&self, step: &'static str, sql: &str) -> Result<(), StepError> {
        self.client.batch_execute(sql).await.map_err(|error| StepError { step, error })
    }
}

struct StepError {
    step: &'static str,
    error: tokio_postgres::Error,
}

impl StepError {
    fn is(&self, states: &[SqlState]) -> bool {
        self.error.code().is_some_and(|code| states.contains(code))
    }
}

impl From<StepError> for DatabaseError {
    fn from(StepError { step, error }: StepError) -> Self {
        failure(step, &error)
    }
}

fn failure(step: &'static str, error: &tokio_postgres::Error) -> DatabaseError {
    let message = match error.as_db_error() {
        Some(db) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        None => match std::error::Error::source(error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        },
    };
    DatabaseError { step, message }
}

#[async_trait]
impl Databases for PostgresServer {
    async fn ensure(&self, name: &str) -> Result<Ensured, DatabaseError> {
        within(ENSURE_TIMEOUT, async {
            let _slot = self.slot().await?;
            let connection = self.connect(None).await?;
            let ensured = self.ensure_on(&connection, name).await;
            connection.close().await;
            ensured
        })
        .await
    }

    async fn set_password(&self, name: &str, password: &SecretString) -> Result<(), DatabaseError> {
        within(PASSWORD_TIMEOUT, async {
            let _slot = self.slot().await?;
            let connection = self.connect(None).await?;
            // The verifier, not the password: statements may end up in the server's log.
            let verifier = postgres_protocol::password::scram_sha_256(password.expose_secret().as_bytes());
            let sql = format!("ALTER ROLE {} LOGIN PASSWORD {}", quote_name(name), quote_text(&verifier));
            let set = settle(&connection, "set password", &sql).await;
            connection.close().await;
            Ok(set?)
        })
        .await
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
}

impl PostgresServer {
    async fn ensure_on(&self, connection: &Connection, name: &str) -> Result<Ensured, DatabaseError> {
        let quoted = quote_name(name);
        match connection.run("create role", &format!("CREATE ROLE {quoted} LOGIN")).await {
            Err(error) if !error.is(&[SqlState::DUPLICATE_OBJECT, SqlState::UNIQUE_VIOLATION]) => {
                return Err(error.into());
            }
            _ => {}
        }
        let created = create_database(connection, name).await?;
        let Some(found) = find(connection, name).await? else {
            return Err(DatabaseError {
                step: "find database",
                message: "it went away while it was being prepared".into(),
            });
        };
        let mut complete = true;
        if found.owner != name {
            if !found.superuser {
                // Only a member may hand over to a role: https://www.postgresql.org/docs/current/sql-alterdatabase.html
                permitted(connection, name, "join role", &format!("GRANT {quoted} TO CURRENT_USER")).await?;
            }
            if !created {
                complete &= self.take_over(name).await?;
            }
            // Last, because the owner is the mark that the rest was done.
            let owned =
                permitted(connection, name, "set owner", &format!("ALTER DATABASE {quoted} OWNER TO {quoted}")).await?;
            if !owned {
                let grant = format!("GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {quoted} TO {quoted}");
                settle(connection, "grant connect", &grant).await?;
            }
            complete &= owned;
        }
        if found.public {
            // Public may connect to every database by default: a role could look into its neighbours'.
            let revoke = format!("REVOKE CONNECT, TEMPORARY ON DATABASE {quoted} FROM PUBLIC");
            complete &= permitted(connection, name, "revoke connect", &revoke).await?;
        }
        Ok(Ensured { created, isolation: if complete { Isolation::Role } else { Isolation::Partial } })
    }

    /// A database of the older service: what the admin made in it goes to the role, else the app could not read it.
    async fn take_over(&self, name: &str) -> Result<bool, DatabaseError> {
        let inside = self.connect(Some(name)).await?;
        let taken = permitted(&inside, name, "take over", &take_over(name)).await;
        inside.close().await;
        taken
    }
}

async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, DatabaseError>>) -> Result<T, DatabaseError> {
    let late = || DatabaseError { step: "connect", message: format!("no answer within {} s", limit.as_secs()) };
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(late()))
}

/// Tells whether the admin may do this; that it may not is logged.
async fn permitted(connection: &Connection, name: &str, step: &'static str, sql: &str) -> Result<bool, DatabaseError> {
    match settle(connection, step, sql).await {
        Ok(()) => Ok(true),
        Err(error) if error.is(&[SqlState::INSUFFICIENT_PRIVILEGE]) => {
            log::warn!(target: "kosuke_docker::database", "database {name}: {}", DatabaseError::from(error));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// Two sessions that change one catalogue row at once: "tuple concurrently updated" (XX000); the later one tries again.
async fn settle(connection: &Connection, step: &'static str, sql: &str) -> Result<(), StepError> {
    for _ in 0..TEMPLATE_BUSY_TRIES {
        match connection.run(step, sql).await {
            Err(error) if error.is(&[SqlState::INTERNAL_ERROR]) => tokio::time::sleep(TEMPLATE_BUSY_PAUSE).await,
            other => return other,
        }
    }
    connection.run(step, sql).await
}

struct Found {
    owner: String,
    /// Whether every role may connect.
    public: bool,
    /// Whether we are superuser.
    superuser: bool,
}

async fn find(connection: &Connection, name: &str) -> Result<Option<Found>, DatabaseError> {
    let sql = "SELECT r.rolname, has_database_privilege('public', d.oid, 'CONNECT'), \
               (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) \
               FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE d.datname = $1";
    let row = connection.client.query_opt(sql, &[&name]).await.map_err(|error| failure("find database", &error))?;
    Ok(row.map(|row| Found { owner: row.get(0), public: row.get(1), superuser: row.get(2) }))
}

/// Tells whether this call made it. Racing creates end with 42P04, or 23505 on the catalogue's index: both mean it exists.
async fn create_database(connection: &Connection, name: &str) -> Result<bool, DatabaseError> {
    if find(connection, name).await?.is_some() {
        return Ok(false);
    }
    let sql = format!("CREATE DATABASE {}", quote_name(name));
    let mut tries = 0;
    loop {
        match connection.run("create database", &sql).await {
            Ok(()) => return Ok(true),
            Err(error) if error.is(&[SqlState::DUPLICATE_DATABASE, SqlState::UNIQUE_VIOLATION]) => {
                return Ok(false);
            }
            Err(error) if error.is(&[SqlState::OBJECT_IN_USE]) && tries < TEMPLATE_BUSY_TRIES => tries += 1,
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(TEMPLATE_BUSY_PAUSE).await;
    }
}

/// Gives all that the admin owns in the user schemas of the connected database to `role`. What belongs to an extension stays.
fn take_over(role: &str) -> String {
    format!(
        r"DO $kosuke$
DECLARE item record;
BEGIN
  FOR item IN
    SELECT format('ALTER SCHEMA %I OWNER TO %I', n.nspname, {role}) AS sql, 0 AS rank
      FROM pg_namespace n
     WHERE n.nspowner = current_user::regrole AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    UNION ALL
    SELECT format('ALTER TABLE %s OWNER TO %I', c.oid::regclass, {role}), 1
      FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE c.relowner = current_user::regrole AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
       AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.classid = 'pg_class'::regclass AND d.deptype IN ('e', 'a', 'i'))
    UNION ALL
    SELECT format('ALTER ROUTINE %s OWNER TO %I', p.oid::regprocedure, {role}), 2
      FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
     WHERE p.proowner = current_user::regrole AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e')
    UNION ALL
    SELECT format('ALTER TYPE %s OWNER TO %I', t.oid::regtype, {role}), 3
      FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
     WHERE t.typowner = current_user::regrole AND t.typtype IN ('e', 'd', 'r')
       AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = t.oid AND d.classid = 'pg_type'::regclass AND d.deptype = 'e')
    ORDER BY rank
  LOOP
    EXECUTE item.sql;
  END LOOP;
END $kosuke$",
        role = quote_text(role)
    )
}

/// Reads a DSN. `verify-ca` and `verify-full` are ours to know: the driver has only `disable`, `prefer` and `require`.
fn parse_url(url: &str) -> Result<(Config, bool), Error> {
    let mut verify = false;
    let mut text = url.to_owned();
    for mode in ["verify-full", "verify-ca"] {
        let from = format!("sslmode={mode}");
        if text.contains(&from) {
            verify = true;
            text = text.replace(&from, "sslmode=require");
        }
    }
    let config: Config = text.parse().map_err(|_| Error::InvalidSetting {
        field: "preview_postgres_url",
        problem: "is not a Postgres connection URL".into(),
    })?;
    Ok((config, verify))
}

/// An SQL name, quoted only when needed.
fn quote_name(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain { name.to_owned() } else { format!("\"{}\"", name.replace('"', "\"\"")) }
}

fn quote_text(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
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
        })
    }

    #[test]
    fn names_are_quoted_only_when_needed() {
        assert_eq!(quote_name("kosuke_project_123"), "kosuke_project_123");
        assert_eq!(quote_name("a\"B-c"), "\"a\"\"B-c\"");
        assert_eq!(quote_text("a'b"), "'a''b'");
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

    #[test]
    fn a_bad_url_is_not_repeated() {
        let error = parse_url("postgresql://u:secret@:bad:port/").map(|_| ()).map_err(|error| error.to_string());
        assert!(error.as_ref().is_err_and(|text| !text.contains("secret")), "{error:?}");
    }

    #[test]
    fn only_verify_modes_check_the_certificate() -> Result<(), Error> {
        for (mode, verify, expected) in [
            ("disable", false, SslMode::Disable),
            ("prefer", false, SslMode::Prefer),
            ("require", false, SslMode::Require),
            ("verify-ca", true, SslMode::Require),
            ("verify-full", true, SslMode::Require),
        ] {
            let (config, verified) = parse_url(&format!("postgresql://u@h/db?sslmode={mode}"))?;
            assert_eq!((config.get_ssl_mode(), verified), (expected, verify), "{mode}");
        }
        Ok(())
    }
}

//! One short-lived connection. However a call ends, its statement and its session end on the server, too.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{CancelToken, Client, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{DatabaseError, StepError, failure};
use super::sql::quote_text;

/// Closing a session takes a moment; a frozen server never answers.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);
/// A cancel that arrives before its statement has no effect, so it is sent again.
const CANCEL_TRIES: u32 = 5;
/// When two sessions change one catalogue row, the later one fails and tries again.
const BUSY_TRIES: u32 = 30;
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(100);
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// The first half of the advisory locks' keys.
const LOCK_CLASS: i32 = 0x6b6f_7375;

pub(super) struct Connection {
    client: Client,
    guard: CancelOnDrop,
}

impl Connection {
    pub(super) fn new(
        client: Client,
        driver: JoinHandle<()>,
        tls: Option<MakeRustlsConnect>,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let guard = CancelOnDrop { open: Some(Open { cancel: client.cancel_token(), tls, driver, _slot: slot }) };
        Self { client, guard }
    }

    /// Ends the session and waits until the socket is closed.
    pub(super) async fn close(mut self) {
        let open = self.guard.open.take();
        drop(self);
        if let Some(Open { mut driver, .. }) = open
            && tokio::time::timeout(CLOSE_TIMEOUT, &mut driver).await.is_err()
        {
            driver.abort();
        }
    }

    /// Closes the connection after a call that ended in time; one that did not is cancelled.
    pub(super) async fn finish<T>(
        self,
        done: Result<Result<T, DatabaseError>, Elapsed>,
        limit: Duration,
    ) -> Result<T, DatabaseError> {
        let Ok(done) = done else {
            return Err(DatabaseError::new("wait", format!("no answer within {} s", limit.as_secs())));
        };
        self.close().await;
        done
    }

    pub(super) async fn run(&self, step: &'static str, sql: &str) -> Result<(), StepError> {
        self.client.batch_execute(sql).await.map_err(|error| StepError { step, error })
    }

    pub(super) async fn rows(
        &self,
        step: &'static str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DatabaseError> {
        self.client.query(sql, values).await.map_err(|error| failure(step, &error))
    }

    pub(super) async fn row(
        &self,
        step: &'static str,
        sql: &str,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, DatabaseError> {
        self.client.query_opt(sql, values).await.map_err(|error| failure(step, &error))
    }

    /// Runs a statement, and runs it again while others change the same catalogue row («tuple concurrently updated»).
    pub(super) async fn retry_while_busy(&self, step: &'static str, sql: &str) -> Result<(), StepError> {
        let busy = [SqlState::INTERNAL_ERROR, SqlState::UNIQUE_VIOLATION, SqlState::T_R_DEADLOCK_DETECTED];
        for _ in 0..BUSY_TRIES {
            match self.run(step, sql).await {
                Err(error) if error.is(&busy) => tokio::time::sleep(BUSY_PAUSE).await,
                other => return other,
            }
        }
        self.run(step, sql).await
    }

    /// As [`Self::retry_while_busy`]. False: the admin may not do this, which is logged.
    pub(super) async fn run_if_allowed(
        &self,
        database: &str,
        step: &'static str,
        sql: &str,
    ) -> Result<bool, DatabaseError> {
        match self.retry_while_busy(step, sql).await {
            Ok(()) => Ok(true),
            Err(error) if error.is(&[SqlState::INSUFFICIENT_PRIVILEGE]) => {
                log::warn!(target: "kosuke_docker::database", "database {database}: {}", DatabaseError::from(error));
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Keeps other processes' calls about these databases out until the connection ends, or until [`LOCK_TIMEOUT`] is
    /// over: every call is safe without the lock, and any role may take one and keep it.
    pub(super) async fn lock(&self, databases: &[&str]) -> Result<(), DatabaseError> {
        let mut databases = databases.to_vec();
        databases.sort_unstable();
        for name in databases {
            let sql = format!(
                "SET lock_timeout = {}; SELECT pg_advisory_lock({LOCK_CLASS}, hashtext({})); RESET lock_timeout",
                LOCK_TIMEOUT.as_millis(),
                quote_text(name)
            );
            match self.run("wait for others", &sql).await {
                Err(error) if error.is(&[SqlState::LOCK_NOT_AVAILABLE]) => {
                    log::warn!(target: "kosuke_docker::database", "database {name}: others work on it, too");
                }
                other => other?,
            }
        }
        Ok(())
    }
}

/// Cancels what still runs when a connection is dropped without a close.
struct CancelOnDrop {
    open: Option<Open>,
}

struct Open {
    cancel: CancelToken,
    tls: Option<MakeRustlsConnect>,
    driver: JoinHandle<()>,
    /// Given back when the session has ended on the server, not when its caller left.
    _slot: Option<OwnedSemaphorePermit>,
}

impl Drop for CancelOnDrop {
    /// A cancelled call only drops a future: the server would run its statement to the end and hold its locks.
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn(open.cancel())),
            Err(_) => open.driver.abort(),
        }
    }
}

impl Open {
    async fn cancel(mut self) {
        for _ in 0..CANCEL_TRIES {
            let cancelling = async {
                match &self.tls {
                    Some(tls) => self.cancel.cancel_query(tls.clone()).await,
                    None => self.cancel.cancel_query(NoTls).await,
                }
            };
            if let Ok(Err(error)) = tokio::time::timeout(CLOSE_TIMEOUT, cancelling).await {
                log::debug!(target: "kosuke_docker::database", "cancel: {error}");
            }
            if tokio::time::timeout(CLOSE_TIMEOUT, &mut self.driver).await.is_ok() {
                return;
            }
        }
        self.driver.abort();
    }
}

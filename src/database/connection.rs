//! One short-lived connection. However it ends, no statement and no session of it stays on the server.

use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use tokio_postgres::{CancelToken, Client, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::error::DatabaseError;

/// A goodbye takes a moment; a frozen server never answers it.
const GOODBYE: Duration = Duration::from_secs(2);
/// A cancel that overtakes its statement does nothing: it is sent again.
const CANCELS: u32 = 5;
/// Two sessions that change one catalogue row: the later one tries again.
const BUSY_TRIES: u32 = 30;
pub(super) const BUSY_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct Connection {
    client: Client,
    guard: Guard,
}

impl Connection {
    pub(super) fn new(
        client: Client,
        driver: JoinHandle<()>,
        tls: Option<MakeRustlsConnect>,
        slot: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let guard = Guard { open: Some(Open { cancel: client.cancel_token(), tls, driver, _slot: slot }) };
        Self { client, guard }
    }

    /// Says goodbye and waits until the socket is closed.
    pub(super) async fn close(mut self) {
        let open = self.guard.open.take();
        drop(self);
        if let Some(Open { mut driver, .. }) = open
            && tokio::time::timeout(GOODBYE, &mut driver).await.is_err()
        {
            driver.abort();
        }
    }

    /// Closes after work that ended; work that was late is cancelled.
    pub(super) async fn end<T>(
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

    /// Runs it again while others change the same row of a catalogue: «tuple concurrently updated» and its kin.
    pub(super) async fn settle(&self, step: &'static str, sql: &str) -> Result<(), StepError> {
        let busy = [SqlState::INTERNAL_ERROR, SqlState::UNIQUE_VIOLATION, SqlState::T_R_DEADLOCK_DETECTED];
        for _ in 0..BUSY_TRIES {
            match self.run(step, sql).await {
                Err(error) if error.is(&busy) => tokio::time::sleep(BUSY_PAUSE).await,
                other => return other,
            }
        }
        self.run(step, sql).await
    }

    /// Tells whether the admin may do this; that it may not is logged.
    pub(super) async fn permitted(&self, name: &str, step: &'static str, sql: &str) -> Result<bool, DatabaseError> {
        match self.settle(step, sql).await {
            Ok(()) => Ok(true),
            Err(error) if error.is(&[SqlState::INSUFFICIENT_PRIVILEGE]) => {
                log::warn!(target: "kosuke_docker::database", "database {name}: {}", DatabaseError::from(error));
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

struct Guard {
    open: Option<Open>,
}

struct Open {
    cancel: CancelToken,
    tls: Option<MakeRustlsConnect>,
    driver: JoinHandle<()>,
    /// Given back when the server is rid of the session, not when its caller left.
    _slot: Option<OwnedSemaphorePermit>,
}

impl Drop for Guard {
    /// A caller that leaves drops a future; the server knows nothing of that and would go on, holding what it locked.
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
        for _ in 0..CANCELS {
            let cancelling = async {
                match &self.tls {
                    Some(tls) => self.cancel.cancel_query(tls.clone()).await,
                    None => self.cancel.cancel_query(NoTls).await,
                }
            };
            if let Ok(Err(error)) = tokio::time::timeout(GOODBYE, cancelling).await {
                log::debug!(target: "kosuke_docker::database", "cancel: {error}");
            }
            if tokio::time::timeout(GOODBYE, &mut self.driver).await.is_ok() {
                return;
            }
        }
        self.driver.abort();
    }
}

pub(super) struct StepError {
    step: &'static str,
    error: tokio_postgres::Error,
}

impl StepError {
    pub(super) fn is(&self, states: &[SqlState]) -> bool {
        self.error.code().is_some_and(|code| states.contains(code))
    }
}

impl From<StepError> for DatabaseError {
    fn from(StepError { step, error }: StepError) -> Self {
        failure(step, &error)
    }
}

pub(super) fn failure(step: &'static str, error: &tokio_postgres::Error) -> DatabaseError {
    let message = match error.as_db_error() {
        Some(db) => format!("{} (SQLSTATE {})", db.message(), db.code().code()),
        None => match std::error::Error::source(error) {
            Some(cause) => format!("{error}: {cause}"),
            None => error.to_string(),
        },
    };
    DatabaseError { step, message, sqlstate: error.code().map(|code| code.code().to_owned()) }
}

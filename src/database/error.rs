//! [`DatabaseError`]: what a call to the database server failed with.

use tokio_postgres::error::SqlState;

/// A failure of one call to the database server. Never holds a password.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{step}: {message}")]
pub struct DatabaseError {
    /// The step that failed, as a short phrase: `create database`.
    pub step: &'static str,
    /// The server's or the driver's own words.
    pub message: String,
    /// The server's five-character code, where it said something.
    pub sqlstate: Option<String>,
}

impl DatabaseError {
    /// An error that did not come from the server.
    #[must_use]
    pub fn new(step: &'static str, message: impl Into<String>) -> Self {
        Self { step, message: message.into(), sqlstate: None }
    }
}

/// What the driver said about a statement, with the step that the statement belongs to.
pub(super) struct StepError {
    pub(super) step: &'static str,
    pub(super) error: tokio_postgres::Error,
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

/// The error in the server's own words, where it sent some.
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

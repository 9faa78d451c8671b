//! [`DatabaseError`]: what a call to the database server failed with.

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

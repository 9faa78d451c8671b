//! What is asked of a preview's page, and what comes of it.

use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::next_tools::{NextTool, NoToolAnswer};
use crate::preview::Endpoint;

/// Where a preview is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProbeTarget {
    /// What to connect to.
    pub endpoint: Endpoint,
    /// The path to ask for.
    pub path: String,
    /// Whether it speaks HTTPS. Its certificate is not checked.
    pub https: bool,
    /// Whether a script is asked for. A page in its place is no answer: Vite gives its document for what it does not know.
    pub script: bool,
    /// Whether the connection is kept for a moment: the next request comes soon.
    pub keep: bool,
}

impl ProbeTarget {
    /// A path at an endpoint.
    #[must_use]
    pub fn new(endpoint: Endpoint, path: &str) -> Self {
        Self { endpoint, path: path.to_owned(), https: false, script: false, keep: false }
    }

    /// A path on the host and port of a URL; None: it is not `http://host:port`.
    #[must_use]
    pub fn on_host_of(url: &str, path: &str) -> Option<Self> {
        let authority = url.strip_prefix("http://")?.split('/').next()?;
        let (host, port) = authority.rsplit_once(':')?;
        Some(Self::new(Endpoint { host: host.to_owned(), port: port.parse().ok()? }, path))
    }
}

/// What a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The final status.
    Status(u16),
    /// Nothing listens, or the connection was dropped before an answer.
    NoServer,
    /// Connected, but no answer within the deadline.
    TooLate,
}

impl Answer {
    /// The final status is 2xx.
    #[must_use]
    pub fn is_good(self) -> bool {
        matches!(self, Self::Status(200..=299))
    }

    /// The status, where there was one.
    #[must_use]
    pub fn status(self) -> Option<u16> {
        match self {
            Self::Status(status) => Some(status),
            Self::NoServer | Self::TooLate => None,
        }
    }
}

/// Sends the requests.
#[async_trait]
pub trait Prober: Send + Sync + 'static {
    /// Asks once, following redirects within the preview, for `timeout` at the most.
    async fn ask(&self, target: &ProbeTarget, timeout: Duration) -> Answer;

    /// Whether the server refuses requests for this host name, as Vite and its kin do with those that they do not know.
    async fn refuses_host(&self, target: &ProbeTarget, host: &str, timeout: Duration) -> bool;

    /// Asks one of the tools that Next.js 16 has for agents, whatever the target's path. Only to be asked of such a server: Next.js 15 takes it for a
    /// page, compiles and prints.
    async fn ask_next(&self, target: &ProbeTarget, tool: NextTool, timeout: Duration) -> Result<Value, NoToolAnswer>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_2xx_is_good() {
        assert!(Answer::Status(204).is_good());
        assert!(!Answer::Status(302).is_good() && !Answer::NoServer.is_good());
    }

    #[test]
    fn the_host_of_a_url_is_asked() {
        let target = ProbeTarget::on_host_of("http://localhost:3001/x", "/health");
        let expected = ProbeTarget::new(Endpoint { host: "localhost".into(), port: 3001 }, "/health");
        assert_eq!(target, Some(expected));
        assert_eq!(ProbeTarget::on_host_of("https://x:1", "/"), None);
        assert_eq!(ProbeTarget::on_host_of("http://x", "/"), None);
    }
}

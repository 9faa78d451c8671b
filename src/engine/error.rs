//! How a call to an engine fails. What the rest decides on has a variant of its own; the engine's words are for people.

use std::path::PathBuf;
use std::time::Duration;

use super::spec::Secrets;

/// A failure of one call to an engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// No answer at all: nothing listens, the socket is missing, TLS failed.
    #[error("{0}")]
    Unreachable(String),
    /// The engine did not answer in time.
    #[error("no answer within {} s", .0.as_secs_f64())]
    Timeout(Duration),
    /// There is no such workload or network.
    #[error("{0}")]
    NotFound(String),
    /// The name is taken, or a removal is in progress.
    #[error("{0}")]
    Conflict(String),
    /// Every port of the range is taken.
    #[error("{0}")]
    PortsExhausted(String),
    /// A port that the engine chose is held by another program.
    #[error("{words}")]
    PortHeld {
        /// Which, where the engine said so.
        port: Option<u16>,
        /// The engine's words.
        words: String,
    },
    /// The one port of this container is held, by another container or program: it has to be made anew with another.
    #[error("{0}")]
    PortTaken(String),
    /// Two networks have the name, until the process that made the second has removed it.
    #[error("{0}")]
    NetworkAmbiguous(String),
    /// The source of a mount is missing on the engine's machine.
    #[error("{words}")]
    MountSourceMissing {
        /// The source.
        path: PathBuf,
        /// The engine's words.
        words: String,
    },
    /// The engine does not have the image, and cannot pull it.
    #[error("{0}")]
    ImageNotFound(String),
    /// The registry wants other credentials, or gives the image to nobody.
    #[error("{0}")]
    RegistryDenied(String),
    /// Anything else that the engine refused, in its words.
    #[error("{0}")]
    Refused(String),
}

impl EngineError {
    /// The same with `***` in place of each of the secrets in its words.
    #[must_use]
    pub(crate) fn hiding(self, secrets: &Secrets) -> Self {
        let hide = |words| secrets.hide(words);
        match self {
            Self::Unreachable(words) => Self::Unreachable(hide(words)),
            Self::Timeout(duration) => Self::Timeout(duration),
            Self::NotFound(words) => Self::NotFound(hide(words)),
            Self::Conflict(words) => Self::Conflict(hide(words)),
            Self::PortsExhausted(words) => Self::PortsExhausted(hide(words)),
            Self::PortHeld { port, words } => Self::PortHeld { port, words: hide(words) },
            Self::PortTaken(words) => Self::PortTaken(hide(words)),
            Self::NetworkAmbiguous(words) => Self::NetworkAmbiguous(hide(words)),
            Self::MountSourceMissing { path, words } => Self::MountSourceMissing { path, words: hide(words) },
            Self::ImageNotFound(words) => Self::ImageNotFound(hide(words)),
            Self::RegistryDenied(words) => Self::RegistryDenied(hide(words)),
            Self::Refused(words) => Self::Refused(hide(words)),
        }
    }

    /// Whether the engine did not answer, so that nothing is known about what was asked for.
    #[must_use]
    pub fn is_no_answer(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Timeout(_))
    }
}

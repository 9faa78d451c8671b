//! What can go wrong, one variant per operation, with the engine's or the server's own words kept.

use std::path::PathBuf;
use std::time::Duration;

use crate::database::DatabaseError;
use crate::engine::{EngineError, PortRange};
use crate::id::PreviewId;
use crate::preview::{Phase, Preview};
use crate::settings::InvalidSetting;

/// What an operation of the service failed with. Clone, because all callers that joined it get the same.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument that cannot be used; nothing was made.
    #[error("{field}: {problem}")]
    InvalidInput {
        /// The argument's name, with the key for a mapping: `env_vars['A=B']`.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A setting that cannot be used.
    #[error("{field} ({}): {problem}", .field.to_uppercase())]
    InvalidSetting {
        /// The setting's name as the `Settings` field.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The project's folder is missing or not inside `PROJECTS_DIR`; nothing was made.
    #[error("{preview}: project folder {}: {problem}", path.display())]
    ProjectFolder {
        /// Whose folder.
        preview: PreviewId,
        /// The folder looked for.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The engine does not answer.
    #[error("Docker is not available ({operation}): {source}")]
    DockerUnavailable {
        /// The operation that needed it.
        operation: &'static str,
        /// For whom, where it was for one.
        preview: Option<PreviewId>,
        /// The cause.
        source: EngineError,
    },
    /// The image is neither here nor to be had.
    #[error("image {image}: {}: {source}. PREVIEW_DEFAULT_IMAGE chooses another image", no_image(.source))]
    ImageNotFound {
        /// For whom, where it was for one.
        preview: Option<PreviewId>,
        /// The image's reference.
        image: String,
        /// The engine's or the registry's words.
        source: EngineError,
    },
    /// No port of the range is free.
    #[error("{preview}: no free port in {first}-{last} (PREVIEW_PORT_RANGE_START to PREVIEW_PORT_RANGE_END): {source}")]
    PortRangeExhausted {
        /// For whom.
        preview: PreviewId,
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
        /// The engine's words.
        source: EngineError,
    },
    /// The engine refused to create or start the container; nothing of the attempt is left.
    #[error("{preview}: could not {} the container: {source}", step_words(.step))]
    ContainerStart {
        /// For whom.
        preview: PreviewId,
        /// `network`, `create`, `start` or `restart`.
        step: &'static str,
        /// The engine's words.
        source: EngineError,
    },
    /// A container of our name that is not ours to remove.
    #[error("{preview}: container {name} {problem}")]
    ContainerConflict {
        /// For whom.
        preview: PreviewId,
        /// The container's name.
        name: String,
        /// Why it cannot be used.
        problem: String,
    },
    /// The preview cannot become what was waited for any more.
    #[error("{preview}: {problem}{}", lines_words(.last_lines))]
    PreviewFailed {
        /// Whose.
        preview: PreviewId,
        /// What happened, in a sentence.
        problem: String,
        /// The exit code, where the container ended and it is known.
        exit_code: Option<i64>,
        /// The last lines of its output.
        last_lines: Vec<String>,
        /// All that was known about it; None where there was none.
        last: Option<Box<Preview>>,
    },
    /// The preview was not ready in time.
    #[error("{preview}: not ready within {} s: {}{}{}", .timeout.as_secs_f64(), phase_words(.last.as_deref()), stage_words(.stages), lines_words(.last_lines))]
    NotReady {
        /// Whose.
        preview: PreviewId,
        /// How long was waited.
        timeout: Duration,
        /// How long it was in each phase.
        stages: Vec<(Phase, Duration)>,
        /// The last lines of its output.
        last_lines: Vec<String>,
        /// All that was known about it.
        last: Option<Box<Preview>>,
    },
    /// There is no preview.
    #[error("{preview}: there is no preview")]
    NoPreview {
        /// What was to be done with it.
        operation: &'static str,
        /// Whose.
        preview: PreviewId,
    },
    /// An operation on the database failed, or it could not be made and `POSTGRES_REQUIRED` is set.
    #[error("{}database: {source}", preview_words(.preview.as_ref()))]
    Database {
        /// For whom, where it was for one.
        preview: Option<PreviewId>,
        /// The cause.
        source: DatabaseError,
    },
    /// The engine did not answer within `ENGINE_TIMEOUT`.
    #[error("{operation}: {source}")]
    Timeout {
        /// The operation that waited.
        operation: &'static str,
        /// For whom, where it was for one.
        preview: Option<PreviewId>,
        /// How long it waited.
        source: EngineError,
    },
    /// The engine refused something else.
    #[error("{operation}: {source}")]
    Engine {
        /// The operation.
        operation: &'static str,
        /// For whom, where it was for one.
        preview: Option<PreviewId>,
        /// The engine's words.
        source: EngineError,
    },
    /// A replaced hook raised; the caller that brought the hook gets its own exception.
    #[error("{}{hook} failed: {message}", preview_words(.preview.as_ref()))]
    Hook {
        /// For whom, where it was for one.
        preview: Option<PreviewId>,
        /// The hook's name.
        hook: &'static str,
        /// The exception as text.
        message: String,
    },
    /// The service was closed while this ran.
    #[error("{operation}: the service is closed")]
    Closed {
        /// The operation.
        operation: &'static str,
    },
    /// Every caller left, so the attempt was undone. A caller that came too late starts anew; none ever sees this.
    #[error("{}the start was abandoned", preview_words(.preview.as_ref()))]
    Abandoned {
        /// Whose, where it was for one.
        preview: Option<PreviewId>,
    },
}

/// A step of a start as a verb.
fn step_words(step: &'static str) -> &'static str {
    if step == "network" { "find a network for" } else { step }
}

/// Why an image is not to be had, in words, before the registry's own.
fn no_image(source: &EngineError) -> &'static str {
    let words = source.to_string().to_lowercase();
    let has = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    if matches!(source, EngineError::RegistryDenied(_)) {
        "the registry gives it to nobody without the right login (`docker login`), or does not have it"
    } else if has(&[
        "no such host",
        "dial tcp",
        "i/o timeout",
        "connection refused",
        "tls handshake",
        "deadline exceeded",
    ]) {
        "it is not here, and its registry cannot be reached"
    } else if has(&["manifest unknown", "manifest for", "not found", "unknown"]) {
        "it is not here, and the registry has no image of this name and tag"
    } else if words.contains("pull policy") {
        "it may not be pulled"
    } else {
        "it is not here, and cannot be pulled"
    }
}

fn preview_words(preview: Option<&PreviewId>) -> String {
    preview.map_or_else(String::new, |preview| format!("{preview}: "))
}

fn phase_words(last: Option<&Preview>) -> String {
    match last {
        Some(Preview { phase, detail: Some(detail), .. }) => format!("{}: {detail}", phase.as_str()),
        Some(preview) => preview.phase.as_str().to_owned(),
        None => "there is no preview".to_owned(),
    }
}

fn stage_words(stages: &[(Phase, Duration)]) -> String {
    let told: Vec<_> =
        stages.iter().map(|(phase, spent)| format!("{} {:.1} s", phase.as_str(), spent.as_secs_f64())).collect();
    if told.is_empty() { String::new() } else { format!(" ({})", told.join(", ")) }
}

fn lines_words(lines: &[String]) -> String {
    if lines.is_empty() { String::new() } else { format!("\n{}", lines.join("\n")) }
}

impl From<InvalidSetting> for Error {
    fn from(InvalidSetting { field, problem }: InvalidSetting) -> Self {
        Self::InvalidSetting { field, problem }
    }
}

impl Error {
    /// What is known about the preview says that it cannot become ready.
    pub(crate) fn failed(id: &PreviewId, last: Option<Preview>) -> Self {
        let preview = id.clone();
        match last {
            None => Self::PreviewFailed {
                preview,
                problem: "there is no preview, and none is being made".into(),
                exit_code: None,
                last_lines: Vec::new(),
                last: None,
            },
            Some(last) => Self::PreviewFailed {
                preview,
                problem: phase_words(Some(&last)),
                exit_code: last.exit_code,
                last_lines: last.last_lines.clone(),
                last: Some(Box::new(last)),
            },
        }
    }

    /// The container ended before it was known to anybody.
    pub(crate) fn ended(id: &PreviewId, exit_code: Option<i64>, last_lines: Vec<String>) -> Self {
        let with = exit_code.map_or_else(String::new, |code| format!(" with exit code {code}"));
        let problem = format!("the container ended{with}");
        Self::PreviewFailed { preview: id.clone(), problem, exit_code, last_lines, last: None }
    }

    /// A failure of the database server.
    pub(crate) fn database(preview: &PreviewId, source: DatabaseError) -> Self {
        Self::Database { preview: Some(preview.clone()), source }
    }

    /// An engine failure in an operation: unreachable and time-out have variants of their own.
    pub(crate) fn engine(operation: &'static str, preview: Option<&PreviewId>, source: EngineError) -> Self {
        let preview = preview.cloned();
        match source {
            EngineError::Unreachable(_) => Self::DockerUnavailable { operation, preview, source },
            EngineError::Timeout(_) => Self::Timeout { operation, preview, source },
            _ => Self::Engine { operation, preview, source },
        }
    }

    /// An engine failure while a container is created, started or restarted.
    pub(crate) fn start(
        id: &PreviewId,
        step: &'static str,
        image: &str,
        ports: PortRange,
        source: EngineError,
    ) -> Self {
        let preview = id.clone();
        match source {
            source if source.is_no_answer() => Self::engine(step, Some(id), source),
            EngineError::ImageNotFound(_) => {
                Self::ImageNotFound { preview: Some(preview), image: image.to_owned(), source }
            }
            EngineError::PortsExhausted(_) | EngineError::PortHeld { .. } | EngineError::PortTaken(_) => {
                Self::PortRangeExhausted { preview, first: ports.first, last: ports.last, source }
            }
            EngineError::MountSourceMissing { path, .. } => {
                Self::ProjectFolder { preview, path, problem: "does not exist on the engine's machine".into() }
            }
            source => Self::ContainerStart { preview, step, source },
        }
    }

    /// A start that nobody waits for any more.
    pub(crate) fn abandoned(id: &PreviewId) -> Self {
        Self::Abandoned { preview: Some(id.clone()) }
    }

    /// The operation that failed, as the name of the method or step.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        match self {
            Self::DockerUnavailable { operation, .. }
            | Self::Timeout { operation, .. }
            | Self::Engine { operation, .. }
            | Self::NoPreview { operation, .. }
            | Self::Closed { operation } => operation,
            Self::InvalidInput { .. } => "validate",
            Self::InvalidSetting { .. } => "configure",
            Self::ContainerStart { step, .. } => step,
            Self::ProjectFolder { .. } => "folder",
            Self::ImageNotFound { .. } => "image",
            Self::PortRangeExhausted { .. } | Self::Abandoned { .. } => "start",
            Self::ContainerConflict { .. } => "adopt",
            Self::PreviewFailed { .. } => "run",
            Self::NotReady { .. } => "wait",
            Self::Database { .. } => "database",
            Self::Hook { hook, .. } => hook,
        }
    }

    /// The preview it was about, where it was about one.
    #[must_use]
    pub fn preview(&self) -> Option<&PreviewId> {
        match self {
            Self::DockerUnavailable { preview, .. }
            | Self::Timeout { preview, .. }
            | Self::Engine { preview, .. }
            | Self::ImageNotFound { preview, .. }
            | Self::Database { preview, .. }
            | Self::Hook { preview, .. }
            | Self::Abandoned { preview } => preview.as_ref(),
            Self::ProjectFolder { preview, .. }
            | Self::PortRangeExhausted { preview, .. }
            | Self::ContainerStart { preview, .. }
            | Self::ContainerConflict { preview, .. }
            | Self::PreviewFailed { preview, .. }
            | Self::NotReady { preview, .. }
            | Self::NoPreview { preview, .. } => Some(preview),
            Self::InvalidInput { .. } | Self::InvalidSetting { .. } | Self::Closed { .. } => None,
        }
    }

    /// The engine's or the server's own message, where it said something.
    #[must_use]
    pub fn engine_message(&self) -> Option<String> {
        match self {
            Self::DockerUnavailable { source, .. }
            | Self::ImageNotFound { source, .. }
            | Self::PortRangeExhausted { source, .. }
            | Self::ContainerStart { source, .. }
            | Self::Timeout { source, .. }
            | Self::Engine { source, .. } => Some(source.to_string()),
            Self::Database { source, .. } => Some(source.message.clone()),
            _ => None,
        }
    }
}

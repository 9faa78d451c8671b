//! What callers are told about a preview.

use std::time::SystemTime;

/// Where a preview is in its life (`SEMANTICS` 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The image is being pulled.
    Pulling,
    /// The container is being made.
    Creating,
    /// The container runs, its dev server is not up.
    Starting,
    /// The dev server is up, the page is not compiled yet.
    Compiling,
    /// Compiled and answered.
    Ready,
    /// Compile errors stand.
    CompileError,
    /// Answered before, does not now.
    Unresponsive,
    /// The container is paused.
    Paused,
    /// A process of it was killed for memory.
    OomKilled,
    /// It is being stopped.
    Stopping,
    /// Its container ended.
    Exited,
    /// The engine does not answer: what is told is the last known.
    EngineUnreachable,
}

impl Phase {
    /// The phase's name as users see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pulling => "pulling",
            Self::Creating => "creating",
            Self::Starting => "starting",
            Self::Compiling => "compiling",
            Self::Ready => "ready",
            Self::CompileError => "compile_error",
            Self::Unresponsive => "unresponsive",
            Self::Paused => "paused",
            Self::OomKilled => "oom_killed",
            Self::Stopping => "stopping",
            Self::Exited => "exited",
            Self::EngineUnreachable => "engine_unreachable",
        }
    }

    /// Every phase, in the order of the table.
    pub const ALL: [Self; 12] = [
        Self::Pulling,
        Self::Creating,
        Self::Starting,
        Self::Compiling,
        Self::Ready,
        Self::CompileError,
        Self::Unresponsive,
        Self::Paused,
        Self::OomKilled,
        Self::Stopping,
        Self::Exited,
        Self::EngineUnreachable,
    ];
}

/// What became of the preview's database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseState {
    /// It exists and the container was told how to reach it.
    Ready,
    /// It could not be made; the log says why.
    Unavailable,
    /// No database server is configured.
    Disabled,
}

impl DatabaseState {
    /// The state's name as users and labels see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Unavailable => "unavailable",
            Self::Disabled => "disabled",
        }
    }

    /// The reverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ready, Self::Unavailable, Self::Disabled].into_iter().find(|state| state.as_str() == text)
    }
}

/// How well the preview's database is kept apart from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// A role of its own that owns this database and may connect to no other.
    Role,
    /// A role of its own that may still connect to other databases, or the admin lacked the rights for a part of the rest.
    Partial,
    /// The admin's own credentials: as the settings say, or because the database hook was replaced.
    Admin,
}

impl Isolation {
    /// The name as users and labels see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Role => "role",
            Self::Partial => "partial",
            Self::Admin => "admin",
        }
    }

    /// The reverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Role, Self::Partial, Self::Admin].into_iter().find(|isolation| isolation.as_str() == text)
    }
}

/// What kind of thing is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The code does not parse.
    Syntax,
    /// An import that leads nowhere.
    ModuleNotFound,
    /// The type checker refused it.
    Type,
    /// Code of the project threw while the page was made.
    Runtime,
    /// A configuration file is broken.
    Config,
    /// An environment variable is missing or invalid.
    Environment,
    /// None of these.
    Unknown,
}

impl ErrorKind {
    /// Every kind.
    pub const ALL: [Self; 7] =
        [Self::Syntax, Self::ModuleNotFound, Self::Type, Self::Runtime, Self::Config, Self::Environment, Self::Unknown];

    /// The kind's name as users see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "syntax",
            Self::ModuleNotFound => "module_not_found",
            Self::Type => "type",
            Self::Runtime => "runtime",
            Self::Config => "config",
            Self::Environment => "environment",
            Self::Unknown => "unknown",
        }
    }

    /// The reverse of [`Self::as_str`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// An error that a dev server printed about the project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompileError {
    /// The file, relative to the project's folder.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u32>,
    /// The column, as the server counts: Babel and esbuild from 0, the others from 1.
    pub column: Option<u32>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What kind of thing is wrong.
    pub kind: ErrorKind,
    /// What was printed, without colours and passwords, cut where it is long.
    pub raw: String,
}

/// All that is known about one preview at one moment. The Python model `Preview` has the same fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Preview {
    /// The project's id.
    pub project_id: u64,
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether its container runs.
    pub running: bool,
    /// The address for people, while it runs.
    pub url: Option<String>,
    /// The port of that address.
    pub port: Option<u16>,
    /// The container's id.
    pub container_id: Option<String>,
    /// The container's name.
    pub container_name: String,
    /// The page was compiled and answered, and no compile error stands.
    pub compilation_complete: bool,
    /// The health path answered with 2xx.
    pub is_responding: bool,
    /// The last status of the health path.
    pub http_status: Option<u16>,
    /// The compile errors that stand.
    pub errors: Vec<CompileError>,
    /// The exit code, once it ended.
    pub exit_code: Option<i64>,
    /// The last lines of output, once it ended.
    pub last_lines: Vec<String>,
    /// How many times a process of the container was killed for memory.
    pub oom_count: u32,
    /// When that happened last.
    pub last_oom_at: Option<SystemTime>,
    /// What became of its database; None for a container that the older service made.
    pub database: Option<DatabaseState>,
    /// The database's name.
    pub database_name: Option<String>,
    /// How the database is kept apart.
    pub database_isolation: Option<Isolation>,
    /// Why the database is unavailable, or not kept apart in full.
    pub database_detail: Option<String>,
    /// A sentence for people, where there is something to say.
    pub detail: Option<String>,
    /// When its container was made.
    pub created_at: Option<SystemTime>,
    /// When its container was last started.
    pub started_at: Option<SystemTime>,
    /// When this process first knew that the page had been compiled in this run.
    pub ready_at: Option<SystemTime>,
    /// When its container ended.
    pub finished_at: Option<SystemTime>,
    /// When this was true.
    pub as_of: SystemTime,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_round_trip() {
        for state in [DatabaseState::Ready, DatabaseState::Unavailable, DatabaseState::Disabled] {
            assert_eq!(DatabaseState::parse(state.as_str()), Some(state));
        }
        for isolation in [Isolation::Role, Isolation::Partial, Isolation::Admin] {
            assert_eq!(Isolation::parse(isolation.as_str()), Some(isolation));
        }
        assert_eq!(DatabaseState::parse("?"), None);
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::parse(kind.as_str()), Some(kind));
        }
    }
}

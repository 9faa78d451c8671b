//! The domain: which preview, what it is called everywhere, and what is known about it.

use std::fmt::{self, Write};
use std::time::SystemTime;

use sha2::{Digest, Sha256};

/// Label that marks a container as a preview of ours.
pub const LABEL_PREVIEW: &str = "kosuke.preview";
/// Label with the project's id.
pub const LABEL_PROJECT: &str = "kosuke.project_id";
/// Label with the deployment that owns the container.
pub const LABEL_OWNER: &str = "kosuke.owner";
/// Label with the token of the start that created the container.
pub const LABEL_START: &str = "kosuke.start";
/// Label with what became of the database: `ready`, `unavailable` or `disabled`.
pub const LABEL_DATABASE: &str = "kosuke.database";
/// Label with the database's name.
pub const LABEL_DATABASE_NAME: &str = "kosuke.database_name";
/// Label with how the database is kept apart: `role`, `partial` or `admin`.
pub const LABEL_ISOLATION: &str = "kosuke.database_isolation";
/// Label with why the database is unavailable, or not kept apart in full.
pub const LABEL_DATABASE_DETAIL: &str = "kosuke.database_detail";

/// What Postgres keeps of a name; it cuts off the rest without a word.
const MAX_NAME_BYTES: usize = 63;
/// 96 bits: nobody finds two sessions of one project with one name, not even on purpose.
const SESSION_HASH_BYTES: usize = 12;

/// The name of a database and of the role that owns it: `kosuke_project_<id>`; with a session a readable rest of its name
/// and a hash of all of it. ASCII, at most 63 bytes, and no two are alike. The mark on the database has the session's name.
#[must_use]
pub fn database_name(project_id: u64, session: Option<&str>) -> String {
    let mut name = format!("kosuke_project_{project_id}");
    let Some(session) = session else { return name };
    let mut hash = String::new();
    for byte in Sha256::digest(session.as_bytes()).iter().take(SESSION_HASH_BYTES) {
        // Writing to a String cannot fail.
        let _ = write!(hash, "{byte:02x}");
    }
    let room = MAX_NAME_BYTES.saturating_sub(name.len() + hash.len() + 2);
    let words = session.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let slug = words.collect::<Vec<_>>().join("_").to_ascii_lowercase();
    for part in [&slug[..slug.len().min(room)], &hash] {
        if !part.is_empty() {
            name.push('_');
            name.push_str(part);
        }
    }
    name
}

/// Which preview: a project (sessions come later).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PreviewKey {
    /// The project's id.
    pub project_id: u64,
}

impl PreviewKey {
    /// The preview of a project.
    #[must_use]
    pub fn project(project_id: u64) -> Self {
        Self { project_id }
    }

    /// The name of its container.
    #[must_use]
    pub fn container_name(&self, prefix: &str) -> String {
        format!("{prefix}{}", self.project_id)
    }

    /// The name of its database and of the role that owns it.
    #[must_use]
    pub fn database_name(&self) -> String {
        database_name(self.project_id, None)
    }

    /// The name of its folder below `PROJECTS_DIR`.
    #[must_use]
    pub fn folder_name(&self) -> String {
        self.project_id.to_string()
    }
}

impl fmt::Display for PreviewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "project {}", self.project_id)
    }
}

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
    fn names_follow_the_project_id() {
        let key = PreviewKey::project(123);
        assert_eq!(key.container_name("kosuke-preview-"), "kosuke-preview-123");
        assert_eq!(key.database_name(), "kosuke_project_123");
        assert_eq!(key.to_string(), "project 123");
    }

    #[test]
    fn database_names_are_safe_and_unique_whatever_the_session_is_called() {
        let long = "x".repeat(300);
        let sessions = [
            "",
            "a",
            "A",
            "a b",
            "a_b",
            "a-b",
            "main",
            "ünï",
            "unï",
            "日本",
            "日本語",
            "'; DROP DATABASE postgres; --",
            "\"",
            "\"\"",
            "'",
            "\\",
            "$1",
            "%s",
            "../..",
            "a\0b",
            "a\nb",
            "🦀",
            &long,
            &format!("{long}y"),
            &format!("{long}z"),
        ];
        let mut names = std::collections::HashSet::new();
        for id in [0, 7, 77, u64::MAX] {
            assert!(names.insert(database_name(id, None)));
            for session in sessions {
                let name = database_name(id, Some(session));
                assert!(name.len() <= MAX_NAME_BYTES, "{name}");
                assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'), "{name}");
                assert!(names.insert(name), "{session:?}");
            }
        }
        let name = database_name(7, Some("Feature/Log-in"));
        assert!(name.starts_with("kosuke_project_7_feature_log_in_"), "{name}");
    }

    proptest::proptest! {
        #[test]
        fn different_sessions_have_different_databases(one: String, other: String, id: u64) {
            let (first, second) = (database_name(id, Some(&one)), database_name(id, Some(&other)));
            proptest::prop_assert!(first.len() <= MAX_NAME_BYTES);
            proptest::prop_assert_eq!(first == second, one == other);
        }
    }

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

//! What callers are told about a preview.

use std::time::SystemTime;

use serde::{Serialize, Serializer};

use crate::id::PreviewId;

/// An enum whose variants have a name each, as users and labels see it.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$about])* $variant),+ }

        impl $name {
            /// Every one, in the order of their documentation.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name as users see it.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The reverse of [`Self::as_str`].
            #[must_use]
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|one| one.as_str() == text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}

/// A host and a port that can be connected to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// A name or an address; an IPv6 address stands in brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

named! {
    /// Where a preview is in its life: docs/semantics.md has the table.
    ///
    /// ```
    /// use kosuke_docker::preview::Phase;
    ///
    /// assert_eq!(Phase::CompileError.as_str(), "compile_error");
    /// assert_eq!(Phase::parse("ready"), Some(Phase::Ready));
    /// ```
    Phase {
        /// The image is being pulled.
        Pulling = "pulling",
        /// The container is being made.
        Creating = "creating",
        /// The container runs, its dev server is not up.
        Starting = "starting",
        /// The dev server is up, the page is not compiled yet.
        Compiling = "compiling",
        /// Compiled and answered.
        Ready = "ready",
        /// Compile errors stand.
        CompileError = "compile_error",
        /// Answered before, does not now.
        Unresponsive = "unresponsive",
        /// The container is paused.
        Paused = "paused",
        /// A process of it was killed for memory.
        OomKilled = "oom_killed",
        /// It is being stopped.
        Stopping = "stopping",
        /// Its container ended.
        Exited = "exited",
        /// The engine does not answer: what is told is the last known.
        EngineUnreachable = "engine_unreachable",
    }
}

named! {
    /// What became of the preview's database.
    DatabaseState {
        /// It exists and the container was told how to reach it.
        Ready = "ready",
        /// It could not be made; the log says why.
        Unavailable = "unavailable",
        /// No database server is configured.
        Disabled = "disabled",
    }
}

named! {
    /// How well the preview's database is kept apart from the others.
    Isolation {
        /// A role of its own that owns this database and may connect to no other.
        Role = "role",
        /// A role of its own that may still connect to other databases, or the admin lacked the rights for a part.
        Partial = "partial",
        /// The admin's own credentials: as the settings say, or because the database hook was replaced.
        Admin = "admin",
    }
}

named! {
    /// How far a preview's network keeps it apart.
    NetworkIsolation {
        /// It reaches the internet and its database, and no other preview, nor the engine's machine or a private network.
        Full = "full",
        /// It reaches no other preview, but the engine's machine and private networks.
        Partial = "partial",
        /// It reaches whatever is on the deployment's network: as the settings say, or because the engine cannot do better.
        Off = "off",
    }
}

named! {
    /// What kind of thing is wrong.
    ErrorKind {
        /// The code does not parse.
        Syntax = "syntax",
        /// An import that leads nowhere.
        ModuleNotFound = "module_not_found",
        /// The type checker refused it.
        Type = "type",
        /// Code of the project threw while the page was made.
        Runtime = "runtime",
        /// A configuration file is broken.
        Config = "config",
        /// An environment variable is missing or invalid.
        Environment = "environment",
        /// None of these.
        Unknown = "unknown",
    }
}

named! {
    /// What went wrong in a browser.
    BrowserErrorKind {
        /// An exception that nobody caught.
        Uncaught = "uncaught",
        /// A promise that was rejected, and nobody took that.
        UnhandledRejection = "unhandled_rejection",
        /// The page's code called `console.error`.
        Console = "console",
        /// What the server rendered is not what the browser did.
        Hydration = "hydration",
        /// A module or a part of the page could not be loaded.
        ModuleLoad = "module_load",
    }
}

named! {
    /// What a [`PreviewEvent`] tells.
    EventKind {
        /// The preview came into another phase.
        Phase = "phase",
        /// Compile errors were set or cleared.
        Errors = "errors",
        /// Errors in a browser came or went. Only told to who asked for it.
        BrowserErrors = "browser_errors",
        /// It is gone: stopped, or removed from outside.
        Removed = "removed",
        /// The subscriber was too slow, and events before this one are lost: look everything up anew.
        Gap = "gap",
    }
}

named! {
    /// Where a [`LogLine`] came from.
    LogSource {
        /// Standard output.
        Stdout = "stdout",
        /// Standard error.
        Stderr = "stderr",
        /// From nowhere: the line tells how many lines were lost here, because the reader was too slow.
        Gap = "gap",
    }
}

/// An error that a dev server printed about the project. The Python model `CompileError` has the same fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CompileError {
    /// The file, relative to the project's folder.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u32>,
    /// The column in it, as the dev server counts: Babel and esbuild from 0, the others from 1.
    pub column: Option<u32>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// What kind of thing is wrong.
    pub kind: ErrorKind,
    /// What was printed, without colours and passwords, cut where it is long.
    pub raw: String,
}

/// An error in a browser that has the page open, as the dev server passed it on. Its words are those of the page's own code:
/// they are bounded, and prove nothing. The Python model `BrowserError` has the same fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BrowserError {
    /// What went wrong.
    pub kind: BrowserErrorKind,
    /// What the browser said.
    pub message: String,
    /// The file, relative to the project's folder, where the dev server named one.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u32>,
    /// The column in it, from 1.
    pub column: Option<u32>,
    /// How often it was told.
    pub count: u64,
    /// When it was told first.
    #[serde(serialize_with = "seconds")]
    pub first_at: SystemTime,
    /// When it was told last.
    #[serde(serialize_with = "seconds")]
    pub last_at: SystemTime,
    /// The path of the page that was open, where that is known.
    pub page: Option<String>,
}

/// All that is known about one preview at one moment. The Python model `Preview` has the same fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// Which preview.
    #[serde(flatten)]
    pub id: PreviewId,
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
    /// What went wrong in browsers that have the page open, apart from `errors`: no phase follows from it.
    pub browser_errors: Vec<BrowserError>,
    /// The exit code, once it ended.
    pub exit_code: Option<i64>,
    /// The last lines of output, once it ended.
    pub last_lines: Vec<String>,
    /// How many times a process of the container was killed for memory.
    pub oom_count: u32,
    /// When that happened last.
    #[serde(serialize_with = "optional_seconds")]
    pub last_oom_at: Option<SystemTime>,
    /// What became of its database; None for a container that the older service made.
    pub database: Option<DatabaseState>,
    /// The database's name.
    pub database_name: Option<String>,
    /// How the database is kept apart.
    pub database_isolation: Option<Isolation>,
    /// Why the database is unavailable, or not kept apart in full.
    pub database_detail: Option<String>,
    /// How far its network keeps it apart; None for a container that the older service made.
    pub network_isolation: Option<NetworkIsolation>,
    /// Why it is not kept apart in full.
    pub network_detail: Option<String>,
    /// The names of the variables that a start asked for and that the running container has with other values.
    pub drift: Vec<String>,
    /// A sentence for people, where there is something to say.
    pub detail: Option<String>,
    /// When its container was made.
    #[serde(serialize_with = "optional_seconds")]
    pub created_at: Option<SystemTime>,
    /// When its container was last started.
    #[serde(serialize_with = "optional_seconds")]
    pub started_at: Option<SystemTime>,
    /// When this process first knew that the page had been compiled in this run.
    #[serde(serialize_with = "optional_seconds")]
    pub ready_at: Option<SystemTime>,
    /// When its container ended.
    #[serde(serialize_with = "optional_seconds")]
    pub finished_at: Option<SystemTime>,
    /// When this was true.
    #[serde(serialize_with = "seconds")]
    pub as_of: SystemTime,
}

/// One change. The Python model `PreviewEvent` has the same fields.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PreviewEvent {
    /// What changed.
    pub kind: EventKind,
    /// Of which preview; None for a gap.
    #[serde(flatten)]
    pub id: Option<PreviewId>,
    /// The phase before, None where there was no preview.
    pub previous_phase: Option<Phase>,
    /// The preview as it is now; None when it is gone, and for a gap.
    pub preview: Option<Preview>,
    /// When this was noticed.
    #[serde(serialize_with = "seconds")]
    pub at: SystemTime,
}

/// What the cache tells about one container. The Python model `ContainerInfo` has the same fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContainerInfo {
    /// Which preview.
    #[serde(flatten)]
    pub id: PreviewId,
    /// The container's id.
    pub container_id: String,
    /// The container's name.
    pub container_name: String,
    /// The host port.
    pub port: u16,
    /// The address for people.
    pub url: String,
    /// The page was compiled and answered.
    pub compilation_complete: bool,
    /// The last probe was answered with 2xx.
    pub is_responding: bool,
}

/// A preview that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The address for people.
    pub url: String,
    /// The container's id.
    pub container_id: String,
    /// Whether this start made the container; else it was found running.
    pub fresh: bool,
}

/// One line of output, without its end and without escape sequences. The Python model `LogLine` has the same fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogLine {
    /// Where it came from.
    pub stream: LogSource,
    /// Its text.
    pub text: String,
    /// When the engine received its beginning.
    #[serde(serialize_with = "seconds")]
    pub timestamp: SystemTime,
}

/// Seconds since 1970, which pydantic takes for a time in UTC.
pub(crate) fn seconds<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64())
}

#[expect(clippy::ref_option, reason = "serde hands over a reference to the field")]
pub(crate) fn optional_seconds<S: Serializer>(time: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => seconds(time, serializer),
        None => serializer.serialize_none(),
    }
}

impl Preview {
    /// One of which nothing is known but its phase, now.
    #[must_use]
    pub fn blank(id: &PreviewId, container_name: &str, phase: Phase) -> Self {
        Self {
            id: id.clone(),
            phase,
            running: false,
            url: None,
            port: None,
            container_id: None,
            container_name: container_name.to_owned(),
            compilation_complete: false,
            is_responding: false,
            http_status: None,
            errors: Vec::new(),
            browser_errors: Vec::new(),
            exit_code: None,
            last_lines: Vec::new(),
            oom_count: 0,
            last_oom_at: None,
            database: None,
            database_name: None,
            database_isolation: None,
            database_detail: None,
            network_isolation: None,
            network_detail: None,
            drift: Vec::new(),
            detail: None,
            created_at: None,
            started_at: None,
            ready_at: None,
            finished_at: None,
            as_of: SystemTime::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for phase in Phase::ALL {
            assert_eq!(Phase::parse(phase.as_str()), Some(*phase));
        }
        for isolation in Isolation::ALL {
            assert_eq!(Isolation::parse(isolation.as_str()), Some(*isolation));
        }
        assert_eq!(DatabaseState::parse("?"), None);
    }

    #[test]
    fn a_preview_is_told_in_plain_data() -> serde_json::Result<()> {
        let told = serde_json::to_value(Preview::blank(&PreviewId::project(7), "x", Phase::CompileError))?;
        assert_eq!((&told["project_id"], &told["phase"]), (&7.into(), &"compile_error".into()));
        assert!(told["as_of"].as_f64().is_some_and(|seconds| seconds > 1.7e9) && told["ready_at"].is_null());
        Ok(())
    }
}

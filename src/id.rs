//! What a preview is called: its id, and every name, label and folder that is derived from it.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;
use sha2::{Digest, Sha256};

/// Label that marks a container as a preview of ours.
pub const LABEL_PREVIEW: &str = "kosuke.preview";
/// Label with the project's id.
pub const LABEL_PROJECT: &str = "kosuke.project_id";
/// Label with the session's id, where there is one.
pub const LABEL_SESSION: &str = "kosuke.session_id";
/// Label with the deployment that owns the container.
pub const LABEL_OWNER: &str = "kosuke.owner";
/// Label with the token of the start that created the container.
pub const LABEL_START: &str = "kosuke.start";
/// Label with the names of the variables that the caller of the start gave, as a list in JSON.
pub const LABEL_VARIABLES: &str = "kosuke.variables";
/// Label with what became of the database: `ready`, `unavailable` or `disabled`.
pub const LABEL_DATABASE: &str = "kosuke.database";
/// Label with the database's name.
pub const LABEL_DATABASE_NAME: &str = "kosuke.database_name";
/// Label with how the database is kept apart: `role`, `partial` or `admin`.
pub const LABEL_ISOLATION: &str = "kosuke.database_isolation";
/// Label with why the database is unavailable, or not kept apart in full.
pub const LABEL_DATABASE_DETAIL: &str = "kosuke.database_detail";

/// Label with how far the preview is kept apart: `full`, `partial` or `off`.
pub const LABEL_NETWORK_ISOLATION: &str = "kosuke.network_isolation";
/// Label with why it is not kept apart in full.
pub const LABEL_NETWORK_DETAIL: &str = "kosuke.network_detail";

/// Postgres cuts a longer name off without a word:
/// <https://www.postgresql.org/docs/current/sql-syntax-lexical.html#SQL-SYNTAX-IDENTIFIERS>.
const MAX_NAME_BYTES: usize = 63;
/// 96 bits: nobody finds two sessions of one project with one name, not even on purpose.
const SESSION_HASH_BYTES: usize = 12;
/// Where the prefix leaves no room for more: 88 bits of project and session.
const SHORT_HASH_BYTES: usize = 11;

/// The name of the network that a deployment's previews are kept apart in.
#[must_use]
pub fn isolated_network_name(owner: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if owner.chars().all(is_plain) && owner.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return format!("{owner}-isolated");
    }
    format!("kosuke-{}-isolated", hex_hash(owner, SESSION_HASH_BYTES))
}

/// Which preview: a project's own, or that of one of its sessions.
///
/// ```
/// use kosuke_docker::id::PreviewId;
///
/// let id = PreviewId::project(7);
/// assert_eq!(id.container_name("kosuke-preview-"), "kosuke-preview-7");
/// assert_eq!(id.database_name("kosuke_project_"), "kosuke_project_7");
/// assert_eq!(id.to_string(), "project 7");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PreviewId {
    project_id: u64,
    /// The Python models do not know sessions yet.
    #[serde(skip)]
    session_id: Option<Arc<str>>,
}

impl PreviewId {
    /// The preview of a project.
    #[must_use]
    pub fn project(project_id: u64) -> Self {
        Self { project_id, session_id: None }
    }

    /// The preview of a project's session; any text names one.
    #[must_use]
    pub fn session(project_id: u64, session_id: &str) -> Self {
        Self { project_id, session_id: Some(session_id.into()) }
    }

    /// The project's id.
    #[must_use]
    pub fn project_id(&self) -> u64 {
        self.project_id
    }

    /// The session's id, None for the project's own preview.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.session_id.as_deref()
    }

    /// The default name of its container.
    #[must_use]
    pub fn container_name(&self, prefix: &str) -> String {
        self.name(&format!("{prefix}{}", self.project_id), '-', usize::MAX)
    }

    /// The name of its database and of the role that owns it: ASCII, at most 63 bytes, no two ids have one name.
    /// `prefix`: at most 40 bytes.
    #[must_use]
    pub fn database_name(&self, prefix: &str) -> String {
        let base = format!("{prefix}{}", self.project_id);
        match self.session_id() {
            Some(session) if base.len() + 1 + 2 * SESSION_HASH_BYTES > MAX_NAME_BYTES => {
                // The letter keeps it apart from the name of a project.
                let both = format!("{} {session}", self.project_id);
                format!("{prefix}s{}", hex_hash(&both, SHORT_HASH_BYTES))
            }
            _ => self.name(&base, '_', MAX_NAME_BYTES),
        }
    }

    /// Its folder below `PROJECTS_DIR`.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        let project = PathBuf::from(self.project_id.to_string());
        match self.session_id {
            None => project,
            Some(_) => project.join("sessions").join(self.name("s", '-', MAX_NAME_BYTES)),
        }
    }

    /// The labels that tell every process which preview a container is, and whose.
    #[must_use]
    pub fn labels(&self, owner: &str) -> HashMap<String, String> {
        let mut labels = HashMap::from([
            (LABEL_PREVIEW.to_owned(), "true".to_owned()),
            (LABEL_PROJECT.to_owned(), self.project_id.to_string()),
            (LABEL_OWNER.to_owned(), owner.to_owned()),
        ]);
        if let Some(session) = self.session_id() {
            labels.insert(LABEL_SESSION.to_owned(), session.to_owned());
        }
        labels
    }

    /// The reverse of [`Self::labels`]; None for the container of another owner, or of nobody.
    #[must_use]
    pub fn from_labels(labels: &HashMap<String, String>, owner: &str) -> Option<Self> {
        if labels.get(LABEL_OWNER)? != owner {
            return None;
        }
        let project_id = labels.get(LABEL_PROJECT)?.parse().ok()?;
        let session_id = labels.get(LABEL_SESSION).map(|session| session.as_str().into());
        Some(Self { project_id, session_id })
    }

    /// `base`; for a session with a readable rest of its id and a hash of all of it.
    fn name(&self, base: &str, separator: char, max_bytes: usize) -> String {
        let Some(session) = self.session_id() else { return base.to_owned() };
        let hash = hex_hash(session, SESSION_HASH_BYTES);
        let words = session.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let mut slug = words.collect::<Vec<_>>().join(&separator.to_string()).to_ascii_lowercase();
        slug.truncate(max_bytes.min(MAX_NAME_BYTES).saturating_sub(base.len() + hash.len() + 2));
        if slug.is_empty() {
            format!("{base}{separator}{hash}")
        } else {
            format!("{base}{separator}{slug}{separator}{hash}")
        }
    }
}

/// The first bytes of the text's SHA-256, as hex digits.
pub(crate) fn hex_hash(text: &str, bytes: usize) -> String {
    hex(&Sha256::digest(text.as_bytes())[..bytes])
}

/// Two hex digits for each byte.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a String cannot fail.
        let _ = write!(digits, "{byte:02x}");
        digits
    })
}

impl fmt::Display for PreviewId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "project {}", self.project_id)?;
        match &self.session_id {
            Some(session) => write!(f, " session {session}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "kosuke_project_";

    #[test]
    fn names_follow_the_project_id() {
        let id = PreviewId::project(123);
        assert_eq!(id.container_name("kosuke-preview-"), "kosuke-preview-123");
        assert_eq!(id.database_name(PREFIX), "kosuke_project_123");
        assert_eq!(id.folder(), PathBuf::from("123"));
        assert_eq!(id.to_string(), "project 123");
    }

    #[test]
    fn labels_round_trip_for_their_owner_only() {
        for id in [PreviewId::project(7), PreviewId::session(7, "feature/log-in"), PreviewId::session(u64::MAX, "")] {
            let labels = id.labels("me");
            assert_eq!(PreviewId::from_labels(&labels, "me"), Some(id));
            assert_eq!(PreviewId::from_labels(&labels, "you"), None);
        }
        assert_eq!(PreviewId::from_labels(&HashMap::new(), "me"), None);
    }

    #[test]
    fn names_are_safe_and_unique_whatever_the_session_is_called() {
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
        for number in [0, 7, 77, u64::MAX] {
            let own = PreviewId::project(number);
            assert!(names.insert(own.database_name(PREFIX)) && names.insert(own.container_name("p-")));
            for session in sessions {
                let id = PreviewId::session(number, session);
                let (database, container) = (id.database_name(PREFIX), id.container_name("p-"));
                let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                assert!(database.len() <= MAX_NAME_BYTES, "{database}");
                assert!(database.chars().all(|c| is_plain(c) || c == '_'), "{database}");
                assert!(container.chars().all(|c| is_plain(c) || c == '-'), "{container}");
                assert!(names.insert(database) && names.insert(container), "{session:?}");
            }
        }
        let name = PreviewId::session(7, "Feature/Log-in").database_name(PREFIX);
        assert!(name.starts_with("kosuke_project_7_feature_log_in_"), "{name}");
    }

    proptest::proptest! {
        #[test]
        fn different_sessions_have_different_databases(one: String, other: String, number: u64, length in 1..=40_usize) {
            let prefix = "p".repeat(length);
            let database = |session: &str| PreviewId::session(number, session).database_name(&prefix);
            let (first, second) = (database(&one), database(&other));
            proptest::prop_assert!(first.len() <= MAX_NAME_BYTES);
            proptest::prop_assert_eq!(first == second, one == other);
        }
    }
}

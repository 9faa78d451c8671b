//! The settings of one service and the rules about their values. The Python `Settings` calls [`Settings::validate`].

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

use crate::containment::Containment;
use crate::readiness::Patterns;
use crate::rules::{Bounds, MAX_STRING, is_image};

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} ({}): {problem}", .field.to_uppercase())]
pub struct InvalidSetting {
    /// The setting's name as the `Settings` field.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// What a preview's container runs.
///
/// ```
/// use kosuke_docker::settings::Command;
///
/// let line = Command::Shell("cd /app && npm run dev".into());
/// assert_eq!(line.argv(), ["sh", "-c", "cd /app && npm run dev"]);
///
/// let words = Command::Argv(vec!["node".into(), "server.js".into()]);
/// assert_eq!(words.argv(), ["node", "server.js"]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A line for `sh -c`.
    Shell(String),
    /// A program and its arguments, without a shell.
    Argv(Vec<String>),
}

impl Command {
    /// The program and its arguments, as the engine wants them.
    #[must_use]
    pub fn argv(&self) -> Vec<String> {
        match self {
            Self::Shell(line) => vec!["sh".into(), "-c".into(), line.clone()],
            Self::Argv(words) => words.clone(),
        }
    }
}

/// When the image is pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullPolicy {
    /// When the engine does not have it.
    Missing,
    /// At every start that makes a container.
    Always,
    /// Never: an image that the engine does not have is an error.
    Never,
}

/// The credentials that containers get for their databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostgresIsolation {
    /// A role of their own if the admin may make roles, else the admin's credentials.
    Auto,
    /// A role of their own; an admin that may not make roles is an error.
    Role,
    /// The admin's credentials.
    Admin,
}

/// The settings of one service. The Python model of the same name has the defaults and describes each field.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Settings {
    /// `PREVIEW_DEFAULT_IMAGE`
    pub preview_default_image: String,
    /// `PROJECTS_DIR`
    pub projects_dir: PathBuf,
    /// `HOST_WORKSPACE_DIR`: the path on the host of `PROJECTS_DIR`'s parent, when the agent runs in a container.
    pub host_workspace_dir: Option<PathBuf>,
    /// `PREVIEW_COMMAND`
    pub preview_command: Command,
    /// `PREVIEW_PORT`, inside the container.
    pub preview_port: u16,
    /// `PREVIEW_PORT_RANGE_START`
    pub preview_port_range_start: u16,
    /// `PREVIEW_PORT_RANGE_END`, inclusive.
    pub preview_port_range_end: u16,
    /// `PREVIEW_BIND_ADDRESS`
    pub preview_bind_address: std::net::IpAddr,
    /// `PREVIEW_PUBLIC_HOST`
    pub preview_public_host: String,
    /// `PREVIEW_NETWORK`: where the deployment's own services are.
    pub preview_network: String,
    /// `PREVIEW_NETWORK_ISOLATION`: whether previews are kept apart on a network of their own, as far as the engine can.
    pub preview_network_isolation: bool,
    /// `PREVIEW_CONTAINER_NAME_PREFIX`
    pub preview_container_name_prefix: String,
    /// `PREVIEW_OWNER`, else derived from the prefix.
    pub preview_owner: String,
    /// Whether `PREVIEW_OWNER` was set: then it names the deployment.
    pub preview_owner_is_set: bool,
    /// `PREVIEW_HEALTH_PATH`
    pub preview_health_path: String,
    /// `PREVIEW_PROBE_TTL`
    pub preview_probe_ttl: Duration,
    /// `PREVIEW_PROBE_TIMEOUT`
    pub preview_probe_timeout: Duration,
    /// `PREVIEW_PROBE_INTERVAL`: how often a page that was ready is looked at while somebody listens; zero: never.
    pub preview_probe_interval: Duration,
    /// `PREVIEW_BROWSER_ERRORS`: whether Vite is asked to tell what goes wrong in the browser.
    pub preview_browser_errors: bool,
    /// `PREVIEW_WARMUP_TIMEOUT`
    pub preview_warmup_timeout: Duration,
    /// `PREVIEW_HOOK_TIMEOUT`: for one call of a replaced hook. The facade keeps it.
    pub preview_hook_timeout: Duration,
    /// `PREVIEW_STOP_TIMEOUT`
    pub preview_stop_timeout: Duration,
    /// `PREVIEW_PULL_POLICY`
    pub preview_pull_policy: PullPolicy,
    /// How much a preview may use, and what it may do.
    pub containment: Containment,
    /// `PREVIEW_READY_PATTERN`: more lines that say that the dev server is up.
    pub preview_ready_pattern: Option<String>,
    /// `PREVIEW_ERROR_PATTERN`: more lines that are errors of the page.
    pub preview_error_pattern: Option<String>,
    /// `ENGINE_TIMEOUT`
    pub engine_timeout: Duration,
    /// `ENGINE_HEARTBEAT_INTERVAL`
    pub engine_heartbeat_interval: Duration,
    /// `ENGINE_HEARTBEAT_TIMEOUT`
    pub engine_heartbeat_timeout: Duration,
    /// The database server; None: no databases.
    pub postgres: Option<Postgres>,
    /// `POSTGRES_REQUIRED`
    pub postgres_required: bool,
}

/// How to reach the database server.
#[derive(Debug, Clone)]
pub struct Postgres {
    /// The admin connection.
    pub admin: PostgresAdmin,
    /// `POSTGRES_CONTAINER_HOST`: the server's host for containers; None: the admin connection's.
    pub container_host: Option<String>,
    /// `POSTGRES_CONTAINER_PORT`; None: the admin connection's.
    pub container_port: Option<u16>,
    /// `POSTGRES_ISOLATION`
    pub isolation: PostgresIsolation,
    /// `POSTGRES_DATABASE_PREFIX`: beginning of the names of databases and roles.
    pub database_prefix: String,
    /// `POSTGRES_CONNECTION_LIMIT`: sessions of each role.
    pub connection_limit: u16,
    /// `POSTGRES_EXTENSIONS`: what the admin makes in every preview's database.
    pub extensions: Vec<String>,
    /// `POSTGRES_REVOKE_PUBLIC`: whether the server's other databases are closed to the previews' roles.
    pub revoke_public: bool,
}

/// The admin connection.
#[derive(Debug, Clone)]
pub enum PostgresAdmin {
    /// `PREVIEW_POSTGRES_URL`
    Url(SecretString),
    /// `POSTGRES_HOST`, `_PORT`, `_USER`, `_PASSWORD`, `_DB`
    Parts {
        /// Host name, address or socket folder.
        host: String,
        /// TCP port.
        port: u16,
        /// A role that may create databases and roles.
        user: String,
        /// Its password.
        password: SecretString,
        /// The database to connect to.
        database: String,
    },
}

impl Settings {
    /// Checks the rules that the types do not hold.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the first field that cannot be used.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        self.validate_container()?;
        self.validate_address()?;
        let wrong = |(field, problem): (&'static str, &str)| InvalidSetting { field, problem: problem.to_owned() };
        self.containment.validate().map_err(wrong)?;
        self.patterns()?;
        for (field, value) in [
            ("preview_probe_ttl", self.preview_probe_ttl),
            ("preview_probe_timeout", self.preview_probe_timeout),
            ("preview_probe_interval", self.preview_probe_interval),
            ("preview_warmup_timeout", self.preview_warmup_timeout),
            ("preview_hook_timeout", self.preview_hook_timeout),
            ("preview_stop_timeout", self.preview_stop_timeout),
            ("engine_timeout", self.engine_timeout),
            ("engine_heartbeat_interval", self.engine_heartbeat_interval),
            ("engine_heartbeat_timeout", self.engine_heartbeat_timeout),
        ] {
            number(field, value.as_secs_f64())?;
        }
        self.postgres.as_ref().map_or(Ok(()), Postgres::validate)
    }

    fn validate_container(&self) -> Result<(), InvalidSetting> {
        let command = match &self.preview_command {
            Command::Shell(line) => !line.trim().is_empty(),
            Command::Argv(words) => !words.is_empty(),
        };
        let workspace = self.host_workspace_dir.as_ref().is_none_or(|folder| folder.is_absolute());
        check("preview_default_image", is_image(&self.preview_default_image), IMAGE)?;
        check("projects_dir", !self.projects_dir.as_os_str().is_empty(), "is empty")?;
        check("host_workspace_dir", workspace, "must be an absolute path on the host")?;
        check("preview_command", command, "is empty")?;
        let fits = self.preview_command.argv().iter().all(|word| word.len() < MAX_STRING);
        check("preview_command", fits, "is too long: Linux takes less than 128 KiB as one argument")?;
        check("preview_network", is_engine_name(&self.preview_network), ENGINE_NAME)?;
        check("preview_container_name_prefix", is_engine_name(&self.preview_container_name_prefix), ENGINE_NAME)?;
        check("preview_owner", !self.preview_owner.is_empty(), "is empty")
    }

    fn validate_address(&self) -> Result<(), InvalidSetting> {
        let (first, last) = (self.preview_port_range_start, self.preview_port_range_end);
        let path = &self.preview_health_path;
        let host = "must be a host name or address, without scheme, port or path";
        let below = format!(
            "must not be below preview_port_range_start (PREVIEW_PORT_RANGE_START), which is {first}: ports are published \
             from the one to the other"
        );
        number("preview_port", f64::from(self.preview_port))?;
        number("preview_port_range_start", f64::from(first))?;
        number("preview_port_range_end", f64::from(last))?;
        check("preview_port_range_end", last >= first, &below)?;
        check("preview_public_host", is_host(&self.preview_public_host), host)?;
        let path = path.starts_with('/') && !path.contains(char::is_whitespace);
        check("preview_health_path", path, "must begin with '/' and hold no white space")
    }
}

impl Postgres {
    /// Checks the rules that the types do not hold.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the first field that cannot be used.
    pub fn validate(&self) -> Result<(), InvalidSetting> {
        let extensions = self.extensions.iter().all(|name| is_extension(name));
        let host = self.container_host.as_ref().is_none_or(|host| is_host(host));
        check("postgres_container_host", host, "must be a host name or address")?;
        check("postgres_database_prefix", is_database_prefix(&self.database_prefix), DATABASE_PREFIX)?;
        if let PostgresAdmin::Parts { port, .. } = &self.admin {
            number("postgres_port", f64::from(*port))?;
        }
        number("postgres_container_port", self.container_port.map_or(1.0, f64::from))?;
        number("postgres_connection_limit", f64::from(self.connection_limit))?;
        check("postgres_extensions", extensions, "must be names of letters, digits, '_' and '-'")
    }
}

const IMAGE: &str = "must be the name of an image in lower case, such as node:22 or registry.example:5000/team/app:1.0";

const ENGINE_NAME: &str = "must be letters, digits, '_', '.' and '-', beginning with a letter or digit";

const DATABASE_PREFIX: &str =
    "must be at most 40 lower case letters, digits and '_', beginning with a letter, not with pg_";

fn check(field: &'static str, holds: bool, problem: &str) -> Result<(), InvalidSetting> {
    if holds { Ok(()) } else { Err(InvalidSetting { field, problem: problem.to_owned() }) }
}

fn number(field: &'static str, value: f64) -> Result<(), InvalidSetting> {
    Bounds::of(field).map_or(Ok(()), |bounds| check(field, bounds.hold(value), bounds.words))
}

impl Settings {
    /// The deployment's own patterns, compiled.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the field that holds no regular expression.
    pub fn patterns(&self) -> Result<Patterns, InvalidSetting> {
        Patterns::new(self.preview_ready_pattern.as_deref(), self.preview_error_pattern.as_deref()).map_err(
            |(which, why)| {
                let field = if which == "ready" { "preview_ready_pattern" } else { "preview_error_pattern" };
                // The last line says what is wrong; the lines before it show where.
                let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                InvalidSetting { field, problem: format!("is not a regular expression: {why}") }
            },
        )
    }
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']'))
}

/// What needs no quotes, is no name of the system's, and leaves room for a project's id.
fn is_database_prefix(text: &str) -> bool {
    text.len() <= 40
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && !text.starts_with("pg_")
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn is_extension(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
}

/// What the engine accepts as a name: `[a-zA-Z0-9][a-zA-Z0-9_.-]*`.
fn is_engine_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn settings() -> Settings {
        Settings {
            preview_default_image: "image".into(),
            projects_dir: "projects".into(),
            host_workspace_dir: None,
            preview_command: Command::Shell("npm run dev".into()),
            preview_port: 3000,
            preview_port_range_start: 3000,
            preview_port_range_end: 4000,
            preview_bind_address: std::net::IpAddr::from([127, 0, 0, 1]),
            preview_public_host: "localhost".into(),
            preview_network: "kosuke_default".into(),
            preview_network_isolation: true,
            preview_container_name_prefix: "kosuke-preview-".into(),
            preview_owner: "kosuke-preview".into(),
            preview_owner_is_set: false,
            preview_health_path: "/".into(),
            preview_probe_ttl: Duration::from_secs(1),
            preview_probe_timeout: Duration::from_secs(5),
            preview_probe_interval: Duration::from_secs(10),
            preview_browser_errors: true,
            preview_warmup_timeout: Duration::from_secs(60),
            preview_hook_timeout: Duration::from_secs(120),
            preview_stop_timeout: Duration::from_secs(5),
            preview_pull_policy: PullPolicy::Missing,
            containment: crate::containment::tests::nothing(),
            preview_ready_pattern: None,
            preview_error_pattern: None,
            engine_timeout: Duration::from_secs(60),
            engine_heartbeat_interval: Duration::from_secs(2),
            engine_heartbeat_timeout: Duration::from_secs(5),
            postgres: None,
            postgres_required: false,
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        assert!(settings().validate().is_ok());
    }

    #[test]
    fn the_wrong_field_is_named() {
        type Spoil = fn(&mut Settings);
        let cases: [(&str, Spoil); 9] = [
            ("preview_default_image", |s| s.preview_default_image = " ".into()),
            ("preview_command", |s| s.preview_command = Command::Argv(vec![])),
            ("preview_port", |s| s.preview_port = 0),
            ("preview_port_range_end", |s| s.preview_port_range_end = 2999),
            ("preview_public_host", |s| s.preview_public_host = "http://x".into()),
            ("preview_network", |s| s.preview_network = "a b".into()),
            ("preview_container_name_prefix", |s| s.preview_container_name_prefix = "/x".into()),
            ("preview_health_path", |s| s.preview_health_path = "health".into()),
            ("engine_timeout", |s| s.engine_timeout = Duration::ZERO),
        ];
        for (field, spoil) in cases {
            let mut settings = settings();
            spoil(&mut settings);
            match settings.validate() {
                Err(InvalidSetting { field: named, .. }) => assert_eq!(named, field),
                other => assert!(other.is_err(), "{field} was accepted"),
            }
        }
    }

    #[test]
    fn a_database_prefix_is_a_plain_name() {
        for good in ["kosuke_project_", "a", "p2", &"x".repeat(40)] {
            assert!(is_database_prefix(good), "{good}");
        }
        for bad in ["", "_a", "2a", "A", "a-b", "pg_a", "a\"", "ü", &"x".repeat(41)] {
            assert!(!is_database_prefix(bad), "{bad}");
        }
    }

    #[test]
    fn a_string_runs_under_a_shell() {
        assert_eq!(Command::Shell("a b".into()).argv(), ["sh", "-c", "a b"]);
        assert_eq!(Command::Argv(vec!["a".into()]).argv(), ["a"]);
    }
}

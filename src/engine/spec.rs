//! What an engine is asked to make.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

/// A short value is no secret, and stands in half of all words.
const MIN_SECRET_BYTES: usize = 6;

/// What to make. Nothing is added to it that does not stand here.
#[derive(Clone, Default)]
pub struct ContainerSpec {
    /// The workload's name.
    pub name: String,
    /// The image's reference.
    pub image: String,
    /// The words to run.
    pub command: Vec<String>,
    /// The folder in the container that the command runs in; None: the image's own.
    pub working_dir: Option<String>,
    /// Name and value.
    pub environment: Vec<(String, String)>,
    /// Labels.
    pub labels: HashMap<String, String>,
    /// Folders of the engine's machine.
    pub mounts: Vec<Mount>,
    /// What [`super::Engine::ensure_network`] gave; None: the engine's default.
    pub network: Option<String>,
    /// Ports to publish.
    pub publish: Vec<Publish>,
    /// Whether an init process reaps children and passes signals on.
    pub init: bool,
    /// How much it may use.
    pub resources: Resources,
    /// What it may do.
    pub security: Security,
}

impl ContainerSpec {
    /// The values of the environment, which must not be repeated in an error.
    #[must_use]
    pub fn secrets(&self) -> Secrets {
        Secrets::of(&self.environment)
    }
}

/// A folder of the engine's machine in the container, writable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute, on the engine's machine. A missing one is an error: it is not made.
    pub source: PathBuf,
    /// Absolute, in the container.
    pub target: String,
}

/// A TCP port to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    /// In the container.
    pub port: u16,
    /// The engine's address to publish on.
    pub bind_address: IpAddr,
    /// The engine's ports to choose from.
    pub host_ports: PortRange,
}

/// Ports from the first to the last, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last, not below the first.
    pub last: u16,
}

impl PortRange {
    /// One port.
    #[must_use]
    pub fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// How many ports these are.
    #[must_use]
    pub(crate) fn count(self) -> usize {
        usize::from(self.last.saturating_sub(self.first)) + 1
    }

    /// Whether there is nothing to choose.
    #[must_use]
    pub fn is_one(self) -> bool {
        self.first == self.last
    }
}

/// How much a workload may use; None: as the engine has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resources {
    /// Bytes of memory, without swap beside it.
    pub memory_bytes: Option<u64>,
    /// The weight against others when CPUs are busy.
    pub cpu_shares: Option<u32>,
    /// Thousandths of one CPU.
    pub cpu_millis: Option<u32>,
    /// Processes and threads.
    pub pids: Option<u32>,
    /// Bytes of output that are kept; the oldest go.
    pub log_bytes: Option<u64>,
    /// Whether a process that crashes leaves no memory image: it would lie in the project's folder, or on the host.
    pub no_core_dumps: bool,
}

/// What a workload may do; by default what the engine lets it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Security {
    /// Whether a setuid program gains nothing.
    pub no_new_privileges: bool,
    /// Capabilities to take away, by the kernel's names, or `ALL`.
    pub drop_capabilities: Vec<String>,
    /// Capabilities to keep of those.
    pub add_capabilities: Vec<String>,
    /// Whether no file can be made setuid or setgid.
    pub refuse_setuid: bool,
    /// Whether the image's own files are read-only.
    pub read_only_root: bool,
    /// Folders in memory, writable for everybody.
    pub scratch: Vec<String>,
    /// `uid:gid`; None: the image's own user.
    pub user: Option<String>,
}

/// Values that must not stand in an error. An engine may repeat what it was told.
#[derive(Clone, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// The values of an environment.
    #[must_use]
    pub fn of(environment: &[(String, String)]) -> Self {
        let long = environment.iter().filter(|(_, value)| value.len() >= MIN_SECRET_BYTES);
        let mut values: Vec<_> = long.map(|(_, value)| value.clone()).collect();
        // A value may be a part of another: the longer one is replaced first.
        values.sort_by_key(|value| std::cmp::Reverse(value.len()));
        Self(values)
    }

    /// The text with `***` in place of each of them.
    #[must_use]
    pub fn hide(&self, text: String) -> String {
        self.0.iter().fold(text, |text, secret| text.replace(secret.as_str(), "***"))
    }
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secrets({})", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_environment_are_hidden_and_short_ones_are_words() {
        let variables = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let secrets = Secrets::of(&variables(&[("SHORT", "3000"), ("PART", "sup3rs"), ("KEY", "sup3rsecret")]));
        assert_eq!(secrets.hide("bad variable KEY=sup3rsecret on 3000".into()), "bad variable KEY=*** on 3000");
        assert!(!format!("{secrets:?}").contains("sup3r"));
    }
}

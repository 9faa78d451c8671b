//! Where the engine is, read from the environment the way docker-py reads it.
//! <https://docker-py.readthedocs.io/en/stable/client.html#docker.client.from_env>

use std::fmt;
use std::path::PathBuf;

use crate::engine::error::EngineError;

/// A resolved engine address. Two services with equal ones may share a core.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EngineAddress {
    /// A socket on this machine.
    Unix(PathBuf),
    /// `host:port`, plain.
    Tcp(String),
    /// `host:port` with TLS, certificates in this folder.
    Tls(String, PathBuf),
    /// What was set and cannot be used.
    Unusable(String),
}

impl EngineAddress {
    /// From `DOCKER_HOST`, `DOCKER_TLS_VERIFY` (empty is off, unlike bollard's reading) and `DOCKER_CERT_PATH`.
    #[must_use]
    pub fn from_env() -> Self {
        let read = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::resolve(
            read("DOCKER_HOST").as_deref(),
            read("DOCKER_TLS_VERIFY").is_some(),
            read("DOCKER_CERT_PATH").as_deref(),
            read("HOME").as_deref(),
        )
    }

    fn resolve(host: Option<&str>, tls: bool, certs: Option<&str>, home: Option<&str>) -> Self {
        let Some(host) = host else {
            return Self::Unix("/var/run/docker.sock".into());
        };
        if let Some(path) = host.strip_prefix("unix://").or(host.starts_with('/').then_some(host)) {
            return Self::Unix(PathBuf::from(format!("/{}", path.trim_start_matches('/'))));
        }
        let (scheme, rest) = host.split_once("://").unwrap_or(("tcp", host));
        let rest = rest.trim_end_matches('/');
        if !matches!(scheme, "tcp" | "http" | "https") || rest.is_empty() || rest.contains('/') {
            return Self::Unusable(host.to_owned());
        }
        let secure = tls || scheme == "https";
        let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { rest.to_owned() } else { format!("{rest}:{}", if secure { 2376 } else { 2375 }) };
        if secure {
            let folder = certs.map_or_else(|| PathBuf::from(home.unwrap_or("/root")).join(".docker"), PathBuf::from);
            Self::Tls(authority, folder)
        } else {
            Self::Tcp(authority)
        }
    }

    /// The remote engine's host name, None for a local socket.
    #[must_use]
    pub fn remote_host(&self) -> Option<&str> {
        match self {
            Self::Tcp(authority) | Self::Tls(authority, _) => authority.rsplit_once(':').map(|(host, _)| host),
            Self::Unix(_) | Self::Unusable(_) => None,
        }
    }

    pub(super) fn unusable(&self) -> EngineError {
        EngineError::Unreachable(format!("DOCKER_HOST {self} is not a unix://, tcp://, http:// or https:// address"))
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
            Self::Tls(authority, _) => write!(f, "https://{authority}"),
            Self::Unusable(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_as_docker_py_reads_them() {
        let unix = |path: &str| EngineAddress::Unix(path.into());
        let tcp = |authority: &str| EngineAddress::Tcp(authority.into());
        let tls = |authority: &str, folder: &str| EngineAddress::Tls(authority.into(), folder.into());
        for (host, verify, certs, expected) in [
            (None, false, None, unix("/var/run/docker.sock")),
            (Some("unix:///run/d.sock"), true, None, unix("/run/d.sock")),
            (Some("unix://run/d.sock"), false, None, unix("/run/d.sock")),
            (Some("tcp://10.0.0.1:2375"), false, None, tcp("10.0.0.1:2375")),
            (Some("tcp://box"), false, None, tcp("box:2375")),
            (Some("10.0.0.1:4243"), false, None, tcp("10.0.0.1:4243")),
            (Some("http://box:1/"), false, None, tcp("box:1")),
            (Some("tcp://box"), true, Some("/certs"), tls("box:2376", "/certs")),
            (Some("https://box:1"), false, None, tls("box:1", "/home/me/.docker")),
            (Some("ssh://box"), false, None, EngineAddress::Unusable("ssh://box".into())),
        ] {
            assert_eq!(EngineAddress::resolve(host, verify, certs, Some("/home/me")), expected, "{host:?}");
        }
    }

    #[test]
    fn the_remote_host_is_known() {
        assert_eq!(EngineAddress::Tcp("box:1".into()).remote_host(), Some("box"));
        assert_eq!(EngineAddress::Unix("/x".into()).remote_host(), None);
    }
}

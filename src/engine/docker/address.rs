//! Where the engine is: an address as docker-py reads one, found where the docker CLI finds it (`places`).
//! <https://docker-py.readthedocs.io/en/stable/client.html#docker.client.from_env>

use std::fmt;
use std::path::PathBuf;

/// The environment: a variable's value, None where it is not set or empty.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A resolved engine address. Two services with equal ones may share a core.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum EngineAddress {
    /// A socket on this machine.
    Unix(PathBuf),
    /// `host:port`, plain.
    Tcp(String),
    /// `host:port` with TLS, certificates in this folder.
    Tls(String, PathBuf),
    /// What was set cannot be used, for this reason.
    Unusable(String),
}

impl EngineAddress {
    /// An address as `DOCKER_HOST` has it. `certs`: the folder of the certificates.
    pub(super) fn of_host(host: &str, tls: bool, certs: Option<String>, env: Env<'_>) -> Self {
        if let Some(path) = host.strip_prefix("unix://").or(host.starts_with('/').then_some(host)) {
            return Self::Unix(PathBuf::from(format!("/{}", path.trim_start_matches('/'))));
        }
        let (scheme, rest) = host.split_once("://").unwrap_or(("tcp", host));
        let rest = rest.trim_end_matches('/');
        let shown = without_login(host);
        if scheme == "ssh" {
            return Self::Unusable(format!(
                "{shown}: an engine over SSH is not supported, since previews are asked at their own addresses, too: \
                 forward its socket (`ssh -nNT -L /tmp/docker.sock:/var/run/docker.sock HOST`) and set \
                 DOCKER_HOST=unix:///tmp/docker.sock, or use tcp:// with TLS"
            ));
        }
        if !matches!(scheme, "tcp" | "http" | "https") || rest.is_empty() || rest.contains(['/', '@']) {
            return Self::Unusable(format!("{shown} is not a unix://, tcp://, http:// or https:// address"));
        }
        let secure = tls || scheme == "https";
        let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let authority = if has_port { rest.to_owned() } else { format!("{rest}:{}", if secure { 2376 } else { 2375 }) };
        if secure {
            let home = || PathBuf::from(env("HOME").unwrap_or_else(|| "/root".to_owned())).join(".docker");
            Self::Tls(authority, certs.map_or_else(home, PathBuf::from))
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
}

/// An address without the user and password in it.
fn without_login(host: &str) -> String {
    match host.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit('@').next().unwrap_or(rest)),
        None => host.rsplit('@').next().unwrap_or(host).to_owned(),
    }
}

/// The beginning of what somebody says, in one line.
pub(super) fn one_line(words: &str) -> String {
    let words = words.split_whitespace().collect::<Vec<_>>().join(" ");
    words.chars().take(200).collect()
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
            ("unix:///run/d.sock", true, None, unix("/run/d.sock")),
            ("unix://run/d.sock", false, None, unix("/run/d.sock")),
            ("tcp://10.0.0.1:2375", false, None, tcp("10.0.0.1:2375")),
            ("tcp://box", false, None, tcp("box:2375")),
            ("10.0.0.1:4243", false, None, tcp("10.0.0.1:4243")),
            ("http://box:1/", false, None, tcp("box:1")),
            ("tcp://box", true, Some("/certs"), tls("box:2376", "/certs")),
            ("https://box:1", false, None, tls("box:1", "/home/me/.docker")),
        ] {
            let home = |name: &str| (name == "HOME").then(|| "/home/me".to_owned());
            let read = EngineAddress::of_host(host, verify, certs.map(str::to_owned), &home);
            assert_eq!(read, expected, "{host:?}");
        }
    }

    #[test]
    fn what_cannot_be_used_says_why_without_a_password() {
        for (host, words) in [
            ("ssh://me:s3cret@box", "ssh://box: an engine over SSH is not supported"),
            ("npipe:////./pipe/docker", "npipe:////./pipe/docker is not a unix://"),
            ("tcp://", "tcp:// is not a unix://"),
            ("https://me:s3cret@box:1", "https://box:1 is not a unix://"),
        ] {
            let problem = EngineAddress::of_host(host, false, None, &|_| None).to_string();
            assert!(problem.starts_with(words) && !problem.contains("s3cret"), "{problem}");
        }
    }

    #[test]
    fn the_remote_host_is_known() {
        assert_eq!(EngineAddress::Tcp("box:1".into()).remote_host(), Some("box"));
        assert_eq!(EngineAddress::Unix("/x".into()).remote_host(), None);
    }
}

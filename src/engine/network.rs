//! What previews are attached to, and what they reach from there.

use crate::preview::NetworkIsolation;

/// The network to attach a preview to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// The network of the deployment's own services. Made where it is missing, if the preview is attached to it.
    pub name: String,
    /// The server that the preview must reach: its database's.
    pub peer: Option<Peer>,
    /// Whether, and how, previews are kept apart.
    pub isolation: Option<Isolation>,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// As this process knows it: a host name, an address, a container's name on the services' network. A loopback name or a
    /// socket's folder is the machine, or the container, of this process.
    pub host: String,
    /// Its TCP port.
    pub port: u16,
}

/// A network of the previews' own, in which none reaches another one, the engine's machine, or a private network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Isolation {
    /// The network's name.
    pub network: String,
    /// An image that the engine has, for containers that set rules. Nothing in it is run.
    pub image: String,
}

/// What [`super::Engine::ensure_network`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// What a workload is attached by.
    pub network: String,
    /// The peer's host as the workload reaches it; None: it cannot, or there is none.
    pub peer_host: Option<String>,
    /// How far previews are kept apart.
    pub isolation: NetworkIsolation,
    /// Why they are not kept apart in full, where that was asked for.
    pub detail: Option<String>,
    /// Whether this call made the network.
    pub made: bool,
}

impl Peer {
    /// Whether it is the machine, or the container, of this process.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let address = host.parse::<std::net::IpAddr>();
        host.starts_with('/')
            || host.eq_ignore_ascii_case("localhost")
            || address.is_ok_and(|address| address.is_loopback() || address.is_unspecified())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_are_this_machine() {
        let is_loopback = |host: &str| Peer { host: host.to_owned(), port: 5432 }.is_loopback();
        for host in ["localhost", "LocalHost", "127.0.0.1", "127.1.2.3", "::1", "[::1]", "/var/run/postgresql"] {
            assert!(is_loopback(host), "{host}");
        }
        for host in ["postgres", "10.0.0.1", "db.example.com", "localhost.example.com", "fd00::2"] {
            assert!(!is_loopback(host), "{host}");
        }
    }
}

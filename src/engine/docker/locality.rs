//! Where this process stands in relation to a Docker Engine.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::sync::OnceCell;

use super::client::Client;
use super::own::OwnContainer;
use crate::engine::error::EngineError;
use crate::engine::locality::Locality;
use crate::engine::spec::PortRange;
use crate::engine::workload::Workload;
use crate::lock::lock;
use crate::preview::Endpoint;

/// See the module.
pub(super) struct DockerLocality {
    client: Arc<Client>,
    own: OnceCell<Option<OwnContainer>>,
    /// Networks that this process's container was attached to since `own` was read.
    joined: Mutex<HashSet<String>>,
}

impl DockerLocality {
    pub(super) fn new(client: Arc<Client>) -> Self {
        Self { client, own: OnceCell::new(), joined: Mutex::default() }
    }

    /// The container that this process runs in, None where it runs in none of this engine's.
    async fn own(&self) -> Result<Option<&OwnContainer>, EngineError> {
        self.own.get_or_try_init(|| OwnContainer::find(&self.client)).await.map(Option::as_ref)
    }

    /// The id of the container that this process runs in. None: of none of this engine's, or one on the machine's network.
    pub(super) async fn own_id(&self) -> Result<Option<&str>, EngineError> {
        Ok(self.own().await?.filter(|own| !own.host_network).map(|own| own.id.as_str()))
    }

    /// The address of this process's container on a network.
    pub(super) async fn own_address(&self, network: &str) -> Result<Option<IpAddr>, EngineError> {
        let own = self.own().await?.filter(|own| !own.host_network);
        Ok(own.and_then(|own| own.networks.get(network)).and_then(|endpoint| endpoint.address))
    }

    /// This process's container was attached to the network.
    pub(super) fn joined(&self, network: &str) {
        lock(&self.joined).insert(network.to_owned());
    }

    /// Whether this process runs on the engine's machine, in a container or not.
    pub(super) fn is_on_engine_machine(&self) -> bool {
        self.client.address().remote_host().is_none_or(is_this_machine)
    }

    /// The host through which ports published on `bound` are reached from outside of containers; None: they cannot be.
    fn published_host(&self, bound: IpAddr) -> Option<String> {
        match self.client.address().remote_host().filter(|host| !is_this_machine(host)) {
            // Published on the other machine's loopback.
            Some(_) if bound.is_loopback() => None,
            Some(host) => Some(host.to_owned()),
            // What is published on `::` alone does not listen on 127.0.0.1.
            None if bound.is_unspecified() && bound.is_ipv6() => Some("[::1]".to_owned()),
            None if bound.is_unspecified() => Some("127.0.0.1".to_owned()),
            None => Some(bracketed(bound)),
        }
    }

    /// Whether the ports that the engine publishes on are those of this process.
    async fn shares_ports(&self) -> bool {
        self.is_on_engine_machine() && self.own().await.is_ok_and(|own| own.is_none_or(|own| own.host_network))
    }
}

#[async_trait]
impl Locality for DockerLocality {
    async fn engine_path(&self, folder: &Path) -> Result<Option<PathBuf>, EngineError> {
        Ok(match self.own().await? {
            Some(own) => own.on_host(folder),
            None => Some(folder.to_owned()),
        })
    }

    async fn reach(&self, workload: &Workload, port: u16, bound: IpAddr) -> Option<Endpoint> {
        let published = workload.endpoints.get(&port).map(|endpoint| endpoint.port);
        // The engine was just asked about the container: if it fails now the log has to decide, not a wrong address.
        let own = self.own().await.ok()?.filter(|own| !own.host_network);
        let Some(own) = own else { return Some(Endpoint { host: self.published_host(bound)?, port: published? }) };
        let joined = lock(&self.joined).clone();
        let shared = own.networks.keys().chain(&joined).find_map(|network| *workload.networks.get(network)?);
        if let Some(address) = shared {
            return Some(Endpoint { host: bracketed(address), port });
        }
        // On another network: the host's published port, if it is published where a container can reach it.
        let host = match bound {
            bound if bound.is_unspecified() => own.networks.values().find_map(|endpoint| endpoint.gateway)?,
            bound if bound.is_loopback() => return None,
            bound => bound,
        };
        Some(Endpoint { host: bracketed(host), port: published? })
    }

    async fn holds_all(&self, bound: IpAddr, ports: PortRange) -> bool {
        if !self.shares_ports().await {
            return false;
        }
        for port in ports.first..=ports.last {
            let held = tokio::net::TcpListener::bind((bound, port)).await;
            // An address that this machine does not have is another failure.
            if !held.is_err_and(|error| error.kind() == ErrorKind::AddrInUse) {
                return false;
            }
        }
        true
    }
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

fn bracketed(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}

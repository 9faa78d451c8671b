//! A network of the previews' own, and the rules that keep what is attached to it away from the engine's machine and its
//! private networks.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bollard::models::{ContainerSummary, EndpointSettings, NetworkConnectRequest};
use bollard::query_parameters::{InspectNetworkOptions, ListContainersOptionsBuilder};
use tokio::sync::Mutex;

use super::client::Client;
use super::locality::DockerLocality;
use super::network::{Found, Networks};
use super::rules::Rules;
use super::rules_container;
use crate::engine::error::EngineError;
use crate::engine::network::{Attachment, Isolation, NetworkSpec, Peer};
use crate::id::LABEL_PREVIEW;
use crate::preview::NetworkIsolation;

/// After this long rules are set anew: a reload of the machine's own firewall takes them away, and tells nobody.
const RULES_TTL: Duration = Duration::from_secs(600);
/// Containers on the services' network that are asked for their aliases.
const MAX_SERVICES: usize = 64;

/// See the module.
#[derive(Default)]
pub(super) struct Isolations {
    /// The rules that this process set last for each interface, and when: services of several deployments share an engine.
    set: Mutex<HashMap<String, (Rules, Instant)>>,
    /// The services' networks that were looked at, and publish ports.
    publishing: Mutex<HashSet<String>>,
}

/// Where a preview finds its peer.
#[derive(Default)]
struct Reached {
    host: Option<String>,
    /// What the rules let through.
    addresses: Vec<SocketAddr>,
    /// Whether it is a container that was attached to the previews' network, where only rules let others reach it.
    container: bool,
}

impl Isolations {
    /// The previews' own network. Where rules cannot be set and previews would be cut off from their database, or this process
    /// from them, it is the services' network.
    pub(super) async fn attach(
        &self,
        client: &Client,
        networks: &Networks,
        locality: &DockerLocality,
        spec: &NetworkSpec,
        isolation: &Isolation,
    ) -> Result<Attachment, EngineError> {
        self.refuse_closed(client, networks, &spec.name).await?;
        let network = networks.ensure(client, &isolation.network, true).await?;
        if let Some(open) = network.open {
            let words = format!("the network {} exists and {open}", isolation.network);
            return shared(client, networks, locality, spec, Some(words)).await;
        }
        let own = match locality.own_id().await? {
            Some(own) => {
                let address = join(client, &network.id, own, None).await?;
                locality.joined(&network.id);
                address
            }
            None => None,
        };
        let peer = match &spec.peer {
            Some(peer) => reach(client, locality, &network, &spec.name, peer, own).await?,
            None => Reached::default(),
        };
        let trusted = members(client, &network.id).await?;
        let needs_rules = own.is_some() || peer.container;
        let rules = Rules { bridge: network.bridge.clone(), trusted, peers: peer.addresses };
        match self.apply(client, &isolation.image, rules).await? {
            Some(words) if needs_rules => shared(client, networks, locality, spec, Some(words)).await,
            detail => Ok(Attachment {
                network: network.id,
                peer_host: peer.host,
                isolation: if detail.is_none() { NetworkIsolation::Full } else { NetworkIsolation::Partial },
                detail,
                made: network.made,
            }),
        }
    }

    /// Who names a network that leads nowhere wants previews to reach nothing: another network would not be what was asked
    /// for, and on that one nobody could open them.
    async fn refuse_closed(&self, client: &Client, networks: &Networks, name: &str) -> Result<(), EngineError> {
        let mut publishing = self.publishing.lock().await;
        if publishing.contains(name) {
            return Ok(());
        }
        if networks.publishes_nothing(client, name).await? {
            return Err(EngineError::Refused(format!(
                "a container on the network {name} publishes no port, so nobody could open the preview: set PREVIEW_NETWORK \
                 to a bridge network that is not internal"
            )));
        }
        publishing.insert(name.to_owned());
        Ok(())
    }

    /// Forgets what was set: the engine's machine may have been started anew.
    pub(super) async fn forget(&self) {
        self.set.lock().await.clear();
    }

    /// Sets the rules, unless this process did a moment ago. Gives why they cannot be.
    async fn apply(&self, client: &Client, image: &str, rules: Rules) -> Result<Option<String>, EngineError> {
        let mut set = self.set.lock().await;
        if set.get(&rules.bridge).is_some_and(|(known, at)| *known == rules && at.elapsed() < RULES_TTL) {
            return Ok(None);
        }
        match rules_container::run(client, image, &rules.bridge, &rules.script()).await {
            Ok(()) => {
                set.insert(rules.bridge.clone(), (rules, Instant::now()));
                Ok(None)
            }
            Err(error) if error.is_no_answer() => Err(error),
            Err(error) => {
                let words = format!("rules for the packet filter cannot be set: {error}");
                log::warn!(target: "kosuke_docker::engine", "{words}");
                Ok(Some(words))
            }
        }
    }
}

/// The services' network, where everything reaches everything.
pub(super) async fn shared(
    client: &Client,
    networks: &Networks,
    locality: &DockerLocality,
    spec: &NetworkSpec,
    reason: Option<String>,
) -> Result<Attachment, EngineError> {
    let network = networks.ensure(client, &spec.name, false).await?;
    let peer_host = match &spec.peer {
        Some(peer) if peer.is_loopback() => {
            // A process in a container has its own loopback; on the services' network it is one of the containers.
            let own = locality.own_address(&network.id).await?;
            own.or(network.gateway).filter(|_| locality.is_on_engine_machine()).map(|address| address.to_string())
        }
        Some(peer) => Some(peer.host.clone()),
        None => None,
    };
    let made = network.made;
    Ok(Attachment { network: network.id, peer_host, isolation: NetworkIsolation::Off, detail: reason, made })
}

async fn reach(
    client: &Client,
    locality: &DockerLocality,
    network: &Found,
    services: &str,
    peer: &Peer,
    own: Option<IpAddr>,
) -> Result<Reached, EngineError> {
    if peer.is_loopback() {
        let address = own.or(network.gateway).filter(|_| locality.is_on_engine_machine());
        return Ok(Reached {
            host: address.map(|address| address.to_string()),
            addresses: address.map(|address| SocketAddr::new(address, peer.port)).into_iter().collect(),
            container: false,
        });
    }
    if let Some(container) = container_of(client, services, &peer.host).await?
        && let Some(address) = join(client, &network.id, &container, Some(&peer.host)).await?
    {
        return Ok(Reached {
            host: Some(peer.host.clone()),
            addresses: vec![SocketAddr::new(address, peer.port)],
            container: true,
        });
    }
    // What is not resolved here may be resolved in the container, to a public address.
    let found = tokio::net::lookup_host((peer.host.as_str(), peer.port)).await;
    let addresses = found.map_or_else(|_| Vec::new(), Iterator::collect);
    Ok(Reached { host: Some(peer.host.clone()), addresses, container: false })
}

/// The container on the services' network that has this name or alias there.
async fn container_of(client: &Client, services: &str, host: &str) -> Result<Option<String>, EngineError> {
    let name = services.to_owned();
    let found = client.call(|docker| async move { docker.inspect_network(&name, None::<InspectNetworkOptions>).await });
    let containers = match found.await {
        Ok(network) => network.containers.unwrap_or_default(),
        Err(EngineError::NotFound(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    if let Some((id, _)) = containers.iter().find(|(_, container)| container.name.as_deref() == Some(host)) {
        return Ok(Some(id.clone()));
    }
    for id in containers.keys().take(MAX_SERVICES) {
        let endpoint = endpoints(client, id).await?.into_iter().find(|(name, _)| name == services);
        let aliases = endpoint.and_then(|(_, endpoint)| endpoint.aliases).unwrap_or_default();
        if aliases.iter().any(|alias| alias == host) {
            return Ok(Some(id.clone()));
        }
    }
    Ok(None)
}

/// The addresses of the containers on the network that are no previews: each was attached on purpose. The engine is asked,
/// since the address of one that is gone may be a preview's now.
async fn members(client: &Client, network: &str) -> Result<Vec<IpAddr>, EngineError> {
    let filters = HashMap::from([("network", vec![network])]);
    let options = ListContainersOptionsBuilder::default().filters(&filters).build();
    let found = client.call(|docker| async move { docker.list_containers(Some(options)).await }).await?;
    let address = |container: ContainerSummary| {
        let is_preview = container.labels.unwrap_or_default().contains_key(LABEL_PREVIEW);
        let networks = container.network_settings.filter(|_| !is_preview)?.networks.unwrap_or_default();
        let mut endpoints = networks.into_values().filter(|endpoint| endpoint.network_id.as_deref() == Some(network));
        endpoints.next()?.ip_address?.parse().ok()
    };
    let mut addresses: Vec<IpAddr> = found.into_iter().filter_map(address).collect();
    addresses.sort();
    Ok(addresses)
}

/// Attaches a container to the network, if it is not yet. Gives its address there; None: it does not run.
async fn join(
    client: &Client,
    network: &str,
    container: &str,
    alias: Option<&str>,
) -> Result<Option<IpAddr>, EngineError> {
    let address = |endpoints: Vec<(String, EndpointSettings)>| {
        let endpoint = endpoints.into_iter().find(|(_, endpoint)| endpoint.network_id.as_deref() == Some(network));
        endpoint.map(|(_, endpoint)| endpoint.ip_address.and_then(|address| address.parse().ok()))
    };
    if let Some(known) = address(endpoints(client, container).await?) {
        return Ok(known);
    }
    let settings = EndpointSettings { aliases: alias.map(|alias| vec![alias.to_owned()]), ..Default::default() };
    let request = NetworkConnectRequest { container: container.to_owned(), endpoint_config: Some(settings) };
    let name = network.to_owned();
    let connected = client.call(|docker| async move { docker.connect_network(&name, request).await }).await;
    match (connected, address(endpoints(client, container).await?)) {
        (Ok(()), known) => Ok(known.flatten()),
        // Another process was faster.
        (Err(_), Some(known)) => Ok(known),
        (Err(error), None) => Err(error),
    }
}

/// The networks that a container is attached to, by name. None of a container that is gone.
async fn endpoints(client: &Client, container: &str) -> Result<Vec<(String, EndpointSettings)>, EngineError> {
    let found = client.inspect(container).await?;
    let networks = found.and_then(|found| found.network_settings?.networks);
    Ok(networks.unwrap_or_default().into_iter().collect())
}

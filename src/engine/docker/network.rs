//! The network that previews are attached to: found by its name, or made. Engines below 25 let several of one name exist.

use std::collections::HashMap;
use std::net::IpAddr;

use bollard::models::{Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use tokio::sync::Mutex;

use super::client::Client;
use super::mapping::parse_time;
use crate::engine::error::EngineError;

/// Label of the networks that we made.
const LABEL_NETWORK: &str = "kosuke.network";

/// Docker's option that lets containers of a network reach each other.
const OPTION_REACH_EACH_OTHER: &str = "com.docker.network.bridge.enable_icc";
const OPTION_BRIDGE: &str = "com.docker.network.bridge.name";

/// See the module.
#[derive(Default)]
pub(super) struct Networks {
    one_at_a_time: Mutex<()>,
}

/// What is known of a network.
pub(super) struct Found {
    pub(super) id: String,
    /// The engine's machine, as its containers see it.
    pub(super) gateway: Option<IpAddr>,
    /// Its interface on that machine.
    pub(super) bridge: String,
    /// Why it does not keep its containers apart; None: it does.
    pub(super) open: Option<&'static str>,
    /// It was made just now.
    pub(super) made: bool,
}

impl Networks {
    /// Gives the network of this name. `keeps_apart`: how it is made where it is missing.
    pub(super) async fn ensure(&self, client: &Client, name: &str, keeps_apart: bool) -> Result<Found, EngineError> {
        let _one_at_a_time = self.one_at_a_time.lock().await;
        let first = |networks: &[Network]| networks.first().and_then(of_network);
        let mut found = named(client, name).await?;
        // Two that became visible in another order than they were made, or one that a process left behind: starts would
        // fail for ever. Those in use refuse to go, so it is the youngest unused one that does.
        for index in (0..found.len()).rev() {
            if found.len() > 1 && is_ours(&found[index]) {
                let id = found[index].id.clone().unwrap_or_default();
                if remove_second(client, name, id).await {
                    found.remove(index);
                }
            }
        }
        if let Some(found) = first(&found) {
            return Ok(found);
        }
        if matches!(name, "bridge" | "host" | "none") {
            // podman lists its own network by that name, and does not find it by a filter.
            let unfiltered = first(&listed(client, name, HashMap::new()).await?);
            return unfiltered.ok_or_else(|| EngineError::NotFound(format!("the engine has no network {name}")));
        }
        let mut labels = HashMap::from([(LABEL_NETWORK.to_owned(), "true".to_owned())]);
        if let Some(project) = name.strip_suffix("_default") {
            labels.insert("com.docker.compose.project".to_owned(), project.to_owned());
            labels.insert("com.docker.compose.network".to_owned(), "default".to_owned());
        }
        let apart = HashMap::from([(OPTION_REACH_EACH_OTHER.to_owned(), "false".to_owned())]);
        let request = NetworkCreateRequest {
            name: name.to_owned(),
            labels: Some(labels),
            options: keeps_apart.then_some(apart),
            // The rules are about IPv4.
            enable_ipv6: keeps_apart.then_some(false),
            ..Default::default()
        };
        let made = match client.call(|docker| async move { docker.create_network(request).await }).await {
            Ok(made) => made.id,
            // An engine that gives a name once (25 and newer, podman): another process was faster.
            Err(error) if !error.is_no_answer() => return first(&named(client, name).await?).ok_or(error),
            Err(error) => return Err(error),
        };
        log::info!(target: "kosuke_docker::engine", "made network {name}");
        // An older engine lets several processes make one name each: the oldest stays, ours goes.
        let oldest = first(&named(client, name).await?);
        let oldest = oldest.ok_or_else(|| EngineError::NotFound(format!("network {name} went away")))?;
        if oldest.id != made {
            remove_second(client, name, made).await;
            return Ok(oldest);
        }
        Ok(Found { made: true, ..oldest })
    }

    /// Whether what is attached to the network of this name publishes no port. One that is missing can be made.
    pub(super) async fn publishes_nothing(&self, client: &Client, name: &str) -> Result<bool, EngineError> {
        let internal = |network: &Network| network.internal == Some(true);
        Ok(matches!(name, "host" | "none") || named(client, name).await?.first().is_some_and(internal))
    }

    /// Removes this network, if nothing is attached to it. Whoever is may be waiting for a preview of another process.
    pub(super) async fn discard(&self, client: &Client, id: &str) {
        let _one_at_a_time = self.one_at_a_time.lock().await;
        if remove_second(client, id, id.to_owned()).await {
            log::info!(target: "kosuke_docker::engine", "removed network {id}, which nothing uses");
        }
    }
}

fn of_network(network: &Network) -> Option<Found> {
    let id = network.id.clone()?;
    let configs = network.ipam.as_ref().and_then(|ipam| ipam.config.as_deref()).unwrap_or_default();
    let gateways = configs.iter().filter_map(|config| config.gateway.as_deref()?.parse::<IpAddr>().ok());
    let option = |name: &str| network.options.as_ref().and_then(|options| options.get(name).map(String::as_str));
    // The engine's own rule for a name that was not given.
    let bridge = option(OPTION_BRIDGE).map_or_else(|| format!("br-{}", id.get(..12).unwrap_or(&id)), str::to_owned);
    let open = if option(OPTION_REACH_EACH_OTHER) == Some("false") {
        (network.enable_ipv6 == Some(true)).then_some("has IPv6, for which no rules are set")
    } else {
        Some("lets its containers reach each other")
    };
    Some(Found {
        gateway: gateways.clone().find(IpAddr::is_ipv4).or(gateways.clone().next()),
        bridge,
        open,
        id,
        made: false,
    })
}

/// Tells whether it is gone; one in use stays.
async fn remove_second(client: &Client, name: &str, id: String) -> bool {
    match client.call(|docker| async move { docker.remove_network(&id).await }).await {
        Ok(()) | Err(EngineError::NotFound(_)) => true,
        Err(error) => {
            log::debug!(target: "kosuke_docker::engine", "a second network {name} was not removed: {error}");
            false
        }
    }
}

async fn named(client: &Client, name: &str) -> Result<Vec<Network>, EngineError> {
    listed(client, name, HashMap::from([("name", vec![name])])).await
}

async fn listed(client: &Client, name: &str, filters: HashMap<&str, Vec<&str>>) -> Result<Vec<Network>, EngineError> {
    let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
    let mut found = client.call(|docker| async move { docker.list_networks(Some(options)).await }).await?;
    // The engine's filter matches a part of the name.
    found.retain(|network| network.name.as_deref() == Some(name));
    // As times, not as texts: the engine trims zeros, so that «.12Z» would stand behind «.123Z».
    let age = |network: &Network| (network.created.as_deref().and_then(parse_time), network.id.clone());
    found.sort_by_key(age);
    Ok(found)
}

fn is_ours(network: &Network) -> bool {
    network.labels.as_ref().is_some_and(|labels| labels.contains_key(LABEL_NETWORK))
}

//! The network that previews are attached to: found by its name, or made. The engine lets several of one name exist.

use std::collections::HashMap;

use bollard::models::{Network, NetworkCreateRequest};
use bollard::query_parameters::ListNetworksOptionsBuilder;
use tokio::sync::Mutex;

use super::client::Client;
use super::mapping::parse_time;
use crate::engine::error::EngineError;

/// Label of the networks that we made.
const LABEL_NETWORK: &str = "kosuke.network";

/// See the module.
#[derive(Default)]
pub(super) struct Networks {
    one_at_a_time: Mutex<()>,
}

impl Networks {
    /// Gives the id of the network of this name.
    pub(super) async fn ensure(&self, client: &Client, name: &str) -> Result<String, EngineError> {
        let _one_at_a_time = self.one_at_a_time.lock().await;
        let first = |networks: &[Network]| networks.first().and_then(|network| network.id.clone());
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
        if let Some(id) = first(&found) {
            return Ok(id);
        }
        if matches!(name, "bridge" | "host" | "none") {
            return Err(EngineError::NotFound(format!("the engine has no network {name}")));
        }
        let mut labels = HashMap::from([(LABEL_NETWORK.to_owned(), "true".to_owned())]);
        if let Some(project) = name.strip_suffix("_default") {
            labels.insert("com.docker.compose.project".to_owned(), project.to_owned());
            labels.insert("com.docker.compose.network".to_owned(), "default".to_owned());
        }
        let request = NetworkCreateRequest { name: name.to_owned(), labels: Some(labels), ..Default::default() };
        let made = client.call(|docker| async move { docker.create_network(request).await }).await?.id;
        log::info!(target: "kosuke_docker::engine", "made network {name}");
        // The engine lets several processes make one name each: the oldest stays, ours goes.
        let oldest = first(&named(client, name).await?).unwrap_or_else(|| made.clone());
        if oldest != made {
            remove_second(client, name, made).await;
        }
        Ok(oldest)
    }
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
    let filters = HashMap::from([("name", vec![name])]);
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

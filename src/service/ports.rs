//! Starting a container on a port that is free.

use std::collections::HashSet;
use std::net::IpAddr;
use std::time::Duration;

use tokio::time::Instant;

use super::context::POLL;
use crate::engine::{Engine, EngineError, PortRange, Secrets};

/// How long ports that other programs hold are stepped over.
const PORTS_TIMEOUT: Duration = Duration::from_secs(10);
/// How long two networks of one name are waited for to become one.
const NETWORK_TIMEOUT: Duration = Duration::from_secs(1);

/// Starts a container. The engine fails on a port that another program holds instead of moving on; its next try takes the
/// next port.
pub(super) async fn start_on_free_port(
    engine: &dyn Engine,
    id: &str,
    secrets: &Secrets,
    bind_address: IpAddr,
    ports: PortRange,
) -> Result<(), EngineError> {
    let began = Instant::now();
    let mut held = HashSet::new();
    let mut tries = 0;
    loop {
        match engine.start(id, secrets).await {
            Err(EngineError::PortHeld { port, words }) => {
                tries += 1;
                // Engine 28 tries ten before it fails, and does not say which: then each may be tried once.
                let again = port.is_none_or(|port| held.insert(port)) && tries < ports.count();
                // Where that can be told from here, it is faster than a start for each.
                let hopeless = tries == 1 && engine.locality().holds_all(bind_address, ports).await;
                if !again || hopeless || began.elapsed() > PORTS_TIMEOUT {
                    return Err(EngineError::PortsExhausted(words));
                }
                log::debug!(target: "kosuke_docker::service", "container {id}: {words}");
            }
            // Whatever an engine says of it: no port of these could be had.
            Err(EngineError::Refused(words)) if engine.locality().holds_all(bind_address, ports).await => {
                return Err(EngineError::PortsExhausted(words));
            }
            Err(EngineError::PortTaken(words)) if ports.is_one() => return Err(EngineError::PortsExhausted(words)),
            // The engine looks the network up by name at a start, though it was given by id.
            Err(EngineError::NetworkAmbiguous(_)) if began.elapsed() < NETWORK_TIMEOUT => {
                tokio::time::sleep(POLL).await;
            }
            other => return other,
        }
    }
}

//! What podman does not do by itself. It takes no range of ports: one is chosen here. Another process may be faster, and
//! then a start is refused, and the container made anew. And it takes a seccomp profile as a file of its machine only.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bollard::query_parameters::ListContainersOptionsBuilder;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, MutexGuard, OnceCell};

use super::client::Client;
use super::locality::DockerLocality;
use super::seccomp;
use crate::engine::error::EngineError;
use crate::engine::locality::Locality;
use crate::engine::spec::{ContainerSpec, PortRange, Publish};

/// See the module.
#[derive(Default)]
pub(super) struct Podman {
    is_it: OnceCell<bool>,
    /// Held from a choice to the creation that it is for: after that the engine knows of it.
    choice: Mutex<()>,
}

impl Podman {
    /// Whether the engine is one. Asked only of an engine that has refused something.
    pub(super) async fn is_it(&self, client: &Client) -> Result<bool, EngineError> {
        let ask = || async {
            let version = client.call(|docker| async move { docker.version().await }).await?;
            let components = version.components.unwrap_or_default();
            Ok(components.iter().any(|component| component.name.starts_with("Podman")))
        };
        self.is_it.get_or_try_init(ask).await.copied()
    }

    /// What [`Self::is_it`] gave, if it was asked before.
    pub(super) fn is_known(&self) -> bool {
        self.is_it.get().copied().unwrap_or(false)
    }

    /// The same with one port in place of each range, and what has to be held until it is created.
    ///
    /// # Errors
    /// No port of a range is free.
    pub(super) async fn choose_ports(
        &self,
        client: &Client,
        locality: &DockerLocality,
        spec: &ContainerSpec,
    ) -> Result<(ContainerSpec, MutexGuard<'_, ()>), EngineError> {
        let guard = self.choice.lock().await;
        let mut taken = published(client).await?;
        let mut spec = spec.clone();
        for publish in &mut spec.publish {
            let port = free(locality, publish, &taken).await;
            let PortRange { first, last } = publish.host_ports;
            let port = port.ok_or_else(|| EngineError::PortsExhausted(format!("no port of {first}-{last} is free")))?;
            taken.insert(port);
            publish.host_ports = PortRange::one(port);
        }
        Ok((spec, guard))
    }
}

/// The seccomp profile in a file that is there as long as this.
pub(super) struct ProfileFile(PathBuf);

impl ProfileFile {
    /// # Errors
    /// The engine would not find it: it is on another machine, or this process in a container.
    pub(super) async fn write(locality: &DockerLocality) -> Result<Self, EngineError> {
        let name = format!("kosuke-seccomp-{:016x}.json", fastrand::u64(..));
        let path = std::env::temp_dir().join(name);
        let there = locality.engine_path(&path).await?.is_some_and(|there| there == path);
        if !there || !locality.is_on_engine_machine() {
            let words =
                "podman takes a seccomp profile as a file of its own machine only: set PREVIEW_REFUSE_SETUID=false";
            return Err(EngineError::Refused(words.into()));
        }
        let failed = |error: std::io::Error| EngineError::Refused(format!("{}: {error}", path.display()));
        // Not a file that somebody else has put there.
        let mut options = tokio::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&path).await.map_err(failed)?;
        let written = Self(path.clone());
        file.write_all(seccomp::PROFILE.as_bytes()).await.map_err(failed)?;
        file.flush().await.map_err(failed)?;
        Ok(written)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ProfileFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            log::debug!(target: "kosuke_docker::engine", "{} was not removed: {error}", self.0.display());
        }
    }
}

/// The ports of all containers of the engine.
async fn published(client: &Client) -> Result<HashSet<u16>, EngineError> {
    let options = ListContainersOptionsBuilder::default().all(true).build();
    let found = client.call(|docker| async move { docker.list_containers(Some(options)).await }).await?;
    let ports = found.into_iter().flat_map(|container| container.ports.unwrap_or_default());
    Ok(ports.filter_map(|port| port.public_port).collect())
}

/// A port that nobody is known to hold. The first one is picked at random, so that processes seldom pick the same.
async fn free(locality: &DockerLocality, publish: &Publish, taken: &HashSet<u16>) -> Option<u16> {
    let PortRange { first, last } = publish.host_ports;
    if publish.host_ports.is_one() {
        return Some(first);
    }
    let begin = fastrand::u16(first..=last);
    for port in (begin..=last).chain(first..begin) {
        if !taken.contains(&port) && !locality.holds_all(publish.bind_address, PortRange::one(port)).await {
            return Some(port);
        }
    }
    None
}

//! Are we in a container of this engine, and what does that container say about folders and networks?

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bollard::models::{ContainerInspectResponse, EndpointSettings};

use super::client::Client;
use super::mapping::address;
use crate::engine::error::EngineError;

/// The container that this process runs in.
#[derive(Debug, Clone, Default)]
pub(super) struct OwnContainer {
    pub(super) id: String,
    /// What is mounted: path inside -> path on the host.
    mounts: Vec<(PathBuf, PathBuf)>,
    /// The networks it is attached to, by id.
    pub(super) networks: HashMap<String, OwnEndpoint>,
    /// It has the host's own network.
    pub(super) host_network: bool,
}

/// Its place on a network.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct OwnEndpoint {
    pub(super) address: Option<IpAddr>,
    /// The host.
    pub(super) gateway: Option<IpAddr>,
}

impl OwnContainer {
    /// None: this process runs in no container of this engine.
    pub(super) async fn find(client: &Client) -> Result<Option<Self>, EngineError> {
        let mounts = tokio::fs::read_to_string("/proc/self/mountinfo").await.ok();
        let Some(id) = mounts.as_deref().and_then(container_id) else { return Ok(None) };
        // None: we are in a container of another engine.
        Ok(client.inspect(&id).await?.map(own_container))
    }

    /// A folder of this container on the host; None: it is in this container only.
    pub(super) fn on_host(&self, folder: &Path) -> Option<PathBuf> {
        on_host(folder, &self.mounts)
    }
}

fn own_container(found: ContainerInspectResponse) -> OwnContainer {
    let mounts = found.mounts.unwrap_or_default().into_iter();
    let mode = found.host_config.and_then(|config| config.network_mode);
    let found_networks = found.network_settings.and_then(|settings| settings.networks);
    let endpoint = |network: &EndpointSettings| OwnEndpoint {
        address: address(network.ip_address.as_ref()),
        gateway: address(network.gateway.as_ref()),
    };
    let networks = found_networks.unwrap_or_default().into_values();
    OwnContainer {
        id: found.id.unwrap_or_default(),
        mounts: mounts.filter_map(|mount| Some((mount.destination?.into(), mount.source?.into()))).collect(),
        host_network: mode.as_deref() == Some("host"),
        networks: networks.filter_map(|network| Some((network.network_id.clone()?, endpoint(&network)))).collect(),
    }
}

/// The path on the host of a folder inside a container. `mounts` are pairs of a path in the container and one on the host;
/// the one with the longest fitting prefix decides. None: no mount holds the folder.
fn on_host(folder: &Path, mounts: &[(PathBuf, PathBuf)]) -> Option<PathBuf> {
    let fitting =
        mounts.iter().filter_map(|(inside, outside)| Some((inside, outside, folder.strip_prefix(inside).ok()?)));
    let (_, outside, rest) = fitting.max_by_key(|(inside, ..)| inside.components().count())?;
    // A tmpfs has no source on the host, and hides the folder that a shorter prefix would find.
    outside.is_absolute().then(|| if rest.as_os_str().is_empty() { outside.clone() } else { outside.join(rest) })
}

/// The container's id in `/proc/self/mountinfo`, None outside of a container. The engine binds `/etc/hostname` (and
/// `hosts`, `resolv.conf`) from the container's own folder; on the host no such mount exists.
/// <https://man7.org/linux/man-pages/man5/proc_pid_mountinfo.5.html>
fn container_id(mountinfo: &str) -> Option<String> {
    mountinfo.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, mount_point) = (fields.next()?, fields.next()?);
        if !matches!(mount_point, "/etc/hostname" | "/etc/hosts" | "/etc/resolv.conf") {
            return None;
        }
        let is_id = |part: &&str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        root.split('/').find(is_id).map(str::to_owned)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_longest_mount_says_where_a_folder_is_on_the_host() {
        let mounts = [
            (PathBuf::from("/agent"), PathBuf::from("/home/me/kosuke/agent")),
            (PathBuf::from("/agent/projects"), PathBuf::from("/var/lib/docker/volumes/p/_data")),
            (PathBuf::from("/agent/tmp"), PathBuf::new()),
        ];
        let on_host = |folder: &str| on_host(Path::new(folder), &mounts);
        assert_eq!(on_host("/agent/projects/7"), Some("/var/lib/docker/volumes/p/_data/7".into()));
        assert_eq!(on_host("/agent/projects"), Some("/var/lib/docker/volumes/p/_data".into()));
        assert_eq!(on_host("/agent/other/7"), Some("/home/me/kosuke/agent/other/7".into()));
        assert_eq!(on_host("/agents/7"), None);
        assert_eq!(on_host("/agent/tmp/7"), None);
    }

    #[test]
    fn the_id_is_in_the_mounts_of_a_container_only() {
        let inside = format!(
            "700 680 254:0 /var/lib/docker/containers/{ID}/hostname /etc/hostname rw,relatime - ext4 /dev/vda rw"
        );
        assert_eq!(container_id(&inside).as_deref(), Some(ID));
        let host = format!("99 29 0:50 / /var/lib/docker/containers/{ID}/mounts/shm rw,nosuid - tmpfs shm rw");
        assert_eq!(container_id(&host), None);
        assert_eq!(container_id("1 2 3:4 /etc/hostname /etc/hostname rw - ext4 /dev/vda rw"), None);
        assert_eq!(container_id(""), None);
    }
}

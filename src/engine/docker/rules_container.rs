//! A container that runs one script with the engine machine's own programs, on that machine's network: the one way to its
//! packet filter that works wherever the engine is. The image is a folder to start from: what runs, and every library that it
//! loads, is the machine's, mounted read-only over it.

use std::collections::HashMap;
use std::time::Duration;

use bollard::models::{ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountType};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptions, RemoveContainerOptionsBuilder, StartContainerOptions,
};
use futures_util::StreamExt;

use super::client::Client;
use super::errors::translate;
use super::rules::DONE;
use crate::engine::error::EngineError;

/// Label of these containers, with what the rules are about. The engine removes each when its script ends.
const LABEL: &str = "kosuke.rules";
/// Where a machine has its programs, their libraries, and which of several it uses.
const FOLDERS: [&str; 6] = ["/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc"];
const TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of its output that are kept.
const MAX_OUTPUT: usize = 2000;

/// Runs the script, which is about `subject`.
///
/// # Errors
/// The engine's words, or the script's, if it did not come to its end.
pub(super) async fn run(client: &Client, image: &str, subject: &str, script: &str) -> Result<(), EngineError> {
    let mut folders = FOLDERS.to_vec();
    loop {
        let body = body(image, subject, script, &folders);
        let made =
            client.call(|docker| async move { docker.create_container(None::<CreateContainerOptions>, body).await });
        let id = match Box::pin(made).await {
            Ok(made) => made.id,
            // Not every machine has all of them.
            Err(EngineError::MountSourceMissing { path, .. }) if folders.iter().any(|f| path.as_os_str() == *f) => {
                folders.retain(|folder| path.as_os_str() != *folder);
                continue;
            }
            Err(error) => return Err(error),
        };
        let ran = tokio::time::timeout(TIMEOUT, start(client, &id)).await;
        let ran = ran.unwrap_or(Err(EngineError::Timeout(TIMEOUT)));
        if ran.is_err() {
            // It may not have run: nothing else removes it then.
            let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
            drop(client.call(|docker| async move { docker.remove_container(&id, Some(options)).await }).await);
        }
        return ran;
    }
}

async fn start(client: &Client, id: &str) -> Result<(), EngineError> {
    let docker = client.docker().await?.clone();
    let options = AttachContainerOptionsBuilder::default().stream(true).stdout(true).stderr(true).build();
    // Before it starts: its output is gone when it ends.
    let mut attached = docker.attach_container(id, Some(options)).await.map_err(translate)?;
    docker.start_container(id, None::<StartContainerOptions>).await.map_err(translate)?;
    let mut output = String::new();
    while let Some(Ok(chunk)) = attached.output.next().await {
        if output.len() < MAX_OUTPUT {
            output.push_str(&String::from_utf8_lossy(&chunk.into_bytes()));
        }
    }
    if output.contains(DONE) {
        return Ok(());
    }
    let words = output.split_whitespace().collect::<Vec<_>>().join(" ");
    Err(EngineError::Refused(if words.is_empty() { "the script ended without a word".to_owned() } else { words }))
}

fn body(image: &str, subject: &str, script: &str, folders: &[&str]) -> ContainerCreateBody {
    let mount = |folder: &&str| Mount {
        typ: Some(MountType::BIND),
        source: Some((*folder).to_owned()),
        target: Some((*folder).to_owned()),
        read_only: Some(true),
        ..Default::default()
    };
    let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: words(&["/bin/sh", "-c"]),
        cmd: words(&[script]),
        env: words(&["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LD_PRELOAD=", "ENV="]),
        user: Some("0:0".to_owned()),
        working_dir: Some("/".to_owned()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        labels: Some(HashMap::from([(LABEL.to_owned(), subject.to_owned())])),
        healthcheck: Some(HealthConfig { test: words(&["NONE"]), ..Default::default() }),
        host_config: Some(HostConfig {
            auto_remove: Some(true),
            network_mode: Some("host".to_owned()),
            userns_mode: Some("host".to_owned()),
            mounts: Some(folders.iter().map(mount).collect()),
            cap_drop: words(&["ALL"]),
            cap_add: words(&["NET_ADMIN", "NET_RAW"]),
            security_opt: words(&["no-new-privileges", "label=disable"]),
            readonly_rootfs: Some(true),
            // Where iptables keeps its lock.
            tmpfs: Some(HashMap::from([("/run".to_owned(), String::new())])),
            memory: Some(256 << 20),
            pids_limit: Some(64),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..Default::default()
        }),
        ..Default::default()
    }
}

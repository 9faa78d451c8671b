//! Runs a program in a container that runs, with the container's own rights.

use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::StreamExt;

use super::client::Client;
use super::errors::translate;
use crate::engine::error::EngineError;
use crate::engine::exec::{ExecResult, ExecSpec};

/// See [`crate::engine::Engine::exec`].
pub(super) async fn run(client: &Client, container: &str, spec: &ExecSpec) -> Result<ExecResult, EngineError> {
    let ran = tokio::time::timeout(spec.timeout, read(client, container, spec)).await;
    ran.unwrap_or(Err(EngineError::Timeout(spec.timeout)))
}

async fn read(client: &Client, container: &str, spec: &ExecSpec) -> Result<ExecResult, EngineError> {
    let options = CreateExecOptions {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(spec.argv.clone()),
        ..Default::default()
    };
    let name = container.to_owned();
    let made = client.call(|docker| async move { docker.create_exec(&name, options).await }).await?;
    let id = made.id.clone();
    let started = client.call(|docker| async move { docker.start_exec(&id, None::<StartExecOptions>).await }).await?;
    let mut result = ExecResult::default();
    if let StartExecResults::Attached { mut output, .. } = started {
        while let Some(chunk) = output.next().await {
            result.push(&chunk.map_err(translate)?.into_bytes(), spec.max_output);
        }
    }
    let ended = client.call(|docker| async move { docker.inspect_exec(&made.id).await }).await?;
    result.exit_code = ended.exit_code;
    Ok(result)
}

//! Image: the pull policy, and one pull that all who need an image share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use tokio::sync::watch;

use super::hooks::{HookRequest, Hooks, ask};
use super::{Inner, PreviewService, lock};
use crate::credentials;
use crate::engine::PullProgress;
use crate::error::{EngineError, Error};
use crate::id::PreviewId;
use crate::settings::PullPolicy;

/// What a pull has come to.
#[derive(Debug, Clone, Default)]
struct PullState {
    progress: Option<PullProgress>,
    done: Option<Result<(), EngineError>>,
}

type Pull = Arc<watch::Sender<PullState>>;

/// The pulls that run now, by image.
#[derive(Default)]
pub(super) struct Pulls(Mutex<HashMap<String, Pull>>);

impl PreviewService {
    /// Makes sure that the settings' image is here, as the pull policy says.
    ///
    /// # Errors
    /// [`Error::ImageNotFound`] with the registry's words, or why the engine did not answer.
    pub async fn ensure_image(&self, hooks: Option<Arc<dyn Hooks>>) -> Result<(), Error> {
        self.inner.ensure_image(None, hooks.as_deref(), || ()).await
    }
}

impl Inner {
    /// `pulling` is called once a pull is needed.
    pub(super) async fn ensure_image(
        self: &Arc<Self>,
        key: Option<&PreviewId>,
        hooks: Option<&dyn Hooks>,
        pulling: impl Fn(),
    ) -> Result<(), Error> {
        let (image, policy) = (&self.settings.preview_default_image, self.settings.preview_pull_policy);
        let failed = |source| match source {
            EngineError::ImageNotFound(_) => {
                Error::ImageNotFound { preview: key.cloned(), image: image.clone(), source }
            }
            other => Error::engine("image", key, other),
        };
        let here = self.engine.has_image(image).await.map_err(failed)?;
        match policy {
            PullPolicy::Never | PullPolicy::Missing if here => return Ok(()),
            PullPolicy::Never => {
                let words = "it is not here, and the pull policy is never";
                return Err(failed(EngineError::ImageNotFound(words.into())));
            }
            PullPolicy::Missing | PullPolicy::Always => {}
        }
        pulling();
        match self.pulled(image, key, hooks).await? {
            Err(error) if here => {
                log::warn!(target: "kosuke_docker::image", "image {image}: using the one that is here: {error}");
                Ok(())
            }
            other => other.map_err(failed),
        }
    }

    /// Waits for the shared pull, telling its progress. The outer error is that of the caller's own hook.
    async fn pulled(
        self: &Arc<Self>,
        image: &str,
        key: Option<&PreviewId>,
        hooks: Option<&dyn Hooks>,
    ) -> Result<Result<(), EngineError>, Error> {
        let nobody = PreviewId::project(0);
        let mut pull = self.join_pull(image);
        loop {
            let state = pull.borrow_and_update().clone();
            if let Some(done) = state.done {
                return Ok(done);
            }
            if let Some(progress) = state.progress {
                // A handler that hangs must not hold those who wait for the image.
                tokio::select! {
                    told = ask(hooks, key.unwrap_or(&nobody), HookRequest::Progress(progress)) => { told?; }
                    _ = pull.wait_for(|state| state.done.is_some()) => continue,
                }
            }
            if pull.changed().await.is_err() {
                return Err(Error::Closed { operation: "image" });
            }
        }
    }

    fn join_pull(self: &Arc<Self>, image: &str) -> watch::Receiver<PullState> {
        let mut pulls = lock(&self.pulls.0);
        if let Some(pull) = pulls.get(image) {
            return pull.subscribe();
        }
        let (sender, receiver) = watch::channel(PullState::default());
        let pull = Arc::new(sender);
        pulls.insert(image.to_owned(), Arc::clone(&pull));
        let (inner, image) = (Arc::clone(self), image.to_owned());
        self.tasks.spawn(async move {
            let done = tokio::select! {
                done = inner.pull(&image, &pull) => done,
                () = inner.unwanted_pull(&image, &pull) => return,
                () = inner.closed.cancelled() => Err(EngineError::Unreachable("the service is closed".into())),
            };
            lock(&inner.pulls.0).remove(&image);
            pull.send_modify(|state| state.done = Some(done));
        });
        receiver
    }

    /// Ends when nobody waits for the pull any more, and nobody can begin to.
    async fn unwanted_pull(&self, image: &str, pull: &Pull) {
        loop {
            pull.closed().await;
            let mut pulls = lock(&self.pulls.0);
            if pull.receiver_count() == 0 {
                pulls.remove(image);
                return;
            }
        }
    }

    async fn pull(&self, image: &str, pull: &Pull) -> Result<(), EngineError> {
        let login = credentials::for_image(image).await.unwrap_or_else(|problem| {
            log::warn!(target: "kosuke_docker::image", "image {image}: pulling without credentials: {problem}");
            None
        });
        let with_login = login.is_some();
        log::info!(target: "kosuke_docker::image", "pulling image {image}");
        let mut pulled = self.pull_once(image, login, pull).await;
        if let Err(EngineError::ImageNotFound(words)) = &pulled
            && with_login
            && is_denied(words)
        {
            // Credentials that went stale are refused even for a public image.
            log::warn!(target: "kosuke_docker::image", "image {image}: the credentials are refused, trying without: {words}");
            let anonymous = self.pull_once(image, None, pull).await;
            if anonymous.is_ok() {
                pulled = anonymous;
            }
        }
        if pulled.is_ok() {
            log::info!(target: "kosuke_docker::image", "pulled image {image}");
        }
        pulled
    }

    async fn pull_once(
        &self,
        image: &str,
        login: Option<credentials::RegistryLogin>,
        pull: &Pull,
    ) -> Result<(), EngineError> {
        let mut steps = self.engine.pull(image, login);
        let mut last_status = String::new();
        while let Some(step) = steps.next().await {
            let progress = step?;
            if progress.status != last_status {
                let layer = progress.layer.as_deref().unwrap_or_default();
                log::debug!(target: "kosuke_docker::image", "image {image}: {layer} {}", progress.status);
                last_status.clone_from(&progress.status);
            }
            pull.send_modify(|state| state.progress = Some(progress));
        }
        Ok(())
    }
}

fn is_denied(words: &str) -> bool {
    let words = words.to_lowercase();
    ["unauthorized", "denied", "authentication required", "no basic auth", "incorrect username"]
        .iter()
        .any(|denied| words.contains(denied))
}

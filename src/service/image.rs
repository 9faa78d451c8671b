//! Image: the pull policy, and one pull that all who need an image share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt;
use tokio::sync::watch;

use super::hooks::{HookRequest, Hooks, ask};
use crate::credentials::{self, RegistryLogin};
use crate::engine::{Engine, EngineError, PullProgress};
use crate::error::Error;
use crate::id::PreviewId;
use crate::lock::lock;
use crate::settings::{PullPolicy, Settings};
use crate::tasks::Tasks;

/// What a pull has come to.
#[derive(Debug, Clone, Default)]
struct PullState {
    progress: Option<PullProgress>,
    done: Option<Result<(), EngineError>>,
}

type Pull = Arc<watch::Sender<PullState>>;

/// The image of the previews. Cheap to clone, all clones are one.
#[derive(Clone)]
pub(super) struct Images {
    engine: Arc<dyn Engine>,
    tasks: Tasks,
    image: String,
    policy: PullPolicy,
    /// The pulls that run now, by image.
    pulls: Arc<Mutex<HashMap<String, Pull>>>,
}

impl Images {
    pub(super) fn new(engine: Arc<dyn Engine>, tasks: Tasks, settings: &Settings) -> Self {
        Self {
            engine,
            tasks,
            image: settings.preview_default_image.clone(),
            policy: settings.preview_pull_policy,
            pulls: Arc::default(),
        }
    }

    /// Makes sure that the image is there; gives the names of the variables that it sets. `id`: for which preview; `pulling`
    /// is called once a pull is needed.
    pub(super) async fn ensure(
        &self,
        id: Option<&PreviewId>,
        hooks: Option<&dyn Hooks>,
        pulling: impl Fn(),
    ) -> Result<Vec<String>, Error> {
        let image = &self.image;
        let failed = |source| match source {
            EngineError::ImageNotFound(_) | EngineError::RegistryDenied(_) => {
                Error::ImageNotFound { preview: id.cloned(), image: image.clone(), source }
            }
            other => Error::engine("image", id, other),
        };
        let missing = |words: &str| failed(EngineError::ImageNotFound(words.into()));
        let here = self.engine.image_variables(image).await.map_err(failed)?;
        match (self.policy, here) {
            (PullPolicy::Never | PullPolicy::Missing, Some(variables)) => return Ok(variables),
            (PullPolicy::Never, None) => {
                return Err(missing("it is not here, and the pull policy is never (PREVIEW_PULL_POLICY)"));
            }
            (PullPolicy::Always, Some(variables)) => {
                pulling();
                if let Err(error) = self.wait_for_pull(id, hooks).await? {
                    log::warn!(target: "kosuke_docker::image", "image {image}: using the one that is here: {error}");
                    return Ok(variables);
                }
            }
            (PullPolicy::Missing | PullPolicy::Always, None) => {
                pulling();
                self.wait_for_pull(id, hooks).await?.map_err(failed)?;
            }
        }
        let pulled = self.engine.image_variables(image).await.map_err(failed)?;
        pulled.ok_or_else(|| missing("it was pulled, and is not here"))
    }

    /// Waits for the shared pull, telling its progress. The outer error is that of the caller's own hook.
    async fn wait_for_pull(
        &self,
        id: Option<&PreviewId>,
        hooks: Option<&dyn Hooks>,
    ) -> Result<Result<(), EngineError>, Error> {
        let mut pull = self.join_pull();
        loop {
            let state = pull.borrow_and_update().clone();
            if let Some(done) = state.done {
                return Ok(done);
            }
            if let Some(progress) = state.progress {
                // A handler that hangs must not hold those who wait for the image.
                tokio::select! {
                    told = ask(hooks, id, HookRequest::Progress(progress)) => { told?; }
                    _ = pull.wait_for(|state| state.done.is_some()) => continue,
                }
            }
            if pull.changed().await.is_err() {
                return Err(Error::Closed { operation: "image" });
            }
        }
    }

    fn join_pull(&self) -> watch::Receiver<PullState> {
        let mut pulls = lock(&self.pulls);
        if let Some(pull) = pulls.get(&self.image) {
            return pull.subscribe();
        }
        let (sender, receiver) = watch::channel(PullState::default());
        let pull = Arc::new(sender);
        pulls.insert(self.image.clone(), Arc::clone(&pull));
        let this = self.clone();
        self.tasks.spawn(async move {
            let done = tokio::select! {
                done = this.pull(&pull) => done,
                () = this.deserted(&pull) => return,
                () = this.tasks.closed().cancelled() => Err(EngineError::Unreachable("the service is closed".into())),
            };
            lock(&this.pulls).remove(&this.image);
            pull.send_modify(|state| state.done = Some(done));
        });
        receiver
    }

    /// Ends when nobody waits for the pull any more, and nobody can begin to.
    async fn deserted(&self, pull: &Pull) {
        loop {
            pull.closed().await;
            let mut pulls = lock(&self.pulls);
            if pull.receiver_count() == 0 {
                pulls.remove(&self.image);
                return;
            }
        }
    }

    async fn pull(&self, pull: &Pull) -> Result<(), EngineError> {
        let image = &self.image;
        let login = credentials::for_image(image).await.unwrap_or_else(|problem| {
            log::warn!(target: "kosuke_docker::image", "image {image}: pulling without credentials: {problem}");
            None
        });
        let with_login = login.is_some();
        log::info!(target: "kosuke_docker::image", "pulling image {image}");
        let mut pulled = self.pull_once(login, pull).await;
        if let Err(EngineError::RegistryDenied(words)) = &pulled
            && with_login
        {
            // Credentials that went stale are refused even for a public image.
            log::warn!(target: "kosuke_docker::image", "image {image}: the credentials are refused, trying without: {words}");
            let anonymous = self.pull_once(None, pull).await;
            if anonymous.is_ok() {
                pulled = anonymous;
            }
        }
        if pulled.is_ok() {
            log::info!(target: "kosuke_docker::image", "pulled image {image}");
        }
        pulled
    }

    async fn pull_once(&self, login: Option<RegistryLogin>, pull: &Pull) -> Result<(), EngineError> {
        let image = &self.image;
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

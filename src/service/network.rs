//! The network that previews are attached to: their own, which keeps them apart, unless that is switched off.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::engine::{Attachment, Engine, EngineError, Isolation, NetworkSpec, Peer};
use crate::id::isolated_network_name;
use crate::settings::Settings;
use crate::tasks::Tasks;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct PreviewNetwork {
    engine: Arc<dyn Engine>,
    tasks: Tasks,
    spec: Arc<NetworkSpec>,
}

impl PreviewNetwork {
    /// `server`: the database server's host and port.
    pub(super) fn new(
        engine: Arc<dyn Engine>,
        tasks: Tasks,
        server: Option<(String, u16)>,
        settings: &Settings,
    ) -> Self {
        let isolation = settings.preview_network_isolation.then(|| Isolation {
            network: isolated_network_name(&settings.preview_owner),
            image: settings.preview_default_image.clone(),
        });
        let peer = server.map(|(host, port)| Peer { host, port });
        let spec = Arc::new(NetworkSpec { name: settings.preview_network.clone(), peer, isolation });
        Self { engine, tasks, spec }
    }

    /// Makes sure of the network, in a task: what it has begun is not left half done by a caller that leaves.
    pub(super) async fn attach(&self) -> Result<Attachment, EngineError> {
        let (engine, spec) = (Arc::clone(&self.engine), Arc::clone(&self.spec));
        let attaching = self.tasks.spawn(async move { engine.ensure_network(&spec).await });
        attaching.await.unwrap_or_else(|_| Err(EngineError::Unreachable("the runtime ended".into())))
    }

    /// Makes sure of it for previews that run: they are kept apart, and reached. A failure is logged: the next start tells it.
    pub(super) fn ensure(&self) -> BoxFuture<'static, ()> {
        let this = self.clone();
        Box::pin(async move {
            if this.spec.isolation.is_some()
                && let Err(error) = this.attach().await
            {
                log::warn!(target: "kosuke_docker::service", "the previews' network: {error}");
            }
        })
    }
}

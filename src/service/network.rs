//! The network that previews are attached to: their own, which keeps them apart, unless that is switched off.

use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;

use crate::engine::{Attachment, Engine, EngineError, Isolation, NetworkSpec, Peer};
use crate::id::isolated_network_name;
use crate::lock::lock;
use crate::settings::Settings;
use crate::tasks::Tasks;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct PreviewNetwork {
    engine: Arc<dyn Engine>,
    tasks: Tasks,
    spec: Arc<NetworkSpec>,
    starts: Arc<Mutex<Starts>>,
}

/// The starts that need the network now, and the network that one of them made and none has used yet.
#[derive(Default)]
struct Starts {
    count: usize,
    made: Option<String>,
}

impl Starts {
    /// What nobody needs.
    fn unneeded(&mut self) -> Option<String> {
        self.made.take_if(|_| self.count == 0)
    }
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
        Self { engine, tasks, spec, starts: Arc::default() }
    }

    /// A start begins, which will be ended.
    pub(super) fn begin_start(&self) {
        lock(&self.starts).count += 1;
    }

    /// A start ends. Where it failed, a network that was made for it goes, too. A failure is logged.
    pub(super) async fn end_start(&self, succeeded: bool) {
        let unneeded = {
            let mut starts = lock(&self.starts);
            starts.count = starts.count.saturating_sub(1);
            if succeeded {
                starts.made = None;
            }
            starts.unneeded()
        };
        discard(self.engine.as_ref(), unneeded).await;
    }

    /// Makes sure of it for a start, in a task: what it has begun is not left half done by a caller that leaves.
    pub(super) async fn attach_for_start(&self) -> Result<Attachment, EngineError> {
        let this = self.clone();
        self.in_task(async move {
            let attachment = this.engine.ensure_network(&this.spec).await?;
            if attachment.made {
                let unneeded = {
                    let mut starts = lock(&this.starts);
                    starts.made = Some(attachment.network.clone());
                    // Whoever wanted it may have given up meanwhile.
                    starts.unneeded()
                };
                discard(this.engine.as_ref(), unneeded).await;
            }
            Ok(attachment)
        })
        .await
    }

    /// Makes sure of the network, in a task: what it has begun is not left half done by a caller that leaves.
    pub(super) async fn attach(&self) -> Result<Attachment, EngineError> {
        let this = self.clone();
        self.in_task(async move { this.engine.ensure_network(&this.spec).await }).await
    }

    async fn in_task(
        &self,
        attach: impl Future<Output = Result<Attachment, EngineError>> + Send + 'static,
    ) -> Result<Attachment, EngineError> {
        let attaching = self.tasks.spawn(attach).await;
        attaching.unwrap_or_else(|_| Err(EngineError::Unreachable("the runtime ended".into())))
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

async fn discard(engine: &dyn Engine, network: Option<String>) {
    if let Some(network) = network
        && let Err(error) = engine.discard_network(&network).await
    {
        log::warn!(target: "kosuke_docker::service", "network {network} of a failed start is left: {error}");
    }
}

//! A service on an engine, a database server and a prober in memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::containment::Limits;
use crate::database::DatabaseError;
use crate::database::memory::{self, MemoryDatabases};
use crate::engine::memory::{Call, Held, MemoryEngine};
use crate::error::Error;
use crate::id::PreviewId;
use crate::preview::{Phase, Preview};
use crate::probe::memory::MemoryProber;
use crate::service::{EngineEvents, Heartbeat, PreviewService, Previews, StartRequest, WaitOptions};
use crate::settings::{PullPolicy, Settings};

pub(super) type Tested = Result<(), Error>;

/// A deployment of its own, with a folder for each of two projects.
pub(super) struct World {
    pub(super) engine: MemoryEngine,
    pub(super) prober: Arc<MemoryProber>,
    pub(super) server: Arc<MemoryDatabases>,
    pub(super) service: Arc<PreviewService>,
    settings: Settings,
    folder: PathBuf,
    /// The first beats of the hearts: without them no events are listened to.
    beats: Vec<Held>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.service.common().abandon();
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

static WORLDS: AtomicUsize = AtomicUsize::new(0);

impl World {
    pub(super) fn new() -> Self {
        Self::with(|_| ())
    }

    /// A world whose dev server has said that it is this one, and is ready.
    pub(super) async fn ready(banner: &str) -> Result<Self, Error> {
        let world = Self::new();
        world.start().await?;
        world.engine.print(NAME, banner);
        world.engine.print(NAME, " ✓ Ready in 500ms");
        world.until(Phase::Ready).await?;
        // It is ready by its answer, maybe before what it printed has been read.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(world)
    }

    pub(super) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let number = WORLDS.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("kosuke-service-{}-{number}", std::process::id()));
        for project in ["1", "2"] {
            drop(std::fs::create_dir_all(folder.join(project)));
        }
        let mut settings = crate::settings::tests::settings();
        settings.projects_dir.clone_from(&folder);
        settings.preview_pull_policy = PullPolicy::Never;
        change(&mut settings);
        let (engine, prober) = (MemoryEngine::new(), Arc::new(MemoryProber::healthy()));
        let server = Arc::new(MemoryDatabases::new());
        engine.add_image("image");
        let service = service(&settings, &engine, &server, &prober);
        Self { engine, prober, server, service, settings, folder, beats: Vec::new() }
    }

    /// One in which nobody hears of events, so that every call is that of an operation.
    pub(super) fn quiet() -> Self {
        let mut world = Self::new();
        // One for each process.
        world.beats.extend([world.engine.hold(Call::Ping), world.engine.hold(Call::Ping)]);
        world
    }

    /// The folder of the project.
    pub(super) fn project(&self) -> PathBuf {
        self.folder.join("1")
    }

    /// Writes a file of the project.
    pub(super) fn write(&self, file: &str, text: &str) {
        let path = self.project().join(file);
        if let Some(folder) = path.parent() {
            drop(std::fs::create_dir_all(folder));
        }
        drop(std::fs::write(path, text));
    }

    /// What the database server was asked, in order.
    pub(super) fn asked(&self) -> Vec<memory::Call> {
        self.server.history().into_iter().map(|(call, _)| call).collect()
    }

    /// The next such call of the database server fails.
    pub(super) fn fail_database(&self, call: memory::Call) {
        self.server.fail_next(call, DatabaseError::new("connect", "the server is away"));
    }

    /// Another process of the same deployment.
    pub(super) fn other_process(&self) -> Arc<PreviewService> {
        service(&self.settings, &self.engine, &self.server, &self.prober)
    }

    pub(super) async fn start(&self) -> Result<String, Error> {
        self.service.start(request()).await.map(|started| started.url)
    }

    pub(super) async fn get(&self) -> Result<Option<Preview>, Error> {
        self.service.get(&id(), None).await
    }

    pub(super) async fn phase(&self) -> Result<Option<Phase>, Error> {
        Ok(self.get().await?.map(|preview| preview.phase))
    }

    /// Waits until the preview is in this phase.
    pub(super) async fn until(&self, phase: Phase) -> Result<Preview, Error> {
        let mut events = self.service.events(Some(id()), false).await?;
        loop {
            if let Some(preview) = self.get().await?.filter(|preview| preview.phase == phase) {
                return Ok(preview);
            }
            drop(events.next().await);
        }
    }

    /// The calls of the engine but those that follow events and output.
    pub(super) fn calls(&self) -> Vec<(Call, usize)> {
        let counted = self.engine.calls().into_iter();
        counted.filter(|(call, _)| !matches!(call, Call::Ping | Call::Events | Call::Logs | Call::List)).collect()
    }
}

fn service(
    settings: &Settings,
    engine: &MemoryEngine,
    server: &Arc<MemoryDatabases>,
    prober: &Arc<MemoryProber>,
) -> Arc<PreviewService> {
    let heartbeat = Heartbeat { interval: Duration::from_secs(2), timeout: Duration::from_secs(5) };
    let events = EngineEvents::new(Arc::new(engine.clone()), heartbeat);
    let (databases, prober) = (Arc::clone(server), Arc::clone(prober));
    Arc::new(PreviewService::new(settings.clone(), events, Some(databases), prober))
}

pub(super) fn id() -> PreviewId {
    PreviewId::project(1)
}

pub(super) const NAME: &str = "kosuke-preview-1";

pub(super) fn request() -> StartRequest {
    StartRequest {
        id: id(),
        variables: Vec::new(),
        limits: Limits::default(),
        recreate: false,
        hooks: None,
        until_ready: None,
    }
}

pub(super) fn wait(seconds: u64) -> WaitOptions {
    WaitOptions { timeout: Some(Duration::from_secs(seconds)), fail_on_compile_error: false }
}

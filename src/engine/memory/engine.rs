//! The engine in memory, as services see it.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::watch;

use super::container::Container;
use super::faults::{Call, Fault, Faults};
use super::world::World;
use crate::credentials::RegistryLogin;
use crate::engine::api::Engine;
use crate::engine::error::EngineError;
use crate::engine::exec::{ExecResult, ExecSpec};
use crate::engine::locality::Locality;
use crate::engine::network::{Attachment, NetworkSpec};
use crate::engine::spec::{ContainerSpec, PortRange, Secrets};
use crate::engine::streams::{EngineEvent, LogChunks, LogStart, PullProgress};
use crate::engine::workload::{RunId, SIGTERM_CODE, Workload};
use crate::lock::lock;
use crate::preview::{Endpoint, NetworkIsolation};

/// An engine in memory. It has no image and no network yet. Cheap to clone, all clones are one.
///
/// ```
/// use kosuke_docker::engine::memory::{Call, MemoryEngine};
/// use kosuke_docker::engine::{ContainerSpec, Engine, EngineError};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let engine = MemoryEngine::new();
/// engine.add_image("node");
/// let spec = ContainerSpec { name: "app".into(), image: "node".into(), ..ContainerSpec::default() };
/// let id = engine.create(&spec).await?;
/// assert!(matches!(engine.create(&spec).await, Err(EngineError::Conflict(_))));
/// assert_eq!(engine.count(Call::Create), 2);
/// # drop(id);
/// # Ok::<(), EngineError>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct MemoryEngine {
    pub(super) shared: Arc<Shared>,
}

/// What all clones share.
pub(super) struct Shared {
    world: Mutex<World>,
    pub(super) faults: Mutex<Faults>,
    /// Counts the changes of the world, so that streams can wait for one.
    changes: watch::Sender<u64>,
}

impl Default for Shared {
    fn default() -> Self {
        Self { world: Mutex::default(), faults: Mutex::default(), changes: watch::Sender::new(0) }
    }
}

impl Shared {
    /// Looks at the world, or changes it; streams hear of it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = change(&mut lock(&self.world));
        self.changes.send_modify(|count| *count += 1);
        result
    }

    /// Begins a call: what is to happen to it happens. Gives the error in which its answer is lost, if it is.
    async fn begin(&self, call: Call) -> Result<Option<EngineError>, EngineError> {
        let fault = lock(&self.faults).begin(call);
        let mut lost = None;
        match fault {
            None => {}
            Some(Fault::Fail(error)) => return Err(error),
            Some(Fault::FailAfter(error)) => lost = Some(error),
            Some(Fault::Hold { came, released }) => {
                // Err: nobody waits for it to come, or it was released by a drop.
                _ = came.send(());
                drop(released.await);
            }
        }
        if lock(&self.faults).unreachable {
            return Err(unreachable());
        }
        Ok(lost)
    }

    /// Makes a call.
    async fn call<T>(
        &self,
        call: Call,
        work: impl FnOnce(&mut World) -> Result<T, EngineError> + Send,
    ) -> Result<T, EngineError> {
        let lost = self.begin(call).await?;
        let result = self.change(work);
        lost.map_or(result, Err)
    }
}

fn unreachable() -> EngineError {
    EngineError::Unreachable("the engine in memory does not answer".into())
}

#[async_trait]
impl Engine for MemoryEngine {
    async fn ping(&self) -> Result<(), EngineError> {
        self.shared.call(Call::Ping, |_| Ok(())).await
    }

    fn pull(&self, image: &str, _: Option<RegistryLogin>) -> BoxStream<'static, Result<PullProgress, EngineError>> {
        let (shared, image) = (Arc::clone(&self.shared), image.to_owned());
        let begin = async move {
            let lost = match shared.begin(Call::Pull).await {
                Ok(lost) => lost,
                Err(error) => return stream::once(async { Err(error) }).boxed(),
            };
            let steps = shared.change(|world| world.pull_steps(&image));
            let end = stream::once(async move { lost.map_or(shared.change(|world| world.end_pull(&image)), Err) });
            let failed = end.filter_map(|end| async { end.err().map(Err) });
            stream::iter(steps.into_iter().map(Ok)).chain(failed).boxed()
        };
        stream::once(begin).flatten().boxed()
    }

    /// Its images set none.
    async fn image_variables(&self, image: &str) -> Result<Option<Vec<String>>, EngineError> {
        self.shared.call(Call::ImageVariables, |world| Ok(world.images.contains(image).then(Vec::new))).await
    }

    async fn keeps_user_ids(&self) -> Result<bool, EngineError> {
        Ok(true)
    }

    fn socket(&self) -> Option<&Path> {
        None
    }

    async fn ensure_network(&self, spec: &NetworkSpec) -> Result<Attachment, EngineError> {
        let (name, isolation) = match &spec.isolation {
            Some(isolation) => (&isolation.network, NetworkIsolation::Full),
            None => (&spec.name, NetworkIsolation::Off),
        };
        let ensured = self.shared.call(Call::EnsureNetwork, |world| Ok(world.ensure_network(name)));
        let (network, made) = ensured.await?;
        let peer_host = spec.peer.as_ref().map(|peer| peer.host.clone());
        Ok(Attachment { network, peer_host, isolation, detail: None, made })
    }

    async fn discard_network(&self, network: &str) -> Result<(), EngineError> {
        let discarded = self.shared.call(Call::DiscardNetwork, |world| {
            world.discard_network(network);
            Ok(())
        });
        discarded.await
    }

    async fn forget_rules(&self) {}

    async fn inspect(&self, name_or_id: &str) -> Result<Option<Workload>, EngineError> {
        let asked_at = Instant::now();
        self.shared.call(Call::Inspect, |world| Ok(world.inspect(name_or_id, asked_at))).await
    }

    async fn environment(&self, id: &str) -> Result<Option<Vec<(String, String)>>, EngineError> {
        self.shared.call(Call::Environment, |world| Ok(world.environment(id))).await
    }

    async fn list(&self, owner: &str) -> Result<Vec<Workload>, EngineError> {
        let asked_at = Instant::now();
        self.shared.call(Call::List, |world| Ok(world.list(owner, asked_at))).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String, EngineError> {
        let made = self.shared.call(Call::Create, |world| world.create(spec)).await;
        made.map_err(|error| error.hiding(&spec.secrets()))
    }

    async fn start(&self, id: &str, secrets: &Secrets) -> Result<(), EngineError> {
        let started = self.shared.call(Call::Start, |world| world.start(id)).await;
        started.map_err(|error| error.hiding(secrets))
    }

    async fn stop(&self, id: &str, _grace: Duration) -> Result<(), EngineError> {
        let stop = |world: &mut World| {
            world.end(id, SIGTERM_CODE, true);
            Ok(())
        };
        self.shared.call(Call::Stop, stop).await
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let remove = |world: &mut World| {
            world.remove(id);
            Ok(())
        };
        self.shared.call(Call::Remove, remove).await
    }

    fn logs(&self, run: &RunId, start: LogStart, follow: bool) -> LogChunks {
        let (shared, run) = (Arc::clone(&self.shared), run.clone());
        let begin = async move {
            let printed = shared.call(Call::Logs, |world| {
                let container = world.find(&run.task)?;
                Ok((container.printed(start), container.output.len()))
            });
            match printed.await {
                Ok((chunks, read)) => {
                    let there = stream::iter(chunks.into_iter().map(Ok));
                    if follow { there.chain(output(shared.clone(), run, read)).boxed() } else { there.boxed() }
                }
                Err(error) => stream::once(async { Err(error) }).boxed(),
            }
        };
        stream::once(begin).flatten().boxed()
    }

    async fn exec(&self, id: &str, spec: &ExecSpec) -> Result<ExecResult, EngineError> {
        self.shared.call(Call::Exec, |world| world.exec(id, spec)).await
    }

    fn events(
        &self,
        since: Option<SystemTime>,
        until: Option<SystemTime>,
    ) -> BoxStream<'static, Result<EngineEvent, EngineError>> {
        let shared = Arc::clone(&self.shared);
        let begin = async move {
            let wanted = move |event: &&EngineEvent| {
                since.is_none_or(|since| event.at >= since) && until.is_none_or(|until| event.at <= until)
            };
            let told = shared.call(Call::Events, |world| {
                let events: Vec<_> = world.events.iter().filter(wanted).cloned().map(Ok).collect();
                Ok((events, world.events.len(), world.broken.len()))
            });
            match told.await {
                Ok((events, _, _)) if until.is_some() => stream::iter(events).boxed(),
                Ok((events, told, broken)) => stream::iter(events).chain(happens(shared.clone(), told, broken)).boxed(),
                Err(error) => stream::once(async { Err(error) }).boxed(),
            }
        };
        stream::once(begin).flatten().boxed()
    }

    async fn clock(&self) -> Result<SystemTime, EngineError> {
        self.shared.call(Call::Clock, |world| Ok(world.now())).await
    }

    fn locality(&self) -> &dyn Locality {
        self
    }
}

/// What a run prints after its first `read` chunks, until it ends.
fn output(shared: Arc<Shared>, run: RunId, read: usize) -> LogChunks {
    let changes = shared.changes.subscribe();
    stream::unfold((shared, run, read, changes), |(shared, run, read, mut changes)| async move {
        loop {
            changes.mark_unchanged();
            let (chunk, runs) = {
                let mut world = lock(&shared.world);
                match world.find(&run.task) {
                    Ok(container) => {
                        let runs = container.runs() && Container::is_run(&run, container.started_at);
                        let next = container.output.get(read).filter(|(began, _)| Container::is_run(&run, *began));
                        (next.map(|(_, chunk)| chunk.clone()), runs)
                    }
                    Err(_) => (None, false),
                }
            };
            if let Some(chunk) = chunk {
                return Some((Ok(chunk), (shared, run, read + 1, changes)));
            }
            if !runs || changes.changed().await.is_err() {
                return None;
            }
        }
    })
    .boxed()
}

/// What happens after the first `told` events, until the stream is broken for the next time.
fn happens(shared: Arc<Shared>, told: usize, broken: usize) -> BoxStream<'static, Result<EngineEvent, EngineError>> {
    let changes = shared.changes.subscribe();
    stream::unfold(Some((shared, told, changes)), move |open| async move {
        let (shared, told, mut changes) = open?;
        loop {
            changes.mark_unchanged();
            let (event, error) = {
                let world = lock(&shared.world);
                (world.events.get(told).cloned(), world.broken.get(broken).cloned())
            };
            if let Some(error) = error {
                return Some((Err(error), None));
            }
            if let Some(event) = event {
                return Some((Ok(event), Some((shared, told + 1, changes))));
            }
            if changes.changed().await.is_err() {
                return None;
            }
        }
    })
    .boxed()
}

/// The engine in memory is this machine.
#[async_trait]
impl Locality for MemoryEngine {
    async fn engine_path(&self, folder: &Path) -> Result<Option<PathBuf>, EngineError> {
        Ok(Some(folder.to_owned()))
    }

    async fn reach(&self, workload: &Workload, port: u16, _bound: IpAddr) -> Option<Endpoint> {
        let published = workload.endpoints.get(&port)?.port;
        Some(Endpoint { host: "127.0.0.1".into(), port: published })
    }

    async fn holds_all(&self, _bound: IpAddr, ports: PortRange) -> bool {
        self.shared.change(|world| (ports.first..=ports.last).all(|port| world.held_ports.contains(&port)))
    }
}

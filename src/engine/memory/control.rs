//! What tests make happen on the engine in memory. Containers are named by their name or id; to one that is not there, or
//! does not run, nothing happens.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::engine::MemoryEngine;
use super::faults::{Call, Fault, Held};
use super::world::Pull;
use crate::engine::error::EngineError;
use crate::engine::exec::ExecResult;
use crate::engine::spec::{ContainerSpec, PortRange, Publish};
use crate::engine::streams::PullProgress;
use crate::engine::workload::SIGKILL_CODE;
use crate::lock::lock;

// The world.
impl MemoryEngine {
    /// An engine without images, networks and containers.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The engine has this image from now on.
    pub fn add_image(&self, image: &str) {
        self.shared.change(|world| _ = world.images.insert(image.to_owned()));
    }

    /// How a pull of this image goes: its steps, then whether the image is there. Without it, it is.
    pub fn on_pull(&self, image: &str, steps: Vec<PullProgress>, result: Result<(), EngineError>) {
        self.shared.change(|world| drop(world.pulls.insert(image.to_owned(), Pull { steps, result })));
    }

    /// This folder is missing on the engine's machine.
    pub fn remove_folder(&self, folder: &Path) {
        self.shared.change(|world| _ = world.missing.insert(folder.to_owned()));
    }

    /// Another program holds these ports from now on.
    pub fn hold_ports(&self, ports: PortRange) {
        self.shared.change(|world| world.held_ports.extend(ports.first..=ports.last));
    }

    /// The engine's time.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.shared.change(|world| world.now())
    }

    /// Moves the engine's clock on.
    pub fn advance(&self, duration: Duration) {
        self.shared.change(|world| _ = world.advance(duration));
    }

    /// The names of all containers, in the order in which they were made.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.shared.change(|world| world.containers.iter().map(|container| container.spec.name.clone()).collect())
    }

    /// The names of all networks.
    #[must_use]
    pub fn networks(&self) -> Vec<String> {
        self.shared.change(|world| world.networks.keys().cloned().collect())
    }

    /// What a container was made of, None where there is none.
    #[must_use]
    pub fn spec(&self, name: &str) -> Option<ContainerSpec> {
        self.shared.change(|world| world.find(name).ok().map(|container| container.spec.clone()))
    }
}

// Containers.
impl MemoryEngine {
    /// A container prints a line to its standard output.
    pub fn print(&self, name: &str, line: &str) {
        self.shared.change(|world| world.print(name, false, &format!("{line}\n")));
    }

    /// A container prints a line to its standard error.
    pub fn print_error(&self, name: &str, line: &str) {
        self.shared.change(|world| world.print(name, true, &format!("{line}\n")));
    }

    /// What the next program that is run in a container comes to.
    pub fn on_exec(&self, result: ExecResult) {
        self.shared.change(|world| world.execs.push_back(result));
    }

    /// A container ends by itself.
    pub fn exit(&self, name: &str, exit_code: i64) {
        self.shared.change(|world| world.end(name, exit_code, false));
    }

    /// Somebody kills a container.
    pub fn kill(&self, name: &str) {
        self.shared.change(|world| world.end(name, SIGKILL_CODE, true));
    }

    /// A process in a container is killed for memory; the container lives on.
    pub fn oom_child(&self, name: &str) {
        self.shared.change(|world| world.oom(name));
    }

    /// A container ends because it used too much memory.
    pub fn oom_exit(&self, name: &str) {
        self.shared.change(|world| {
            world.oom(name);
            world.end(name, SIGKILL_CODE, false);
        });
    }

    /// `docker pause`
    pub fn pause(&self, name: &str) {
        self.shared.change(|world| world.set_paused(name, true));
    }

    /// `docker unpause`
    pub fn unpause(&self, name: &str) {
        self.shared.change(|world| world.set_paused(name, false));
    }

    /// Somebody removes a container.
    pub fn remove_outside(&self, name: &str) {
        self.shared.change(|world| world.remove(name));
    }

    /// Somebody else made a container, and did not start it yet. Gives its id.
    #[must_use]
    pub fn create_foreign(&self, name: &str, labels: HashMap<String, String>) -> String {
        self.shared.change(|world| world.add(ContainerSpec { name: name.into(), labels, ..ContainerSpec::default() }))
    }

    /// Somebody else runs a container that publishes its port 3000. Gives its id.
    #[must_use]
    pub fn run_foreign(&self, name: &str, labels: HashMap<String, String>) -> String {
        let publish = Publish {
            port: 3000,
            bind_address: std::net::IpAddr::from([127, 0, 0, 1]),
            host_ports: PortRange { first: 3000, last: 4000 },
        };
        let spec = ContainerSpec { name: name.into(), labels, publish: vec![publish], ..ContainerSpec::default() };
        self.shared.change(|world| {
            let id = world.add(spec);
            // A port is free, and it has no network: it cannot fail.
            drop(world.start(&id));
            id
        })
    }
}

// Faults.
impl MemoryEngine {
    /// The next call of this kind fails, and is not carried out.
    pub fn fail_next(&self, call: Call, error: EngineError) {
        lock(&self.shared.faults).push(call, Fault::Fail(error));
    }

    /// The next call of this kind is carried out, and its answer is lost.
    pub fn fail_next_after(&self, call: Call, error: EngineError) {
        lock(&self.shared.faults).push(call, Fault::FailAfter(error));
    }

    /// The next call of this kind waits before it is carried out.
    #[must_use]
    pub fn hold(&self, call: Call) -> Held {
        lock(&self.shared.faults).hold(call)
    }

    /// Whether the engine answers no call from now on. Streams of events end when it begins.
    pub fn unreachable(&self, unreachable: bool) {
        lock(&self.shared.faults).unreachable = unreachable;
        if unreachable {
            self.break_event_streams(EngineError::Unreachable("the connection was lost".into()));
        }
    }

    /// Ends every stream of events with an error.
    pub fn break_event_streams(&self, error: EngineError) {
        self.shared.change(|world| world.broken.push(error));
    }

    /// How many calls there were, by kind.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<Call, usize> {
        lock(&self.shared.faults).counts()
    }

    /// How many calls of this kind there were.
    #[must_use]
    pub fn count(&self, call: Call) -> usize {
        self.calls().get(&call).copied().unwrap_or_default()
    }

    /// Begins to count anew.
    pub fn reset_calls(&self) {
        lock(&self.shared.faults).reset_counts();
    }
}

//! The floor of the benchmark: the same calls of the engine and of the pages, from Rust, without Python and without anything
//! that a service is. One thread, so that nothing is handed from one to another. `benches/compare.py` runs it.
#![allow(clippy::print_stdout, missing_docs, reason = "it is a program, and its output is read")]

use std::cell::Cell;
use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse};
use bollard::query_parameters::{
    CreateContainerOptions, InspectContainerOptions, ListContainersOptionsBuilder, LogsOptionsBuilder,
    RemoveContainerOptionsBuilder, StartContainerOptions, StopContainerOptionsBuilder,
};
use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt};
use reqwest::Client;
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

const READY: &str = "Ready in";
const STOP_SECONDS: i32 = 5;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);
const MICROS: f64 = 1e6;

type Failure = Box<dyn std::error::Error>;

/// As `job.py` writes it.
#[derive(Deserialize)]
struct Job {
    workload: String,
    token: String,
    projects: String,
    previews: usize,
    calls: usize,
    at_once: usize,
    apart: bool,
    changes_at_once: usize,
    create: Value,
    urls: Vec<String>,
}

impl Job {
    fn name(&self, project: usize) -> String {
        format!("kt-bench-{}-{project}", self.token)
    }

    fn body(&self, project: usize) -> Result<ContainerCreateBody, Failure> {
        let mut body = self.create.clone();
        body["HostConfig"]["Mounts"][0]["Source"] = format!("{}/{project}", self.projects).into();
        Ok(serde_json::from_value(body)?)
    }
}

/// Seconds on the clock, and of CPU.
#[derive(Clone, Copy)]
struct Usage {
    wall: Instant,
    cpu: f64,
}

impl Usage {
    /// The kernel counts this thread, and there is no other. What it used since it last gave way is counted then.
    fn now() -> Result<Self, Failure> {
        std::thread::yield_now();
        let counted = std::fs::read_to_string("/proc/thread-self/schedstat")?;
        let nanos: f64 = counted.split_whitespace().next().ok_or("schedstat is empty")?.parse()?;
        Ok(Self { wall: Instant::now(), cpu: nanos / 1e9 })
    }

    fn since(&self, earlier: &Self) -> (f64, f64) {
        ((self.wall - earlier.wall).as_secs_f64(), self.cpu - earlier.cpu)
    }
}

struct Floor {
    job: Job,
    docker: Docker,
    pages: Client,
    turns: Semaphore,
}

impl Floor {
    async fn new(job: Job) -> Result<Self, Failure> {
        let docker = Docker::connect_with_defaults()?.negotiate_version().await?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let tls = builder.with_safe_default_protocol_versions()?.with_root_certificates(RootCertStore::empty());
        // It is never used: the pages speak plain HTTP.
        let pages = Client::builder().no_proxy().tls_backend_preconfigured(tls.with_no_client_auth()).build()?;
        Ok(Self { turns: Semaphore::new(job.changes_at_once), job, docker, pages })
    }

    async fn inspect(&self, name: &str) -> Result<ContainerInspectResponse, bollard::errors::Error> {
        self.docker.inspect_container(name, None::<InspectContainerOptions>).await
    }

    /// Looks, creates, starts, inspects, reads the log up to the ready line, and asks for the page: gives its address.
    async fn start(&self, project: usize) -> Result<String, Failure> {
        let name = self.job.name(project);
        if self.inspect(&name).await.is_ok() {
            return Err(format!("{name} is there already").into());
        }
        let options = CreateContainerOptions { name: Some(name.clone()), ..Default::default() };
        let made = self.docker.create_container(Some(options), self.job.body(project)?).await?;
        let turn = self.turns.acquire().await?;
        self.docker.start_container(&made.id, None::<StartContainerOptions>).await?;
        drop(turn);
        let url = page(self.inspect(&made.id).await?).ok_or("no port is published")?;
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).follow(true).build();
        let ready = self.docker.logs(&made.id, Some(options)).try_filter(|line| std::future::ready(says_ready(line)));
        std::pin::pin!(ready).next().await.ok_or_else(|| format!("{name} ended"))??;
        let began = Instant::now();
        while !self.answers(&url).await {
            if began.elapsed() > ANSWER_TIMEOUT {
                return Err(format!("{url} does not answer").into());
            }
            tokio::time::sleep(PAUSE).await;
        }
        Ok(url)
    }

    async fn answers(&self, url: &str) -> bool {
        match self.pages.get(url).send().await {
            // To its end: then the connection can be used again.
            Ok(response) => response.status() == 200 && response.bytes().await.is_ok(),
            Err(_) => false,
        }
    }

    /// Looks, stops, removes.
    async fn stop(&self, project: usize) -> Result<(), Failure> {
        let found = self.inspect(&self.job.name(project)).await?;
        let id = found.id.ok_or("a container without an id")?;
        let _turn = self.turns.acquire().await?;
        let options = StopContainerOptionsBuilder::default().t(STOP_SECONDS).build();
        self.docker.stop_container(&id, Some(options)).await?;
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        Ok(self.docker.remove_container(&id, Some(options)).await?)
    }

    async fn start_all(&self) -> Result<Vec<String>, Failure> {
        try_join_all((1..=self.job.previews).map(|project| self.start(project))).await
    }

    async fn stop_all(&self) -> Result<(), Failure> {
        try_join_all((1..=self.job.previews).map(|project| self.stop(project))).await.map(drop)
    }

    /// So many GETs, `at_once` of them on their way at a time.
    async fn ask(&self, urls: &[String], calls: usize) -> Result<(), Failure> {
        let next = Cell::new(0);
        let take = async |place: usize| loop {
            let number = next.replace(next.get() + 1);
            let project = if self.job.apart { place } else { number };
            let url = &urls[project % urls.len()];
            if number >= calls {
                return Ok::<(), Failure>(());
            } else if !self.answers(url).await {
                return Err(format!("{url} does not answer").into());
            }
        };
        try_join_all((0..self.job.at_once).map(take)).await.map(drop)
    }

    async fn lifecycle(&self) -> Result<Value, Failure> {
        let began = Usage::now()?;
        let urls = self.start_all().await?;
        let started = Usage::now()?;
        self.ask(&urls, self.job.calls).await?;
        let asked = Usage::now()?;
        self.stop_all().await?;
        let stopped = Usage::now()?;
        let (start, status, stop) = (started.since(&began), asked.since(&started), stopped.since(&asked));
        let all = stopped.since(&began);
        Ok(json!({
            "start_s": start.0, "statuses_s": status.0, "stop_s": stop.0, "wall_s": all.0,
            "cpu_start_s": start.1, "cpu_statuses_s": status.1, "cpu_stop_s": stop.1, "cpu_s": all.1,
        }))
    }

    async fn status_live(&self) -> Result<Value, Failure> {
        self.ask(&self.job.urls, self.job.at_once * 4).await?;
        let before = Usage::now()?;
        self.ask(&self.job.urls, self.job.calls).await?;
        Ok(per_call(self.job.calls, Usage::now()?.since(&before)))
    }

    async fn list_once(&self) -> Result<(), Failure> {
        let prefix = self.job.name(0).trim_end_matches('0').to_owned();
        let filters = HashMap::from([("name", vec![prefix.as_str()])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = self.docker.list_containers(Some(options)).await?.len();
        if found == self.job.previews { Ok(()) } else { Err(format!("{found} previews are listed").into()) }
    }

    async fn list(&self) -> Result<Value, Failure> {
        self.list_once().await?;
        let before = Usage::now()?;
        for _ in 0..self.job.calls {
            self.list_once().await?;
        }
        Ok(per_call(self.job.calls, Usage::now()?.since(&before)))
    }

    /// Previews that run until the standard input ends.
    async fn stand(&self) -> Result<Value, Failure> {
        self.start_all().await?;
        println!("standing");
        std::io::stdin().read_to_end(&mut Vec::new())?;
        self.stop_all().await?;
        Ok(json!({}))
    }
}

fn says_ready(line: &LogOutput) -> bool {
    line.to_string().contains(READY)
}

fn page(found: ContainerInspectResponse) -> Option<String> {
    let bindings = found.network_settings?.ports?.remove("3000/tcp")??;
    let binding = bindings.into_iter().next()?;
    Some(format!("http://{}:{}/", binding.host_ip?, binding.host_port?))
}

#[expect(clippy::cast_precision_loss, reason = "there are some thousands of calls")]
fn per_call(calls: usize, (wall, cpu): (f64, f64)) -> Value {
    json!({ "calls": calls, "per_second": calls as f64 / wall, "cpu_us": cpu / calls as f64 * MICROS })
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let file = std::env::args().nth(1).ok_or("which job?")?;
    let job: Job = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    let workload = job.workload.clone();
    let floor = Floor::new(job).await?;
    let told = match workload.as_str() {
        "lifecycle" => floor.lifecycle().await?,
        "status_live" => floor.status_live().await?,
        "list" => floor.list().await?,
        "stand" => floor.stand().await?,
        other => return Err(format!("no workload is called {other}").into()),
    };
    println!("{told}");
    Ok(())
}

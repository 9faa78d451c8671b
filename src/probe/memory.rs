//! A prober for tests: it answers what it was told to, without a socket.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use super::api::{Answer, ProbeTarget, Prober};
use super::next_tools::{NextTool, NoToolAnswer};
use crate::lock::lock;

/// Answers by path; by default nothing listens.
#[derive(Default)]
pub struct MemoryProber {
    answers: Mutex<HashMap<String, Answer>>,
    refused_hosts: Mutex<HashSet<String>>,
    asked: Mutex<Vec<String>>,
    tools: Mutex<HashMap<NextTool, Value>>,
}

impl MemoryProber {
    /// One whose requests for `/` are answered with 200.
    #[must_use]
    pub fn healthy() -> Self {
        let prober = Self::default();
        prober.answer("/", Answer::Status(200));
        prober
    }

    /// From now on requests for `path` come to this.
    pub fn answer(&self, path: &str, answer: Answer) {
        lock(&self.answers).insert(path.to_owned(), answer);
    }

    /// From now on requests for this host name are refused.
    pub fn refuse_host(&self, host: &str) {
        lock(&self.refused_hosts).insert(host.to_owned());
    }

    /// From now on this tool of Next.js answers so.
    pub fn answer_tool(&self, tool: NextTool, answer: Value) {
        lock(&self.tools).insert(tool, answer);
    }

    /// The paths that were asked for, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        lock(&self.asked).clone()
    }
}

#[async_trait]
impl Prober for MemoryProber {
    async fn ask(&self, target: &ProbeTarget, _timeout: Duration) -> Answer {
        lock(&self.asked).push(target.path.clone());
        lock(&self.answers).get(&target.path).copied().unwrap_or(Answer::NoServer)
    }

    async fn refuses_host(&self, _target: &ProbeTarget, host: &str, _timeout: Duration) -> bool {
        lock(&self.refused_hosts).contains(host)
    }

    async fn ask_next(&self, _target: &ProbeTarget, tool: NextTool, _timeout: Duration) -> Result<Value, NoToolAnswer> {
        lock(&self.asked).push(tool.name().unwrap_or("tools/list").to_owned());
        lock(&self.tools).get(&tool).cloned().ok_or(NoToolAnswer::NotUnderstood)
    }
}

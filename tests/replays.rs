//! Real dev servers, replayed with the answers of their pages (`tests/data/replays`), through the pure readiness.
//!
//! A replay has `steps`: a line of a stream, the status that the page has from then on, what each request prints, an exit,
//! and marks. `expected` says what is true at the marks. Lines and answers race in real life, so each is read in both orders.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::time::{Duration, SystemTime};

use kosuke_docker::preview::{BrowserError, CompileError};
use kosuke_docker::readiness::{BrowserErrors, Classifier, Patterns, Readiness, Signal};
use serde_json::Value;

/// What follows a container, without a container.
struct Replay {
    classifier: Classifier,
    readiness: Readiness,
    browser: BrowserErrors,
    now: SystemTime,
    status: Option<u16>,
    requests: Vec<(bool, String)>,
    exit: Option<i64>,
    lines_come_first: bool,
}

impl Replay {
    fn new(lines_come_first: bool) -> Self {
        let mut readiness = Readiness::default();
        readiness.expect_port(3000);
        let classifier = Classifier::new(Patterns::default());
        let (browser, now) = (BrowserErrors::default(), SystemTime::now());
        Self { classifier, readiness, browser, now, status: None, requests: Vec::new(), exit: None, lines_come_first }
    }

    fn line(&mut self, stderr: bool, text: &str) {
        let signals = self.classifier.read(stderr, format!("{text}\n").as_bytes());
        self.take(signals);
    }

    fn flush(&mut self) {
        let signals = self.classifier.rest();
        self.take(signals);
    }

    fn take(&mut self, signals: Vec<Signal>) {
        for signal in signals {
            match &signal {
                Signal::Browser(report) => self.browser.told(report.clone(), self.now),
                Signal::Updated(Some(path)) => self.browser.updated(path),
                Signal::Updated(None) => self.browser.reloaded(),
                Signal::Loaded(page) => self.browser.loaded(page, self.now),
                _ => {}
            }
            self.readiness.signal(signal);
        }
    }

    /// A request for what is open: only the page is served.
    fn ask(&mut self) {
        // What a server prints for a request is as often printed as it is asked.
        let mark = self.readiness.mark();
        if self.readiness.broken_module().is_some() {
            // Vite answers a module that it does not know with its document, which counts as that.
            self.readiness.module_answer(404, mark);
        }
        let Some(status) = self.status else { return };
        let lines = self.requests.clone();
        // A good answer is taken in only when what its request printed has been read.
        let first = self.lines_come_first || status < 500;
        if first {
            for (stderr, text) in &lines {
                self.line(*stderr, text);
            }
            self.flush();
        }
        self.readiness.answer(status, mark);
        if !first {
            for (stderr, text) in &lines {
                self.line(*stderr, text);
            }
            self.flush();
        }
    }

    fn phase(&self) -> &'static str {
        match (&self.exit, &self.readiness) {
            (Some(_), _) => "exited",
            (_, readiness) if readiness.has_error() => "compile_error",
            (_, readiness) if readiness.is_complete() => "ready",
            (_, readiness) if readiness.is_up() => "compiling",
            _ => "starting",
        }
    }

    fn detail(&self) -> String {
        let errors = self.readiness.errors().iter().map(|error| error.message.clone());
        let status = self.status.filter(|status| *status >= 500).map(|status| status.to_string());
        self.readiness.hint().into_iter().chain(status).chain(errors).collect::<Vec<_>>().join("; ")
    }

    /// What of `want` is not so.
    fn wrong(&self, want: &Value) -> Vec<String> {
        let mut wrong = Vec::new();
        let phases: Vec<&str> = strings(&want["phase"]);
        if !phases.is_empty() && !phases.contains(&self.phase()) {
            wrong.push(format!("phase {}, not {phases:?}", self.phase()));
        }
        let errors = self.readiness.errors();
        if want["no_errors"] == true && !errors.is_empty() {
            wrong.push("errors".to_owned());
        }
        for error in want["errors"].as_array().into_iter().flatten() {
            if !errors.iter().any(|told| fits(told, error)) {
                wrong.push(format!("no error like {error}"));
            }
        }
        for error in want["browser_errors"].as_array().into_iter().flatten() {
            let fits = |told: &BrowserError| {
                let place = (error["file"].is_null() || error["file"].as_str() == told.file.as_deref())
                    && (error["line"].is_null() || error["line"].as_u64() == told.line.map(u64::from));
                place && strings(&error["has"]).iter().all(|words| told.message.contains(words))
            };
            if !self.browser.all().iter().any(fits) {
                wrong.push(format!("no browser error like {error}: {:?}", self.browser.all()));
            }
        }
        for words in strings(&want["browser_lacks"]) {
            if self.browser.all().iter().any(|told| told.message.contains(words)) {
                wrong.push(format!("the browser error {words} is still told"));
            }
        }
        let detail = self.detail().to_lowercase();
        for words in want["detail_has"].as_array().into_iter().flatten() {
            let some = strings(words).iter().any(|words| detail.contains(&words.to_lowercase()));
            if self.exit.is_none() && !some {
                wrong.push(format!("detail lacks {words}: {detail}"));
            }
        }
        for words in strings(&want["detail_lacks"]) {
            if detail.contains(&words.to_lowercase()) {
                wrong.push(format!("detail has {words}: {detail}"));
            }
        }
        if !wrong.is_empty() {
            let told =
                |error: &CompileError| format!("{:?}:{:?} {:?} {}", error.file, error.line, error.kind, error.message);
            wrong.push(format!("told {:?}", errors.iter().map(told).collect::<Vec<_>>()));
        }
        wrong
    }
}

fn strings(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn fits(told: &CompileError, want: &Value) -> bool {
    let message = told.message.to_lowercase();
    let file = match &want["file"] {
        Value::Null => true,
        Value::Array(files) => files.iter().any(|file| file.as_str() == told.file.as_deref()),
        file => file.as_str() == told.file.as_deref(),
    };
    file && (want["line"].is_null() || want["line"].as_u64() == told.line.map(u64::from))
        && (want["kind"].is_null() || strings(&want["kind"]).contains(&told.kind.as_str()))
        && strings(&want["has"]).iter().all(|words| message.contains(&words.to_lowercase()))
        && strings(&want["lacks"]).iter().all(|words| !message.contains(&words.to_lowercase()))
}

/// Runs a replay; gives what was wrong.
fn run(steps: &Value, expected: &Value, lines_come_first: bool) -> Vec<String> {
    let mut replay = Replay::new(lines_come_first);
    let mut wrong = Vec::new();
    let wants = expected.as_array().unwrap();
    let check = |replay: &mut Replay, mark: &str, wrong: &mut Vec<String>| {
        let due = |want: &&Value| {
            let at = if want["phase"] == "exited" { "end" } else { want["at"].as_str().unwrap_or("end") };
            at == mark
        };
        for want in wants.iter().filter(due) {
            let mut found = Vec::new();
            for request in 0..6 {
                if replay.exit.is_none() {
                    replay.ask();
                }
                replay.flush();
                found = replay.wrong(want);
                if request >= 3 && !found.is_empty() {
                    break;
                }
            }
            if !found.is_empty() {
                wrong.push(format!("at {mark}: {}", found.join("; ")));
            }
        }
    };
    for step in steps.as_array().unwrap() {
        for (key, stderr) in [("out", false), ("err", true)] {
            if let Some(line) = step[key].as_str() {
                replay.line(stderr, line);
            }
        }
        if let Some(lines) = step["requests"].as_array() {
            let line = |line: &Value| (line[0] == "err", line[1].as_str().unwrap().to_owned());
            replay.requests = lines.iter().map(line).collect();
            if replay.status.is_none() {
                for (stderr, text) in std::mem::take(&mut replay.requests) {
                    replay.line(stderr, &text);
                }
            }
        }
        if !step["status"].is_null() || step.get("status").is_some() {
            replay.status = step["status"].as_u64().map(|status| u16::try_from(status).unwrap());
        }
        if let Some(mark) = step["mark"].as_str() {
            replay.flush();
            check(&mut replay, mark, &mut wrong);
            replay.now += Duration::from_secs(1);
        }
        if step["until"].is_string() {
            replay.readiness.edited(|_| true);
        }
        if let Some(code) = step["exit"].as_i64() {
            replay.flush();
            replay.readiness.ended();
            replay.exit = Some(code);
        }
    }
    check(&mut replay, "end", &mut wrong);
    wrong
}

#[test]
fn every_replay_is_told_as_it_was() {
    let folder = std::env::var("REPLAYS").map_or_else(
        |_| std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/replays"),
        std::path::PathBuf::from,
    );
    let mut failed = Vec::new();
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path: &std::path::PathBuf| path.is_dir() || path.extension().is_some_and(|end| end == "json"));
    names.sort();
    for path in names {
        let (steps, expected) = if path.is_dir() {
            let read =
                |name: &str| std::fs::read(path.join(name)).ok().map(|text| serde_json::from_slice(&text).unwrap());
            let (Some(steps), Some(expected)) = (read("steps.json"), read("expected.json")) else { continue };
            (steps, expected)
        } else {
            let mut replay: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            (replay["steps"].take(), replay["expected"].take())
        };
        for lines_come_first in [true, false] {
            for wrong in run(&steps, &expected, lines_come_first) {
                failed.push(format!("{}: {wrong}", path.file_stem().unwrap().display()));
            }
        }
    }
    failed.dedup();
    assert!(failed.is_empty(), "{} are wrong:\n{}", failed.len(), failed.join("\n"));
}

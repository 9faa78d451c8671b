//! The output of real dev servers (`tests/data/dev-servers`), split anywhere, through the pure readiness.
//! `<stack>.log` is healthy, `<stack>-error.log` has a page broken from the start, `<stack>-hot.log` was broken and mended.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;

use kosuke_docker::readiness::{LineSplitter, Readiness};

/// Each log without the engine's timestamps.
fn logs() -> BTreeMap<String, Vec<u8>> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dev-servers");
    let mut logs = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let raw = std::fs::read(&path).unwrap();
        let lines = raw.split_inclusive(|&byte| byte == b'\n');
        let plain = lines.flat_map(|line| &line[line.iter().position(|&byte| byte == b' ').map_or(0, |at| at + 1)..]);
        logs.insert(path.file_stem().unwrap().to_str().unwrap().to_owned(), plain.copied().collect());
    }
    assert!(logs.len() > 30);
    logs
}

fn read(log: &[u8], chunk: usize) -> Readiness {
    let mut splitter = LineSplitter::default();
    let mut readiness = Readiness::default();
    for chunk in log.chunks(chunk) {
        for line in splitter.push(chunk) {
            readiness.line(&line);
        }
    }
    if let Some(line) = splitter.finish() {
        readiness.line(&line);
    }
    readiness
}

#[test]
fn healthy_servers_are_up_and_complete_once_they_answer() {
    for (name, log) in logs() {
        if name.contains("-error") || name.contains("-hot") || name.starts_with("edge-") {
            continue;
        }
        for chunk in [1, 7, 64, log.len()] {
            let mut readiness = read(&log, chunk);
            assert!(readiness.is_up(), "{name} in chunks of {chunk}");
            assert!(!readiness.has_error(), "{name} in chunks of {chunk}");
            readiness.answer(200, readiness.mark());
            assert!(readiness.is_complete(), "{name} in chunks of {chunk}");
        }
    }
}

#[test]
fn broken_pages_are_never_complete() {
    for (name, log) in logs().into_iter().filter(|(name, _)| name.ends_with("-error")) {
        for chunk in [1, 7, 64, log.len()] {
            let mut readiness = read(&log, chunk);
            assert!(readiness.has_error(), "{name} in chunks of {chunk}");
            readiness.answer(500, readiness.mark());
            assert!(!readiness.is_complete(), "{name} in chunks of {chunk}");
        }
    }
}

#[test]
fn mended_pages_are_complete_after_the_next_good_answer() {
    for (name, log) in logs().into_iter().filter(|(name, _)| name.ends_with("-hot")) {
        let mut readiness = read(&log, 64);
        readiness.answer(200, readiness.mark());
        assert!(readiness.is_complete(), "{name}");
    }
}

#[test]
fn colours_and_a_terminal_change_nothing() {
    for name in ["edge-next15-tty", "edge-vite7-tty", "edge-next16-CI"] {
        let readiness = read(&logs()[name], 5);
        assert!(readiness.is_up(), "{name}");
    }
}

//! How fast the output of dev servers is read.
#![allow(clippy::unwrap_used, missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use kosuke_docker::readiness::{Classifier, Patterns};

/// Every capture without the engine's timestamps, one after the other, several times.
fn captures() -> Vec<u8> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dev-servers");
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let raw = std::fs::read(entry.unwrap().path()).unwrap();
        for line in raw.split_inclusive(|&byte| byte == b'\n') {
            let stamped = line.len() > 30 && line[10] == b'T' && line[30] == b' ';
            all.extend_from_slice(if stamped { &line[31..] } else { line });
        }
    }
    all.repeat(4 * 1024 * 1024 / all.len())
}

fn read(bytes: &[u8]) -> usize {
    let mut classifier = Classifier::new(Patterns::default());
    let mut signals = 0;
    for chunk in bytes.chunks(16 * 1024) {
        classifier.push(false, chunk, &mut |signal| {
            black_box(signal);
            signals += 1;
        });
    }
    classifier.flush(&mut |_| signals += 1);
    signals
}

fn classifier(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("classifier");
    group.sample_size(20);
    let captures = captures();
    let plain = b"2026-11-24 06:32:17 INFO served 20 items to user 4711 from the cache\n".repeat(50_000);
    for (name, bytes) in [("captures", &captures), ("plain lines", &plain)] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |bencher| bencher.iter(|| read(black_box(bytes))));
    }
    group.finish();
}

criterion_group!(benches, classifier);
criterion_main!(benches);

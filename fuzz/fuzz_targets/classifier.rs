//! Any split of any output gives the same signals, and what is kept of it is bounded.
#![no_main]

use kosuke_docker::readiness::{Classifier, Patterns, Readiness, Signal};
use libfuzzer_sys::fuzz_target;

/// The stream of a chunk is a bit of its cut, so that both streams interleave.
fn read<'a>(chunks: impl Iterator<Item = (bool, &'a [u8])>) -> Vec<Signal> {
    let mut classifier = Classifier::new(Patterns::default());
    let mut signals = Vec::new();
    for (stderr, bytes) in chunks {
        classifier.push(stderr, bytes, &mut |signal| signals.push(signal));
    }
    classifier.flush(&mut |signal| signals.push(signal));
    assert!(!classifier.is_open());
    signals
}

fuzz_target!(|input: (&[u8], Vec<u8>)| {
    let (bytes, cuts) = input;
    let mut chunks: Vec<(bool, &[u8])> = Vec::new();
    let mut rest = bytes;
    for cut in &cuts {
        let (chunk, after) = rest.split_at(usize::from(cut >> 1).min(rest.len()));
        chunks.push((cut & 1 == 1, chunk));
        rest = after;
    }
    chunks.push((false, rest));
    let whole = read(chunks.iter().copied());
    let single = chunks.iter().flat_map(|(stderr, chunk)| chunk.chunks(1).map(|byte| (*stderr, byte)));
    assert_eq!(read(single), whole);

    let mut readiness = Readiness::default();
    for signal in whole {
        if let Signal::Error(error, _) = &signal {
            assert!(error.raw.len() <= 8 * 1024 && error.raw.lines().count() <= 64 && error.message.len() <= 4 * 1024);
        }
        readiness.signal(signal);
    }
    readiness.answer(500, readiness.mark());
    assert!(readiness.errors().len() <= 32);
    readiness.answer(200, readiness.mark());
});

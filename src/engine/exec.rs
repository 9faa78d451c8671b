//! A program that runs in a workload beside its own.

use std::time::Duration;

/// What is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSpec {
    /// The program and its arguments; no shell reads them. It runs in the workload's own folder, as its user.
    pub argv: Vec<String>,
    /// How long the answer is waited for. Engines end no such program: it has to end by itself before.
    pub timeout: Duration,
    /// Bytes of its output that are kept; the rest is read and dropped.
    pub max_output: usize,
}

/// What came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecResult {
    /// What it printed, both streams as they came.
    pub output: Vec<u8>,
    /// Whether there was more of it.
    pub is_cut: bool,
    /// How it ended, where the engine tells.
    pub exit_code: Option<i64>,
}

impl ExecResult {
    /// Takes in a piece of output, up to `max_output` bytes in all.
    pub(in crate::engine) fn push(&mut self, bytes: &[u8], max_output: usize) {
        let room = max_output.saturating_sub(self.output.len());
        self.is_cut |= bytes.len() > room;
        self.output.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_bounded() {
        let mut result = ExecResult::default();
        result.push(b"abc", 4);
        assert!(!result.is_cut);
        result.push(b"def", 4);
        assert_eq!((result.output.as_slice(), result.is_cut), (b"abcd".as_slice(), true));
    }
}

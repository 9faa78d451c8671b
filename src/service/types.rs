//! The project's own type checker, in its container: `tsc --noEmit`.

use std::time::Duration;

use crate::engine::{Engine, EngineError, ExecSpec};
use crate::preview::CompileError;
use crate::readiness::{Classifier, LineSplitter, Signal, without_passwords};

/// Bytes of its output that are read.
const MAX_OUTPUT: usize = 256 << 10;
const MAX_ERRORS: usize = 200;
/// What the engine needs around the program.
const MARGIN: Duration = Duration::from_secs(2);
/// How the program below ends by itself.
const NO_CHECKER: i64 = 127;
const NO_CONFIG: i64 = 126;
const TOO_LATE: i64 = 124;

/// Runs the checker and ends it in time, with all that it started: an image need not have `timeout`, but has Node. The
/// kernel is asked to end the checker before the app when memory runs out. `process.argv[1]`: milliseconds.
const PROGRAM: &str = r"
const { existsSync, writeFileSync } = require('fs');
const { spawnSync } = require('child_process');
try { writeFileSync('/proc/self/oom_score_adj', '1000'); } catch {}
const checker = 'node_modules/.bin/tsc';
if (!existsSync(checker)) process.exit(127);
if (!existsSync('tsconfig.json')) process.exit(126);
const ended = spawnSync(checker, ['--noEmit', '--pretty', 'false'], {
  stdio: ['ignore', 'inherit', 'inherit'],
  timeout: Number(process.argv[1]),
  killSignal: 'SIGKILL',
  detached: true,
});
try { process.kill(-ended.pid, 'SIGKILL'); } catch {}
if (ended.error && ended.error.code !== 'ETIMEDOUT') console.log(String(ended.error));
process.exitCode = ended.signal ? 124 : (ended.status ?? 1);
";

/// What the type checker refused; or why it did not run to its end.
pub(super) async fn check(engine: &dyn Engine, id: &str, timeout: Duration) -> Result<Vec<CompileError>, String> {
    let within = timeout.saturating_sub(MARGIN);
    if within.is_zero() {
        return Err(format!(
            "types: no time is left for the type checker, which needs more than {} s",
            MARGIN.as_secs()
        ));
    }
    let argv = ["node", "-e", PROGRAM, &within.as_millis().to_string()].map(str::to_owned);
    let ran = engine.exec(id, &ExecSpec { argv: argv.to_vec(), timeout, max_output: MAX_OUTPUT }).await;
    let ended = ran.map_err(|error| match error {
        EngineError::Timeout(_) => "types: the container did not run the type checker in time".to_owned(),
        error => format!("types: the container cannot run the type checker: {error}"),
    })?;
    match ended.exit_code {
        Some(NO_CHECKER) => Err("types: the project has no node_modules/.bin/tsc".to_owned()),
        Some(NO_CONFIG) => Err("types: the project has no tsconfig.json".to_owned()),
        Some(TOO_LATE) => Err(format!("types: the type checker was ended after {:.0} s", within.as_secs_f64())),
        code => {
            let errors = errors_in(&ended.output);
            match code {
                Some(0) => Ok(Vec::new()),
                _ if ended.is_cut && errors.is_empty() => Err("types: the type checker printed too much".to_owned()),
                _ if !errors.is_empty() => Ok(errors),
                _ => Err(format!("types: the type checker failed: {}", first_line(&ended.output))),
            }
        }
    }
}

fn errors_in(output: &[u8]) -> Vec<CompileError> {
    let (mut classifier, mut errors) = (Classifier::default(), Vec::new());
    let mut take = |signal| {
        if let Signal::Error(error, _) = signal
            && errors.len() < MAX_ERRORS
        {
            errors.push(error);
        }
    };
    classifier.push(false, output, &mut take);
    classifier.push(false, b"\n", &mut take);
    classifier.flush(&mut take);
    errors
}

fn first_line(output: &[u8]) -> String {
    let mut lines = LineSplitter::default();
    let told = lines.push(output).into_iter().find(|line| !line.trim().is_empty()).or_else(|| lines.finish());
    without_passwords(&told.unwrap_or_else(|| "it said nothing".to_owned()).chars().take(200).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_tsc_is_an_error() {
        let output = b"src/a.ts(3,5): error TS2322: Type 'string' is not assignable to type 'number'.\n\
            src/b.tsx(1,1): error TS7006: Parameter 'x' implicitly has an 'any' type.";
        let errors = errors_in(output);
        let told: Vec<_> = errors.iter().map(|error| (error.file.as_deref(), error.line, error.column)).collect();
        assert_eq!(told, [(Some("src/a.ts"), Some(3), Some(5)), (Some("src/b.tsx"), Some(1), Some(1))]);
        assert_eq!(first_line(b"\n  sh: tsc: not found\n"), "  sh: tsc: not found");
        assert_eq!(first_line(b""), "it said nothing");
    }
}

//! What a dev server says of itself when it starts.

use futures_util::StreamExt;

use super::context::Context;
use crate::engine::LogStart;
use crate::readiness::LineSplitter;
use crate::state::Run;
use crate::sync::START_TOLERANCE;

/// Of what was printed, so many lines are read.
const LINES: u32 = 2_000;

/// The major and minor version of Next.js, None where another server runs or none is named.
pub(super) async fn next_version(context: &Context, run: &Run) -> Option<(u32, u32)> {
    let since = run.id().started_at.map(|started| started - START_TOLERANCE);
    let mut chunks = context.engine.logs(run.id(), LogStart { since, tail: Some(LINES) }, false);
    let mut lines: [LineSplitter; 2] = Default::default();
    while let Some(Ok(chunk)) = chunks.next().await {
        let found = lines[usize::from(chunk.stderr)].push(&chunk.bytes).iter().find_map(|line| version_in(line));
        if found.is_some() {
            return found;
        }
    }
    None
}

/// `▲ Next.js 16.4.6 (Turbopack)`
fn version_in(line: &str) -> Option<(u32, u32)> {
    let version = line.trim_start().strip_prefix("▲ Next.js ")?;
    let mut numbers = version.split(['.', ' ', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_banner_is_read() {
        assert_eq!(version_in("   ▲ Next.js 16.4.6 (Turbopack)"), Some((16, 4)));
        assert_eq!(version_in("▲ Next.js 15.5.29"), Some((15, 5)));
        assert_eq!(version_in("- Local: http://localhost:3000"), None);
    }
}

//! The older service's reading of output: two phrases, anywhere in a chunk, mean that the page compiled. It counts for
//! docker-py-compatible clients, whose chunks need not be lines.

use futures_util::StreamExt;

use crate::engine::LogChunks;
use crate::id::PreviewId;
use crate::state::Store;

const PHRASES: [&[u8]; 2] = [b"compiled successfully", b"ready started server"];

/// Reads until a phrase stands in a chunk, and marks the preview as compiled then. A failure is logged.
pub(crate) async fn follow_phrases(store: &Store, id: &PreviewId, mut chunks: LogChunks) {
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) if has_phrase(&chunk.bytes) => return store.complete(id),
            Ok(_) => {}
            Err(error) => {
                let project = id.project_id();
                log::error!(target: "kosuke_docker::monitor", "Error monitoring compilation for project {project}: {error}");
                return;
            }
        }
    }
}

fn has_phrase(chunk: &[u8]) -> bool {
    PHRASES.iter().any(|phrase| chunk.windows(phrase.len()).any(|window| window == *phrase))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phrases_count_anywhere_in_a_chunk() {
        assert!(has_phrase(b"xx event - compiled successfully yy"));
        assert!(has_phrase(b"ready started server"));
        assert!(!has_phrase(b"compiled  successfully"));
    }
}

//! Notices that a file of a project was edited. It polls, and only while somebody waits: inotify needs a watch per folder,
//! counts against a limit that the dev servers share, and hears nothing of edits on some mounts.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

const POLL: Duration = Duration::from_millis(500);
/// An editor or an agent may write a file in several steps, and the dev server has to notice, too.
const WRITE_PAUSE: Duration = Duration::from_millis(200);
/// A larger tree is not scanned to its end.
const MAX_ENTRIES: usize = 5_000;
/// What dev servers and package managers write themselves.
const SKIPPED: [&str; 11] =
    ["node_modules", ".git", ".next", ".nuxt", ".output", ".astro", ".svelte-kit", ".vite", ".cache", "dist", "build"];

/// The edits of one project's folder.
pub(crate) struct Edits {
    folder: PathBuf,
    /// What the last scan found, if one was made.
    last: Option<Fingerprint>,
}

/// Changes whenever a file is written, made, moved or removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Fingerprint {
    /// When a file was last changed, in seconds and nanoseconds: also by a move or a copy that keeps its own time.
    newest: Option<(i64, i64)>,
    entries: usize,
}

impl Edits {
    /// A folder that is not here has no edits.
    pub(crate) fn of(folder: PathBuf) -> Self {
        Self { folder, last: None }
    }

    /// What was edited so far is no news any more: a request from now on sees it.
    pub(super) async fn mark_seen(&mut self) {
        self.last = self.scan().await;
    }

    /// Makes the first scan, if none was made.
    pub(super) async fn begin(&mut self) {
        if self.last.is_none() {
            self.mark_seen().await;
        }
    }

    /// Waits for an edit after the last one, or after what was marked as seen.
    pub(super) async fn next(&mut self) {
        self.begin().await;
        loop {
            tokio::time::sleep(POLL).await;
            let now = self.scan().await;
            if now != self.last {
                self.last = now;
                tokio::time::sleep(WRITE_PAUSE).await;
                return;
            }
        }
    }

    async fn scan(&self) -> Option<Fingerprint> {
        let folder = self.folder.clone();
        let fingerprint = tokio::task::spawn_blocking(move || {
            let mut fingerprint = Fingerprint::default();
            scan_folder(&folder, &mut fingerprint).then_some(fingerprint)
        });
        fingerprint.await.ok().flatten()
    }
}

/// False: the folder cannot be read.
fn scan_folder(folder: &Path, fingerprint: &mut Fingerprint) -> bool {
    let Ok(entries) = std::fs::read_dir(folder) else { return false };
    for entry in entries.flatten() {
        if fingerprint.entries >= MAX_ENTRIES {
            break;
        }
        fingerprint.entries += 1;
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_dir() {
            if !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                scan_folder(&entry.path(), fingerprint);
            }
        } else {
            fingerprint.newest = fingerprint.newest.max(Some((metadata.ctime(), metadata.ctime_nsec())));
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_edit_is_noticed_and_nothing_else() -> std::io::Result<()> {
        let root = std::env::temp_dir().join(format!("kosuke-edits-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&root));
        std::fs::create_dir_all(root.join("app"))?;
        std::fs::create_dir_all(root.join("node_modules"))?;
        std::fs::write(root.join("app/page.js"), "a")?;
        let mut edits = Edits::of(root.clone());
        let within = Duration::from_secs(5);
        assert!(tokio::time::timeout(within, edits.next()).await.is_err(), "nothing was edited");
        std::fs::write(root.join("node_modules/x.js"), "b")?;
        assert!(tokio::time::timeout(within, edits.next()).await.is_err(), "dependencies are no edits");
        std::fs::write(root.join("app/other.js"), "b")?;
        assert!(tokio::time::timeout(within, edits.next()).await.is_ok());
        assert!(tokio::time::timeout(within, edits.next()).await.is_err(), "one edit is told once");
        // As `mv` and `cp -p` do: an older file takes its place.
        let older = root.join("node_modules/older.js");
        let other = std::fs::metadata(root.join("app/other.js"))?;
        let changed = |metadata: &std::fs::Metadata| (metadata.ctime(), metadata.ctime_nsec());
        // The file system's clock moves in steps of milliseconds, and nothing waits here.
        while changed(&std::fs::File::create(&older)?.metadata()?) <= changed(&other) {
            std::fs::remove_file(&older)?;
        }
        std::fs::File::create(&older)?.set_modified(std::time::SystemTime::UNIX_EPOCH)?;
        std::fs::rename(&older, root.join("app/page.js"))?;
        assert!(tokio::time::timeout(within, edits.next()).await.is_ok(), "a move is an edit");
        std::fs::remove_dir_all(&root)
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_is_not_here_has_no_edits() {
        let mut edits = Edits::of("/nonexistent".into());
        assert!(tokio::time::timeout(Duration::from_secs(60), edits.next()).await.is_err());
    }
}

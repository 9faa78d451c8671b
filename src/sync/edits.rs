//! Notices that a file of a project was edited. It polls, and only while somebody waits: inotify needs a watch per folder,
//! counts against a limit that the dev servers share, and hears nothing of edits on some mounts.

use std::collections::VecDeque;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::project_files::{ProjectFiles, SKIPPED};

const POLL: Duration = Duration::from_millis(500);
/// An editor or an agent may write a file in several steps, and the dev server has to notice, too.
const WRITE_PAUSE: Duration = Duration::from_millis(200);
/// A larger tree is not scanned to its end. Folders that are near to the root come first.
const MAX_ENTRIES: usize = 5_000;
/// No project's own files lie deeper.
const MAX_DEPTH: usize = 32;
/// A scan that takes longer, as on a slow network's disk, is given up and tells nothing.
const MAX_SCAN: Duration = Duration::from_secs(2);
/// The pause between two scans, in scans: they take a tenth of a processor at the most.
const PAUSE_IN_SCANS: u32 = 10;

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

    /// The files of the project, as they are now.
    pub(super) async fn files(&self) -> ProjectFiles {
        ProjectFiles::of(self.folder.clone()).await
    }

    /// Waits for an edit after the last one, or after what was marked as seen.
    pub(super) async fn next(&mut self) {
        self.begin().await;
        let mut pause = POLL;
        loop {
            tokio::time::sleep(pause).await;
            let began = Instant::now();
            let now = self.scan().await;
            pause = POLL.max(began.elapsed() * PAUSE_IN_SCANS);
            if now != self.last {
                tokio::time::sleep(WRITE_PAUSE).await;
                // Last: who stops waiting in the middle finds the edit the next time.
                self.last = now;
                return;
            }
        }
    }

    async fn scan(&self) -> Option<Fingerprint> {
        let (folder, last) = (self.folder.clone(), self.last);
        let scanned = tokio::task::spawn_blocking(move || scan(&folder, Instant::now() + MAX_SCAN));
        match scanned.await {
            Ok(Scan::Whole(fingerprint)) => Some(fingerprint),
            Ok(Scan::Unreadable) => None,
            Ok(Scan::TooSlow) | Err(_) => last,
        }
    }
}

/// What a scan came to.
#[derive(Debug, PartialEq, Eq)]
enum Scan {
    Whole(Fingerprint),
    /// The folder cannot be read.
    Unreadable,
    TooSlow,
}

/// Looks at the names and times of a tree, folder by folder: one is open at a time, and no file, which a pipe would never
/// answer. No link is followed, but one that takes a folder's place in that moment: its times are counted, nothing is read.
fn scan(root: &Path, deadline: Instant) -> Scan {
    let mut fingerprint = Fingerprint::default();
    let Ok(entries) = std::fs::read_dir(root) else { return Scan::Unreadable };
    let mut open = Some(entries);
    let mut folders: VecDeque<(usize, PathBuf)> = VecDeque::new();
    let mut depth = 0;
    while let Some(entries) = open.take() {
        for entry in entries.flatten() {
            if fingerprint.entries >= MAX_ENTRIES {
                return Scan::Whole(fingerprint);
            }
            if Instant::now() >= deadline {
                return Scan::TooSlow;
            }
            fingerprint.entries += 1;
            let Ok(metadata) = entry.metadata() else { continue };
            if !metadata.is_dir() {
                fingerprint.newest = fingerprint.newest.max(Some((metadata.ctime(), metadata.ctime_nsec())));
            } else if depth < MAX_DEPTH && !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                folders.push_back((depth + 1, entry.path()));
            }
        }
        while let Some((below, folder)) = folders.pop_front() {
            depth = below;
            open = std::fs::read_dir(folder).ok();
            if open.is_some() {
                break;
            }
        }
    }
    Scan::Whole(fingerprint)
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

    #[test]
    fn a_hostile_tree_costs_little() -> std::io::Result<()> {
        let root = std::env::temp_dir().join(format!("kosuke-edits-hostile-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&root));
        let mut deep = root.join("a");
        while deep.as_os_str().len() < 3_500 {
            deep.push("a");
        }
        std::fs::create_dir_all(&deep)?;
        std::os::unix::fs::symlink(&root, root.join("loop"))?;
        let made = std::process::Command::new("mkfifo").arg(root.join("pipe")).status()?;
        assert!(made.success());
        let open = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let (most, done) = (std::sync::atomic::AtomicUsize::new(0), std::sync::atomic::AtomicBool::new(false));
        let before = open();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    most.fetch_max(open(), std::sync::atomic::Ordering::Relaxed);
                }
            });
            let later = || Instant::now() + Duration::from_secs(60);
            for _ in 0..50 {
                let found = match scan(&root, later()) {
                    Scan::Whole(found) => found.entries,
                    Scan::Unreadable | Scan::TooSlow => 0,
                };
                // The folders that are not too deep, the link and the pipe.
                assert_eq!(found, MAX_DEPTH + 1 + 2);
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        // Other tests of this process open some, too: a descriptor for each level would be hundreds.
        let most = most.into_inner();
        assert!(most < before + 100, "{before} were open before, {most} meanwhile");
        assert_eq!(scan(&root, Instant::now()), Scan::TooSlow);
        std::fs::remove_dir_all(&root)
    }
}

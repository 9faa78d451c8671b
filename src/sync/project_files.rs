//! The names of a project's files and when they were last changed. What runs in the project can fill it without end, so the
//! walk is bounded; it follows no link.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::preview::{CompileError, ErrorKind};
use crate::readiness::is_source;

/// What dev servers and package managers write themselves.
pub(super) const SKIPPED: [&str; 11] =
    ["node_modules", ".git", ".next", ".nuxt", ".output", ".astro", ".svelte-kit", ".vite", ".cache", "dist", "build"];
/// Files that are looked at. Folders that are near to the root come first.
const MAX_FILES: usize = 5_000;
const MAX_DEPTH: usize = 32;
const MAX_TIME: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ProjectFiles {
    /// Paths relative to the project's folder, with when each was last changed: also by a move.
    files: Vec<(String, SystemTime)>,
    /// When a folder was last changed: an entry was made, moved or removed.
    newest_folder: Option<SystemTime>,
    /// Whether there are more, or the folder could not be read.
    pub(crate) is_cut: bool,
}

impl ProjectFiles {
    /// Looks at a project's folder, off the loop.
    pub(crate) async fn of(folder: PathBuf) -> Self {
        let walk = move || walk(&folder, Instant::now() + MAX_TIME);
        tokio::task::spawn_blocking(walk).await.unwrap_or(Self { is_cut: true, ..Self::default() })
    }

    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(path, _)| path.as_str())
    }

    /// Whether what an error is about was changed after `told`: its file; without one, or where a module is missing, any source.
    pub(super) fn concerns(&self, error: &CompileError, told: SystemTime) -> bool {
        let newer = |changed: &SystemTime| *changed > told;
        let own = error.file.as_ref().filter(|_| error.kind != ErrorKind::ModuleNotFound);
        match own.map(|file| self.files.iter().find(|(path, _)| path == file)) {
            Some(Some((_, changed))) => newer(changed),
            // It was removed, or stands elsewhere.
            _ if self.newest_folder.as_ref().is_some_and(newer) => true,
            _ => self.files.iter().any(|(path, changed)| newer(changed) && is_source(path)),
        }
    }

    /// When a file was last changed.
    pub(crate) fn newest(&self) -> Option<SystemTime> {
        self.files.iter().map(|(_, changed)| *changed).max()
    }

    /// What changed last, with no more than a second between.
    pub(crate) fn edited(&self) -> Vec<String> {
        let Some(newest) = self.newest() else { return Vec::new() };
        let recent = |changed: &SystemTime| *changed + Duration::from_secs(1) >= newest;
        self.files.iter().filter(|(_, changed)| recent(changed)).map(|(path, _)| path.clone()).collect()
    }
}

pub(super) fn walk(root: &Path, deadline: Instant) -> ProjectFiles {
    let mut found = ProjectFiles::default();
    if let Ok(metadata) = std::fs::symlink_metadata(root) {
        found.newest_folder = Some(changed(metadata.ctime(), metadata.ctime_nsec()));
    }
    let mut folders = VecDeque::from([(0, root.to_owned(), String::new())]);
    while let Some((depth, folder, prefix)) = folders.pop_front() {
        // A folder may be gone by now; without the root nothing is known.
        let Ok(entries) = std::fs::read_dir(&folder) else {
            found.is_cut |= depth == 0;
            continue;
        };
        for entry in entries.flatten() {
            if found.files.len() + folders.len() >= MAX_FILES || Instant::now() >= deadline {
                found.is_cut = true;
                return found;
            }
            // A name that is no text is in no route. The metadata is of a link itself.
            let (Ok(name), Ok(metadata)) = (entry.file_name().into_string(), entry.metadata()) else { continue };
            let path = format!("{prefix}{name}");
            if !metadata.is_dir() {
                found.files.push((path, changed(metadata.ctime(), metadata.ctime_nsec())));
            } else if depth < MAX_DEPTH && !SKIPPED.contains(&name.as_str()) {
                found.newest_folder = found.newest_folder.max(Some(changed(metadata.ctime(), metadata.ctime_nsec())));
                folders.push_back((depth + 1, entry.path(), format!("{path}/")));
            }
        }
    }
    found
}

fn changed(seconds: i64, nanoseconds: i64) -> SystemTime {
    let since = Duration::new(
        u64::try_from(seconds).unwrap_or_default(),
        u32::try_from(nanoseconds.clamp(0, 999_999_999)).unwrap_or_default(),
    );
    SystemTime::UNIX_EPOCH + since
}

/// A text file, if it is one and not longer than this. No link is followed, and no pipe is waited for.
pub(crate) fn read_text(path: &Path, longest: u64) -> Option<String> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).ok()?;
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file() && metadata.len() <= longest)?;
    let mut text = String::new();
    file.take(metadata.len()).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_is_bounded_and_follows_no_link() -> std::io::Result<()> {
        let root = std::env::temp_dir().join(format!("kosuke-files-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&root));
        std::fs::create_dir_all(root.join("app/blog"))?;
        std::fs::create_dir_all(root.join("node_modules/x"))?;
        std::fs::write(root.join("app/page.js"), "")?;
        std::fs::write(root.join("app/blog/page.js"), "")?;
        std::fs::write(root.join("node_modules/x/index.js"), "")?;
        std::os::unix::fs::symlink("/", root.join("app/all"))?;
        let later = || Instant::now() + Duration::from_secs(60);
        let found = walk(&root, later());
        let mut paths: Vec<_> = found.paths().collect();
        paths.sort_unstable();
        assert_eq!(paths, ["app/all", "app/blog/page.js", "app/page.js"]);
        assert!(!found.is_cut && found.newest().is_some());
        assert!(found.edited().contains(&"app/page.js".to_owned()), "{:?}", found.edited());
        assert!(walk(&root, Instant::now()).is_cut);
        assert!(walk(&root.join("none"), later()).is_cut);
        for number in 0..=MAX_FILES {
            std::fs::write(root.join(format!("app/{number}")), "")?;
        }
        let found = walk(&root, later());
        assert!(found.is_cut && found.paths().count() <= MAX_FILES);
        std::fs::remove_dir_all(&root)
    }
}

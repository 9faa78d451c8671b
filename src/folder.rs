//! The project's folder: checked on this machine before anything is made, and found on the host.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::id::PreviewId;

const NO_FOLDER: &str =
    "does not exist: a project's folder stands in PROJECTS_DIR, and is called like the project's id";
const NO_PROJECTS_DIR: &str = "PROJECTS_DIR itself does not exist (a relative path is made absolute from the working \
                               directory): create it, or set PROJECTS_DIR";

/// The project's folder with symlinks followed, so that the folder that is checked is the one that is mounted.
///
/// # Errors
/// [`Error::ProjectFolder`] when it is missing, not a folder, or leads out of `projects_dir`.
pub async fn resolve(projects_dir: &Path, key: &PreviewId) -> Result<PathBuf, Error> {
    let path = projects_dir.join(key.folder());
    let wrong = |path: &Path, problem: &str| Error::ProjectFolder {
        preview: key.clone(),
        path: path.to_owned(),
        problem: problem.to_owned(),
    };
    let unreadable = |path: &Path, error: &std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong(path, NO_FOLDER),
        _ => wrong(path, &error.to_string()),
    };
    let root = tokio::fs::canonicalize(projects_dir).await.map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => wrong(projects_dir, NO_PROJECTS_DIR),
        _ => wrong(projects_dir, &format!("PROJECTS_DIR cannot be read: {error}")),
    })?;
    let real = tokio::fs::canonicalize(&path).await.map_err(|error| unreadable(&path, &error))?;
    if !real.starts_with(&root) {
        return Err(wrong(&path, "is a symlink that leads out of PROJECTS_DIR"));
    }
    let metadata = tokio::fs::metadata(&real).await.map_err(|error| unreadable(&real, &error))?;
    if metadata.is_dir() { Ok(real) } else { Err(wrong(&path, "is not a folder")) }
}

/// Who a project's folder belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// An entry that root owns although the folder is another's: what ran before made it, and only root may write there.
    pub of_root: Option<String>,
}

/// Entries that are looked at: a folder can be filled without end by what runs in it.
const MAX_ENTRIES: usize = 4096;

/// Who the folder belongs to, and whether something directly in it is root's.
///
/// # Errors
/// It cannot be read.
pub async fn owner(folder: &Path) -> std::io::Result<Owner> {
    let folder = folder.to_owned();
    let look = move || {
        let metadata = std::fs::metadata(&folder)?;
        let mut owner = Owner { uid: metadata.uid(), gid: metadata.gid(), of_root: None };
        if owner.uid == 0 {
            return Ok(owner);
        }
        for entry in std::fs::read_dir(&folder)?.take(MAX_ENTRIES) {
            let entry = entry?;
            match entry.metadata() {
                Ok(metadata) if metadata.uid() == 0 => {
                    owner.of_root = Some(entry.file_name().to_string_lossy().into_owned());
                    break;
                }
                // Removed since it was listed.
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(owner)
    };
    tokio::task::spawn_blocking(look).await.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}

/// Whether the engine's socket is in this folder, or is it: whoever reaches it is root on the engine's machine.
/// `socket`: the one that is in use, where it is a file of this machine. The usual ones count, too.
#[must_use]
pub fn holds_engine(folder: &Path, socket: Option<&Path>) -> bool {
    let usual =
        ["/run/docker.sock", "/var/run/docker.sock", "/run/podman/podman.sock", "/run/containerd/containerd.sock"];
    let sockets = socket.into_iter().chain(usual.into_iter().map(Path::new));
    sockets.into_iter().any(|socket| {
        let real = socket.canonicalize();
        socket.starts_with(folder) || real.is_ok_and(|real| real.starts_with(folder))
    })
}

/// The folder's path below the workspace, which is the parent of `projects_dir`.
#[must_use]
pub fn in_workspace(projects_dir: &Path, key: &PreviewId) -> PathBuf {
    Path::new(projects_dir.file_name().unwrap_or_default()).join(key.folder())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn problem(root: &Path, id: u64) -> String {
        match resolve(root, &PreviewId::project(id)).await {
            Err(Error::ProjectFolder { problem, .. }) => problem,
            other => format!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn only_a_folder_inside_is_taken() -> std::io::Result<()> {
        let root = std::env::temp_dir().join(format!("kosuke-folder-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&root);
        std::fs::create_dir_all(root.join("1"))?;
        std::fs::write(root.join("2"), "")?;
        std::os::unix::fs::symlink("/etc", root.join("3"))?;
        std::os::unix::fs::symlink(root.join("1"), root.join("4"))?;
        let inside = root.canonicalize()?.join("1");
        assert_eq!(resolve(&root, &PreviewId::project(1)).await.ok(), Some(inside.clone()));
        assert_eq!(resolve(&root, &PreviewId::project(4)).await.ok(), Some(inside));
        assert_eq!(problem(&root, 2).await, "is not a folder");
        assert_eq!(problem(&root, 3).await, "is a symlink that leads out of PROJECTS_DIR");
        assert_eq!(problem(&root, 5).await, NO_FOLDER);
        assert_eq!(problem(&root.join("none"), 5).await, NO_PROJECTS_DIR);
        std::fs::remove_dir_all(&root)
    }

    #[test]
    fn a_folder_that_holds_the_engine_is_told() {
        let holds = |folder: &str, socket| holds_engine(Path::new(folder), socket);
        let own = Some(Path::new("/srv/projects/7/tmp/engine.sock"));
        assert!(holds("/srv/projects/7", own));
        assert!(holds("/", None) && holds("/run", None) && holds("/var/run/docker.sock", None));
        assert!(!holds("/srv/projects/7", None) && !holds("/srv/projects/71", own));
    }
}

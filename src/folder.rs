//! The project's folder: checked on this machine before anything is made, and found on the host.

use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::id::PreviewId;

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
        std::io::ErrorKind::NotFound => wrong(path, "does not exist"),
        _ => wrong(path, &error.to_string()),
    };
    let root = tokio::fs::canonicalize(projects_dir).await.map_err(|error| unreadable(projects_dir, &error))?;
    let real = tokio::fs::canonicalize(&path).await.map_err(|error| unreadable(&path, &error))?;
    if !real.starts_with(&root) {
        return Err(wrong(&path, "is a symlink that leads out of PROJECTS_DIR"));
    }
    let metadata = tokio::fs::metadata(&real).await.map_err(|error| unreadable(&real, &error))?;
    if metadata.is_dir() { Ok(real) } else { Err(wrong(&path, "is not a folder")) }
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
        assert_eq!(problem(&root, 5).await, "does not exist");
        std::fs::remove_dir_all(&root)
    }
}

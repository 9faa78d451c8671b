//! Which deployment this is, as the marks of its databases have it. Where the operator did not name it, a random id in a file
//! of `PROJECTS_DIR` tells: all workers read the same, it outlives them, and no other deployment has it.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use tokio::sync::OnceCell;

use crate::database::{DatabaseError, Deployment};
use crate::id::hex;
use crate::settings::Settings;

const FILE: &str = ".kosuke-deployment";
const ID_BYTES: usize = 16;
const ID_DIGITS: usize = 2 * ID_BYTES;

/// See the module. The file is read, or made, at the first question.
pub(super) struct Identity {
    owner: String,
    /// The folder of the file; None: the operator named the deployment.
    folder: Option<PathBuf>,
    known: OnceCell<Deployment>,
}

impl Identity {
    pub(super) fn new(settings: &Settings) -> Self {
        let folder = (!settings.preview_owner_is_set).then(|| settings.projects_dir.clone());
        Self { owner: settings.preview_owner.clone(), folder, known: OnceCell::new() }
    }

    /// The deployment.
    ///
    /// # Errors
    /// The file cannot be read or made; it is tried again at the next call.
    pub(super) async fn deployment(&self) -> Result<&Deployment, DatabaseError> {
        let find = || async {
            let Some(folder) = self.folder.clone() else { return Ok(Deployment::named(&self.owner)) };
            let found = tokio::task::spawn_blocking(move || read_or_make(&folder)).await;
            let id =
                found.unwrap_or_else(|error| Err(error.to_string())).map_err(|problem| without_identity(&problem))?;
            Ok(Deployment { owner: self.owner.clone(), id })
        };
        self.known.get_or_try_init(find).await
    }
}

fn without_identity(problem: &str) -> DatabaseError {
    let way_out = "make PROJECTS_DIR writable, or name the deployment with PREVIEW_OWNER";
    DatabaseError::new("find deployment", format!("{problem}: {way_out}"))
}

/// The id that stands in the folder's file, which is made where it is missing.
fn read_or_make(folder: &Path) -> Result<String, String> {
    let path = folder.join(FILE);
    if let Some(id) = read(&path)? {
        return Ok(id);
    }
    make(folder, &path).map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
    read(&path)?.ok_or_else(|| format!("{} went away", path.display()))
}

/// None: there is no such file.
fn read(path: &Path) -> Result<Option<String>, String> {
    let failed = |error: std::io::Error| format!("{} cannot be read: {error}", path.display());
    let found = match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        found => found.map_err(failed)?,
    };
    // A link may lead anywhere, and a pipe would be waited for.
    if !found.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    let mut text = String::new();
    // One more than there may be, with the end of the line.
    let limit = u64::try_from(ID_DIGITS + 2).unwrap_or_default();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(limit).read_to_string(&mut text).map_err(failed)?;
    let id = text.trim_end();
    let is_id = id.len() == ID_DIGITS && id.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if is_id { Ok(Some(id.to_owned())) } else { Err(format!("{} does not hold 32 hex digits", path.display())) }
}

/// Whoever links its file first made it: the name never leads to a file that is not whole.
fn make(folder: &Path, path: &Path) -> std::io::Result<()> {
    let id = random()?;
    let draft = folder.join(format!("{FILE}.{id}"));
    let written = std::fs::File::create_new(&draft).and_then(|mut file| {
        file.write_all(format!("{id}\n").as_bytes())?;
        file.sync_all()
    });
    let made = match written.and_then(|()| std::fs::hard_link(&draft, path)) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made,
    };
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => made.and(Err(error)),
        _ => made,
    }
}

fn random() -> std::io::Result<String> {
    let mut bytes = [0_u8; ID_BYTES];
    getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
    Ok(hex(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> std::io::Result<PathBuf> {
        let folder = std::env::temp_dir().join(format!("kosuke-deployment-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    #[test]
    fn all_that_ask_at_once_get_one_id_and_no_draft_is_left() -> std::io::Result<()> {
        let folder = folder("once")?;
        let ids: Vec<_> = std::thread::scope(|scope| {
            let asking: Vec<_> = (0..16).map(|_| scope.spawn(|| read_or_make(&folder))).collect();
            asking.into_iter().map(std::thread::ScopedJoinHandle::join).filter_map(Result::ok).collect()
        });
        assert_eq!(ids.len(), 16);
        assert!(ids.iter().all(|id| id.is_ok() && *id == ids[0]), "{ids:?}");
        assert_eq!(std::fs::read_dir(&folder)?.count(), 1);
        std::fs::remove_dir_all(&folder)
    }

    #[test]
    fn what_is_no_id_is_an_error() -> std::io::Result<()> {
        let folder = folder("wrong")?;
        for text in ["", "\n", "0123", &"g".repeat(32), &"a".repeat(33), &"A".repeat(32), &"ab\n".repeat(12)] {
            std::fs::write(folder.join(FILE), text)?;
            assert!(read_or_make(&folder).is_err_and(|problem| problem.contains("32 hex digits")), "{text:?}");
        }
        std::fs::remove_dir_all(&folder)
    }
}

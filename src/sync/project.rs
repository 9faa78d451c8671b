//! What a project's folder says about the errors that its dev server told: which file is meant, and on which line.
//!
//! The folder is the app's, so it is read within bounds: no link is followed, no pipe is opened, one folder is open at a time.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use super::edits::SKIPPED_FOLDERS;
use crate::preview::{BrowserError, CompileError, ErrorKind};
use crate::readiness::{BrowserReport, Signal, framed_line};

/// Entries that are looked at. Folders that are near to the root come first.
const MAX_ENTRIES: usize = 5_000;
const MAX_DEPTH: usize = 32;
const MAX_SCAN: Duration = Duration::from_millis(500);
/// A larger file is no source that a person wrote.
const MAX_FILE: u64 = 1024 * 1024;
/// Names of the project that are remembered.
const MAX_NAMES: usize = 256;
/// Where aliases of imports stand.
const CONFIGURATIONS: [&str; 4] = ["tsconfig.json", "jsconfig.json", "tsconfig.app.json", "tsconfig.base.json"];

/// One project's folder.
#[derive(Debug, Clone)]
pub(super) struct Project {
    folder: PathBuf,
}

impl Project {
    /// A folder that is not here knows nothing.
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Makes the errors among the signals name files that are there. One that cannot be found is told as it was printed,
    /// unless its name was cut; one of several that fit is not guessed.
    pub(super) async fn correct(&self, mut signals: Vec<Signal>) -> Vec<Signal> {
        let named = |signal: &Signal| match signal {
            Signal::Error(error, _) => error.file.is_some(),
            Signal::Browser(report) => report.file.is_some(),
            _ => false,
        };
        if !signals.iter().any(named) {
            return signals;
        }
        let (folder, given) = (self.folder.clone(), signals.clone());
        let corrected = tokio::task::spawn_blocking(move || {
            for signal in &mut signals {
                match signal {
                    Signal::Error(error, _) => correct(&folder, error),
                    Signal::Browser(report) => correct_report(&folder, report),
                    _ => {}
                }
            }
            signals
        });
        corrected.await.unwrap_or(given)
    }

    /// The files of these errors that were changed since the error was told last.
    pub(super) async fn edited(&self, errors: &[BrowserError]) -> Vec<String> {
        let folder = self.folder.clone();
        let known: Vec<_> = errors.iter().filter_map(|error| Some((error.file.clone()?, error.last_at))).collect();
        let edited = tokio::task::spawn_blocking(move || {
            let changed = |(file, told): (String, SystemTime)| {
                let metadata = std::fs::symlink_metadata(folder.join(&file)).ok().filter(|_| is_inside(&file))?;
                let changed = Duration::new(metadata.ctime().try_into().ok()?, metadata.ctime_nsec().try_into().ok()?);
                (SystemTime::UNIX_EPOCH + changed > told).then_some(file)
            };
            known.into_iter().filter_map(changed).collect()
        });
        edited.await.unwrap_or_default()
    }

    /// What the project itself has by name: the entries of its folder, and the aliases of its configuration.
    pub(super) async fn names(&self) -> Vec<String> {
        let folder = self.folder.clone();
        tokio::task::spawn_blocking(move || names(&folder)).await.unwrap_or_default()
    }
}

fn correct_report(folder: &Path, report: &mut BrowserReport) {
    let mut error = CompileError {
        file: report.file.take(),
        line: report.line,
        column: report.column,
        message: String::new(),
        kind: ErrorKind::Runtime,
        raw: String::new(),
    };
    correct(folder, &mut error);
    (report.file, report.line, report.column) = (error.file, error.line, error.column);
}

fn correct(folder: &Path, error: &mut CompileError) {
    let Some(file) = error.file.clone() else { return };
    let frame = framed_line(&error.raw).map(|(line, text)| (line, text.to_owned()));
    let frame = frame.as_ref().map(|(line, text)| (*line, text.as_str()));
    if is_inside(&file) && is_file(&folder.join(&file)) {
        correct_line(folder, &file, error, frame);
        return;
    }
    let garbled = is_garbled(&file);
    let end = file.trim_start_matches("../").trim_start_matches("./").trim_start_matches('/');
    let end = if garbled { &end[end.rfind('.').unwrap_or(0)..] } else { end };
    let mut found = files(folder, |path| path.ends_with(end) && (garbled || at_component(path, end)));
    found.retain(|path| match (frame, error.line) {
        (Some((_, text)), _) => lines_like(folder, path, text).next().is_some(),
        (None, Some(line)) => read(&folder.join(path)).is_some_and(|text| text.lines().count() >= line as usize),
        (None, None) => true,
    });
    match (found.len(), garbled) {
        (1, _) => {
            error.file = found.pop();
            if let Some(file) = error.file.clone() {
                correct_line(folder, &file, error, frame);
            }
        }
        // A path from the root is of the container.
        (0, false) if !file.starts_with('/') => {}
        _ => (error.file, error.line, error.column) = (None, None, None),
    }
}

/// Some tools count lines in what their loaders made of the file: the line that the frame shows is looked for.
fn correct_line(folder: &Path, file: &str, error: &mut CompileError, frame: Option<(u32, &str)>) {
    let Some((line, text)) = frame.filter(|(line, _)| error.line == Some(*line)) else { return };
    let mut same = lines_like(folder, file, text);
    let first = same.next();
    if let (Some(first), None) = (first, same.next())
        && first != line
    {
        error.line = Some(first);
    }
}

/// The numbers of the lines of a file that read so.
fn lines_like(folder: &Path, file: &str, text: &str) -> std::vec::IntoIter<u32> {
    let content = read(&folder.join(file)).unwrap_or_default();
    let numbered = (1u32..).zip(content.lines());
    let like: Vec<u32> = numbered.filter(|(_, line)| line.trim() == text.trim()).map(|(number, _)| number).collect();
    like.into_iter()
}

/// Whether the name leads to something below the folder.
fn is_inside(file: &str) -> bool {
    !file.starts_with('/') && !file.split('/').any(|part| part == "..")
}

/// Whether nothing of the name but its ending is left: `....vue`.
fn is_garbled(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    name.starts_with("..")
}

fn at_component(path: &str, end: &str) -> bool {
    path.len() == end.len() || path[..path.len() - end.len()].ends_with('/')
}

/// The files of the tree that fit, relative to its root.
fn files(root: &Path, fits: impl Fn(&str) -> bool) -> Vec<String> {
    let deadline = Instant::now() + MAX_SCAN;
    let mut found = Vec::new();
    let mut folders = VecDeque::from([(0, root.to_owned())]);
    let mut entries = 0;
    while let Some((depth, folder)) = folders.pop_front() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            entries += 1;
            if entries > MAX_ENTRIES || Instant::now() >= deadline {
                return found;
            }
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                if depth < MAX_DEPTH && !SKIPPED_FOLDERS.iter().any(|skipped| entry.file_name() == *skipped) {
                    folders.push_back((depth + 1, entry.path()));
                }
            } else if kind.is_file()
                && let Some(path) = entry.path().strip_prefix(root).ok().and_then(Path::to_str)
                && fits(path)
            {
                found.push(path.to_owned());
            }
        }
    }
    found
}

fn is_file(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
}

/// A text file, if it is one and not too large. Nothing that would have to be waited for is opened.
fn read(path: &Path) -> Option<String> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return None;
    }
    let mut text = String::new();
    file.take(MAX_FILE).read_to_string(&mut text).ok()?;
    Some(text)
}

fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_NAMES) {
        let name = entry.file_name().to_string_lossy().into_owned();
        // Where imports begin at the root, a file is named without its ending.
        let stem = name.split('.').next().filter(|stem| !stem.is_empty()).map(str::to_owned);
        names.extend(stem);
        names.push(name);
    }
    for configuration in CONFIGURATIONS {
        names.extend(read(&folder.join(configuration)).map(|text| aliases(&text)).unwrap_or_default());
    }
    names
}

/// The aliases of a TypeScript configuration: `"paths": { "@components/*": [...] }`. It may have comments, so it is no JSON.
fn aliases(text: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once("\"paths\"") else { return Vec::new() };
    let Some((_, rest)) = rest.split_once('{') else { return Vec::new() };
    let inside = rest.split('}').next().unwrap_or(rest);
    let mut names = Vec::new();
    let mut parts = inside.split('"').skip(1).step_by(2).zip(inside.split('"').skip(2).step_by(2));
    while let Some((name, after)) = parts.next()
        && names.len() < MAX_NAMES
    {
        if after.trim_start().starts_with(':') {
            names.push(name.trim_end_matches('*').trim_end_matches('/').to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(file: &str, line: Option<u32>, raw: &str) -> CompileError {
        CompileError {
            file: Some(file.to_owned()),
            line,
            column: None,
            message: "x".into(),
            kind: ErrorKind::Unknown,
            raw: raw.to_owned(),
        }
    }

    #[test]
    fn a_file_that_is_told_is_in_the_project() -> std::io::Result<()> {
        let root = std::env::temp_dir().join(format!("kosuke-project-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&root));
        for folder in ["app/pages", "src/a", "src/b", "node_modules/x/src"] {
            std::fs::create_dir_all(root.join(folder))?;
        }
        for (file, text) in [
            ("app/pages/index.vue", "<template/>"),
            ("src/App.jsx", "one\nimport nope from './gone';\nthree\n"),
            ("src/a/same.js", "const a = 1\n"),
            ("src/b/same.js", "const b = 2\n"),
            ("node_modules/x/src/only.js", ""),
        ] {
            std::fs::write(root.join(file), text)?;
        }
        std::os::unix::fs::symlink("/etc/passwd", root.join("src/link.js"))?;
        let frame = "> 1 | const b = 2\n    |       ^";
        for (told, line, raw, file, corrected) in [
            ("src/App.jsx", Some(2), "", Some("src/App.jsx"), Some(2)),
            ("App.jsx", Some(2), "", Some("src/App.jsx"), Some(2)),
            ("....vue", None, "", Some("app/pages/index.vue"), None),
            ("../pages/index.vue", Some(1), "", Some("app/pages/index.vue"), Some(1)),
            // Another file of that name.
            ("index.vue", Some(2), "", Some("index.vue"), Some(2)),
            ("same.js", Some(1), frame, Some("src/b/same.js"), Some(1)),
            ("same.js", Some(1), "", None, None),
            ("....svelte", Some(1), "", None, None),
            // Nothing fits: as it was printed.
            ("only.js", Some(3), "", Some("only.js"), Some(3)),
            ("pp.jsx", Some(3), "", Some("pp.jsx"), Some(3)),
            // A line of what a loader made of the file.
            ("src/App.jsx", Some(5), " 5 │ import nope from './gone';\n   · ───", Some("src/App.jsx"), Some(2)),
        ] {
            let mut error = error(told, line, raw);
            correct(&root, &mut error);
            assert_eq!((error.file.as_deref(), error.line), (file, corrected), "{told} {raw}");
        }
        std::fs::write(
            root.join("tsconfig.json"),
            "{ // x\n\"paths\": { \"@components/*\": [\"./c/*\"], \"~\": [\".\"] } }",
        )?;
        let names = names(&root);
        for name in ["src", "tsconfig", "@components", "~"] {
            assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
        }
        std::fs::remove_dir_all(&root)
    }
}

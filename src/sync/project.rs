//! What a project's folder says about the errors that its dev server told: which file is meant, and on which line.
//!
//! The folder is the app's, so it is read within bounds: no link is followed, and no pipe is waited for.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use super::project_files::{read_text, walk};
use crate::lock::lock;
use crate::preview::{BrowserError, CompileError, ErrorKind};
use crate::readiness::{BrowserReport, Signal, framed_line};

const MAX_SCAN: Duration = Duration::from_millis(500);
/// A larger file is no source that a person wrote.
const MAX_FILE: u64 = 256 * 1024;
/// Names of the project that are remembered.
const MAX_NAMES: usize = 256;
/// Bytes of such a name.
const MAX_NAME: usize = 100;
/// Where aliases of imports stand.
const CONFIGURATIONS: [&str; 4] = ["tsconfig.json", "jsconfig.json", "tsconfig.app.json", "tsconfig.base.json"];

/// Files that fit and are read to find the one that is meant.
const MAX_CANDIDATES: usize = 8;
/// Errors of one second that are looked up: an app can print them without end. The rest is told as printed.
const ERRORS_A_SECOND: u32 = 20;
/// For so long a list of files or names is good, or for ten times what it took.
const GOOD_FOR: Duration = Duration::from_secs(1);
const GOOD_FOR_SCANS: u32 = 10;

/// One project's folder.
#[derive(Debug, Clone)]
pub(super) struct Project {
    folder: PathBuf,
    known: Arc<Mutex<Known>>,
}

/// What was found the last time.
#[derive(Debug, Default)]
struct Known {
    files: Listing,
    names: Listing,
    second: Option<Instant>,
    looked_up: u32,
}

#[derive(Debug, Default)]
struct Listing {
    until: Option<Instant>,
    entries: Vec<String>,
}

impl Listing {
    /// The entries, listed anew where they are old.
    fn entries(&mut self, list: impl FnOnce() -> Vec<String>) -> &[String] {
        let began = Instant::now();
        if self.until.is_none_or(|until| began >= until) {
            self.entries = list();
            self.until = Some(Instant::now() + GOOD_FOR.max(began.elapsed() * GOOD_FOR_SCANS));
        }
        &self.entries
    }
}

impl Known {
    /// Whether another error may be looked up in this second.
    fn may_look(&mut self) -> bool {
        if self.second.is_none_or(|second| second.elapsed() >= Duration::from_secs(1)) {
            (self.second, self.looked_up) = (Some(Instant::now()), 0);
        }
        self.looked_up += 1;
        self.looked_up <= ERRORS_A_SECOND
    }
}

impl Project {
    /// A folder that is not here knows nothing.
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { folder, known: Arc::default() }
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
        let (folder, known, given) = (self.folder.clone(), Arc::clone(&self.known), signals.clone());
        let corrected = tokio::task::spawn_blocking(move || {
            let mut known = lock(&known);
            for signal in &mut signals {
                match signal {
                    Signal::Error(error, _) => correct(&folder, &mut known, error),
                    Signal::Browser(report) => correct_report(&folder, &mut known, report),
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
        let (folder, known) = (self.folder.clone(), Arc::clone(&self.known));
        let named = tokio::task::spawn_blocking(move || lock(&known).names.entries(|| names(&folder)).to_vec());
        named.await.unwrap_or_default()
    }
}

fn correct_report(folder: &Path, known: &mut Known, report: &mut BrowserReport) {
    let mut error = CompileError {
        file: report.file.take(),
        line: report.line,
        column: report.column,
        message: String::new(),
        kind: ErrorKind::Runtime,
        raw: String::new(),
    };
    correct(folder, known, &mut error);
    (report.file, report.line, report.column) = (error.file, error.line, error.column);
}

fn correct(folder: &Path, known: &mut Known, error: &mut CompileError) {
    let Some(file) = error.file.clone().filter(|_| known.may_look()) else { return };
    let frame = framed_line(&error.raw).map(|(line, text)| (line, text.to_owned()));
    let frame = frame.as_ref().map(|(line, text)| (*line, text.as_str()));
    if resolved(folder, &file).is_some() {
        correct_line(folder, &file, error, frame);
        return;
    }
    let garbled = is_garbled(&file);
    let end = file.trim_start_matches("../").trim_start_matches("./").trim_start_matches('/');
    let end = if garbled { &end[end.rfind('.').unwrap_or(0)..] } else { end };
    let fits = |path: &&String| path.ends_with(end) && (garbled || at_component(path, end));
    let files = known.files.entries(|| files(folder));
    let mut found: Vec<String> = files.iter().filter(fits).take(MAX_CANDIDATES).cloned().collect();
    found.retain(|path| match (frame, error.line) {
        (Some((_, text)), _) => lines_like(folder, path, text).next().is_some(),
        (None, Some(line)) => resolved(folder, path)
            .and_then(|path| read_text(&path, MAX_FILE))
            .is_some_and(|text| text.lines().count() >= line as usize),
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
    let content = resolved(folder, file).and_then(|path| read_text(&path, MAX_FILE)).unwrap_or_default();
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

/// The files of the project, relative to its folder.
fn files(root: &Path) -> Vec<String> {
    walk(root, Instant::now() + MAX_SCAN).paths().map(str::to_owned).collect()
}

/// The file itself, where it is one and no link on the way to it leads out of the folder.
fn resolved(folder: &Path, file: &str) -> Option<PathBuf> {
    let path = folder.join(file);
    let is_file = is_inside(file) && std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file());
    let (path, root) = (path.canonicalize().ok().filter(|_| is_file)?, folder.canonicalize().ok()?);
    path.starts_with(root).then_some(path)
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
        names.extend(read_text(&folder.join(configuration), MAX_FILE).map(|text| aliases(&text)).unwrap_or_default());
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
        if after.trim_start().starts_with(':') && name.len() <= MAX_NAME {
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
            correct(&root, &mut Known::default(), &mut error);
            assert_eq!((error.file.as_deref(), error.line), (file, corrected), "{told} {raw}");
        }
        std::fs::write(
            root.join("tsconfig.json"),
            "{ // x\n\"paths\": { \"@components/*\": [\"./c/*\"], \"~\": [\".\"] } }",
        )?;
        let names = names(&root);
        // An app that prints errors without end has few of them looked up.
        let mut known = Known::default();
        let looked_up = (0..1_000).filter(|_| known.may_look()).count();
        assert!(looked_up < 200, "{looked_up}");
        for name in ["src", "tsconfig", "@components", "~"] {
            assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
        }
        std::fs::remove_dir_all(&root)
    }
}

//! What dev servers pass on of browsers that have the page open. The words are the page's own: bounded, and no proof.

use std::time::{Duration, SystemTime};

use crate::preview::{BrowserError, BrowserErrorKind, CompileError};

/// More errors than this are not kept: the oldest go. A page can make up any number.
const MAX_ERRORS: usize = 32;

/// The two streams of a container are read so far apart at the most.
const STREAMS_APART: Duration = Duration::from_millis(500);

/// One error, as it was told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserReport {
    /// What went wrong.
    pub kind: BrowserErrorKind,
    /// What the browser said.
    pub message: String,
    /// The file, relative to the project's folder.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<u32>,
    /// The column in it, from 1.
    pub column: Option<u32>,
}

/// How browsers say that a part of the page could not be loaded.
const LOADING: &[&str] = &[
    "Failed to fetch dynamically imported module",
    "error loading dynamically imported module",
    "Importing a module script failed",
    "ChunkLoadError",
    "Loading chunk",
    "Failed to load chunk",
];

impl BrowserReport {
    /// What a report tells. None: it is no error, but a warning.
    pub(super) fn of(error: CompileError) -> Option<Self> {
        let first = error.raw.lines().next().unwrap_or_default();
        let has = |words: &[&str]| words.iter().any(|word| first.contains(word));
        let rejected = has(&["unhandledRejection: ", "[Unhandled rejection]"]);
        let kind = if has(LOADING) {
            BrowserErrorKind::ModuleLoad
        } else if has(&["Hydration failed", "ydration mismatch", "ydration completed but contains mismatches"])
            || has(&["didn't match the client properties"])
        {
            BrowserErrorKind::Hydration
        } else if rejected {
            BrowserErrorKind::UnhandledRejection
        } else if has(&["[browser] Uncaught ", "[Unhandled error]"]) {
            BrowserErrorKind::Uncaught
        } else if has(&["[console.error]"]) || error.raw.contains("\n    at ") {
            BrowserErrorKind::Console
        } else {
            // Next.js passes warnings on in one line.
            return None;
        };
        let CompileError { file, line, column, message, .. } = error;
        Some(Self { kind, message, file, line, column })
    }
}

/// The errors that stand in the browser, each once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BrowserErrors {
    errors: Vec<BrowserError>,
}

impl BrowserErrors {
    /// The errors, in the order in which they were first told.
    #[must_use]
    pub fn all(&self) -> &[BrowserError] {
        &self.errors
    }

    /// Takes in an error that was told at `at`. React in development tells one fault twice, and a loop tells it for ever.
    pub fn told(&mut self, report: BrowserReport, at: SystemTime) {
        if let Some(known) = self.errors.iter_mut().find(|known| is_same(known, &report)) {
            known.count += 1;
            known.last_at = at;
            return;
        }
        if self.errors.len() == MAX_ERRORS {
            self.errors.remove(0);
        }
        let page = report.file.as_deref().and_then(page_of);
        let BrowserReport { kind, message, file, line, column } = report;
        self.errors.push(BrowserError { kind, message, file, line, column, count: 1, first_at: at, last_at: at, page });
    }

    /// This module was sent to the browser anew. What stands of no file may be of it.
    pub fn updated(&mut self, path: &str) {
        let path = path.trim_start_matches('/');
        let is_updated =
            |file: &String| file.strip_suffix(path).is_some_and(|before| before.is_empty() || before.ends_with('/'));
        self.errors.retain(|error| error.file.as_ref().is_some_and(|file| !is_updated(file)));
    }

    /// Every open page is loaded anew.
    pub fn reloaded(&mut self) {
        self.errors.clear();
    }

    /// This page was asked for anew, as was read at `at`. An error of the other stream may be read before the request that
    /// brought it about.
    pub fn loaded(&mut self, page: &str, at: SystemTime) {
        let page = page.split('?').next().unwrap_or(page);
        let before = at.checked_sub(STREAMS_APART).unwrap_or(at);
        self.errors.retain(|error| error.page.as_deref() != Some(page) || error.last_at > before);
    }

    /// These files were edited since, and the browser has what came of it.
    pub fn edited(&mut self, files: &[String]) {
        self.errors.retain(|error| !error.file.as_ref().is_some_and(|file| files.contains(file)));
    }

    /// What the open pages show, each with its path, as the server answered at `at`. What they do not show any more ends;
    /// what was told just now may not be in the answer yet.
    pub fn shown(&mut self, shown: Vec<(String, BrowserReport)>, at: SystemTime) {
        let before = at.checked_sub(STREAMS_APART).unwrap_or(at);
        self.errors.retain(|error| error.last_at > before || shown.iter().any(|(_, report)| is_same(error, report)));
        for (page, report) in shown {
            if !self.errors.iter().any(|known| is_same(known, &report)) {
                self.told(report.clone(), at);
            }
            if let Some(known) = self.errors.iter_mut().find(|known| is_same(known, &report)) {
                known.page = Some(page);
            }
        }
    }
}

fn is_same(known: &BrowserError, report: &BrowserReport) -> bool {
    let placed = known.file.is_some() && known.line.is_some();
    let message = known.message == report.message
        || placed && (known.message.starts_with(&report.message) || report.message.starts_with(&known.message));
    message && known.file == report.file && known.line == report.line && (placed || known.kind == report.kind)
}

/// The path of the page that a file of Next.js' app folder is: `app/(shop)/cart/page.js` is `/cart`. None: it is no page, or
/// its path has parts that are not known.
fn page_of(file: &str) -> Option<String> {
    let inside = file.strip_prefix("src/").unwrap_or(file).strip_prefix("app/")?;
    let (folders, name) = inside.rsplit_once('/').unwrap_or(("", inside));
    if name.split('.').next() != Some("page") || folders.contains('[') || folders.contains('@') {
        return None;
    }
    let parts: Vec<&str> = folders.split('/').filter(|part| !part.is_empty() && !part.starts_with('(')).collect();
    Some(format!("/{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(message: &str, file: Option<&str>) -> BrowserReport {
        BrowserReport {
            kind: BrowserErrorKind::Uncaught,
            message: message.to_owned(),
            file: file.map(str::to_owned),
            line: file.map(|_| 5),
            column: None,
        }
    }

    #[test]
    fn one_fault_is_one_entry_however_often_it_is_told() {
        let mut errors = BrowserErrors::default();
        for second in 0..10_000 {
            errors.told(report("boom", Some("src/App.jsx")), SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        }
        // The same fault as React logs it.
        errors.told(
            BrowserReport { kind: BrowserErrorKind::Console, ..report("boom", Some("src/App.jsx")) },
            SystemTime::now(),
        );
        assert_eq!((errors.all().len(), errors.all()[0].count), (1, 10_001));
        for number in 0..1_000 {
            errors.told(report(&format!("random {number}"), None), SystemTime::now());
        }
        assert_eq!(errors.all().len(), MAX_ERRORS);
    }

    #[test]
    fn an_error_ends_with_what_mends_it() {
        let now = SystemTime::now();
        let later = now + Duration::from_secs(1);
        let standing = || {
            let mut errors = BrowserErrors::default();
            errors.told(report("a", Some("app/(shop)/cart/page.js")), now);
            errors.told(report("b", Some("src/App.jsx")), now);
            errors.told(report("c", None), now);
            errors
        };
        let left = |change: &dyn Fn(&mut BrowserErrors)| {
            let mut errors = standing();
            change(&mut errors);
            errors.all().iter().map(|error| error.message.clone()).collect::<String>()
        };
        assert_eq!(left(&|errors| errors.updated("/src/App.jsx")), "a");
        assert_eq!(left(&|errors| errors.loaded("/cart?x=1", later)), "bc");
        assert_eq!(left(&|errors| errors.loaded("/cart", now)), "abc");
        assert_eq!(left(&|errors| errors.loaded("/", later)), "abc");
        assert_eq!(left(&BrowserErrors::reloaded), "");
        assert_eq!(left(&|errors| errors.edited(&["src/App.jsx".to_owned()])), "ac");
        let shown = vec![("/cart".to_owned(), report("d", None)), ("/".to_owned(), report("b", Some("src/App.jsx")))];
        assert_eq!(left(&|errors| errors.shown(shown.clone(), later)), "bd");
        assert_eq!(left(&|errors| errors.shown(Vec::new(), later)), "");
        assert_eq!(left(&|errors| errors.shown(Vec::new(), now)), "abc");
    }

    #[test]
    fn pages_of_the_app_folder() {
        assert_eq!(page_of("app/page.js").as_deref(), Some("/"));
        assert_eq!(page_of("src/app/a/b/page.tsx").as_deref(), Some("/a/b"));
        for file in ["app/[id]/page.js", "app/layout.js", "components/page.js"] {
            assert_eq!(page_of(file), None, "{file}");
        }
    }
}

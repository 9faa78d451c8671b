//! Vite 5 to 8, with esbuild and with Rolldown. Astro, Nuxt, React Router and `SvelteKit` run on it.

use super::super::excerpt;
use super::super::format::Format;
use super::super::line::{Line, Marker};
use super::super::place::in_project;
use super::super::signal::ClearedBy;
use super::super::stack::{Groups, ReportWords, Rule, Stack, groups};
use super::shared::reports::{CONFIG, PAGE};
use crate::preview::{CompileError, ErrorKind};

groups! {
    Word, WORDS:
    Tag = "[vite] ",
    Other = "rror: " | "hmr update " | "age reload ",
    Failed = "ailed",
    Scan = "Failed to run dependency scan" | "Failed to scan for dependencies",
    Esbuild = "✘",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    marked: Some(Rule { groups: Word::bits(&[Word::Tag, Word::Other]), read: marked }),
    errors: Some(Rule { groups: Word::bits(&[Word::Failed, Word::Esbuild]), read: error }),
    report: ReportWords {
        continues: &["Build failed", "Plugin:", "File:", "Are they", "─", "╭", "│", "╰", "✘"],
        prefixes: &[
            "✘ ",
            "✖ ",
            "X ",
            "Internal server error: ",
            "Pre-transform error: ",
            "(client) ",
            "(ssr) ",
            "[Unhandled error] ",
            "[Unhandled rejection] ",
            "[console.error] ",
        ],
        headlines: &[
            "Build failed with",
            "Transform failed with",
            "Failed to scan for dependencies",
            "(!) Failed to run dependency scan",
            "failed to load config from",
            "error when starting dev server",
        ],
        asides: &["Plugin:"],
        missing: &[
            "Failed to resolve import",
            "Could not resolve",
            "could not be resolved",
            "Failed to load url",
            "Failed to resolve entry",
            "UNRESOLVED_IMPORT",
            "Could not import",
            "Does the file exist?",
            "failed to resolve",
        ],
        syntax: &["PARSE_ERROR", "Parse failure", "parse error"],
        ..ReportWords::DEFAULT
    },
    ..Stack::DEFAULT
};

/// `[vite] Internal server error: ...`, the scan for dependencies, esbuild's own `✘ [ERROR] ...`.
static REPORT: Format = Format {
    // Vite restarts when the configuration loads again. No update of a module clears an error in it.
    cleared_by: |kind, _| if kind == ErrorKind::Config { ClearedBy::Rebuilt } else { ClearedBy::Module },
    continues_own: |_, line| line.starts_with(b" "),
    list: Some(unresolved),
    ..Format::DEFAULT
};

/// `[vite] (client) [Unhandled error] Error: boom`, with the stack and a frame below. Vite 8 passes it on to agents.
static BROWSER: Format = Format { browser: true, ..Format::DEFAULT };

fn marked<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    if let Some(rest) = words.after(Word::Tag, line.text) {
        return Some(after_tag(rest));
    }
    // Frameworks may put a tag of their own there: `6:31:28 PM [vitepress] hmr update /index.md`.
    let (_, rest) = line.body().strip_prefix('[')?.split_once("] ")?;
    known(rest)
}

/// What is said without Vite's tag, where it is one of the things that only Vite says.
pub(super) fn known(rest: &str) -> Option<Marker<'_>> {
    let rest = rest.strip_prefix('(').and_then(|rest| rest.split_once(") ")).map_or(rest, |(_, rest)| rest);
    let says = ["Internal server error", "Pre-transform error", "hmr update ", "page reload "];
    says.iter().any(|start| rest.starts_with(start)).then(|| after_tag(rest))
}

/// What a line of Vite means, after `[vite] `.
fn after_tag(rest: &str) -> Marker<'_> {
    let rest = rest.strip_prefix('(').and_then(|rest| rest.split_once(") ")).map_or(rest, |(_, rest)| rest);
    if let Some(marker) = update(rest) {
        marker
    } else if rest.starts_with("server restarted") {
        Marker::Rebuilt
    } else if rest.starts_with("Internal server error") || rest.starts_with("Pre-transform error") {
        Marker::Opens(&REPORT)
    } else if ["[Unhandled error]", "[Unhandled rejection]", "[console.error]"].iter().any(|tag| rest.starts_with(tag))
    {
        Marker::Opens(&BROWSER)
    } else if rest.starts_with("Error when evaluating SSR module") {
        Marker::Opens(&PAGE)
    } else if rest.starts_with("Build failed with") {
        Marker::Opens(&CONFIG)
    } else {
        Marker::Ends
    }
}

/// `hmr update /src/App.jsx`, `page reload src/main.js`.
pub(super) fn update(text: &str) -> Option<Marker<'_>> {
    match text.strip_prefix("hmr update ") {
        Some(paths) => Some(Marker::Updated(paths)),
        None => text.starts_with("page reload").then_some(Marker::Reloaded),
    }
}

fn error<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    if line.text.starts_with("failed to load config from") || line.text.starts_with("Failed to load PostCSS config") {
        return Some(Marker::Opens(&CONFIG));
    }
    // esbuild compiles the configuration, too. Then the kind of the error says so.
    (words.has(Word::Scan) || line.text.starts_with("✘ [ERROR]")).then_some(Marker::Opens(&REPORT))
}

fn is_of_tests(importers: &str) -> bool {
    let importers = importers.trim_end_matches(')').split(", ");
    importers
        .into_iter()
        .all(|file| ["/tests/", "/test/", "/__tests__/", ".test.", ".spec."].iter().any(|part| file.contains(part)))
}

/// The scan lists imports that lead nowhere: `  name (imported by /app/src/App.jsx)`.
fn unresolved(report: &str) -> Option<Vec<CompileError>> {
    let heading = "dependencies are imported but could not be resolved:";
    report.lines().take(2).find(|line| line.ends_with(heading))?;
    let errors = report.lines().filter_map(|line| {
        let (name, importers) = line.trim().split_once(" (imported by ")?;
        // The dev server does not serve the tests.
        if is_of_tests(importers) {
            return None;
        }
        let importer = importers.trim_end_matches(')').split(',').next().and_then(in_project);
        let message = match importer {
            Some(importer) => format!("Failed to resolve import \"{name}\" from \"{importer}\""),
            None => format!("Failed to resolve import \"{name}\""),
        };
        Some(CompileError {
            file: importer.map(str::to_owned),
            line: None,
            column: None,
            message: excerpt::message(message),
            kind: ErrorKind::ModuleNotFound,
            raw: excerpt::raw(report),
        })
    });
    Some(errors.collect())
}

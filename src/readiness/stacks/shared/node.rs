//! Exceptions, as Node prints them.

use super::super::super::format::Format;
use super::super::super::line::{Line, Marker};
use super::super::super::place::is_source;
use super::super::super::signal::ClearedBy;
use super::super::super::stack::{Groups, ReportWords, Rule, Stack, groups};
use crate::preview::ErrorKind;
use memchr::memmem;

groups! {
    Word, WORDS:
    Error = "rror",
    Crashed = "app crashed" | "Failed running",
}

pub(in super::super) const STACK: Stack = Stack {
    words: WORDS,
    starts: PLACES,
    errors: Some(Rule { groups: Word::bits(&[Word::Error]), read: error }),
    progress: Some(Rule { groups: Word::bits(&[Word::Crashed]), read: crashed }),
    report: ReportWords {
        continues: &["Caused by", "Require stack", "- /", "Node.js v"],
        prefixes: &[
            "Error: ",
            "Error:",
            "Uncaught ",
            "Error in renderToReadableStream: ",
            "SyntaxError: ",
            "Cause: ",
            "CssSyntaxError: ",
            "tailwindcss: ",
        ],
        asides: &["Node.js v", "- /", "Caused by", "Require stack"],
        headlines: &[
            "TSError: ⨯ Unable to compile TypeScript",
            "Unable to compile TypeScript",
            "MDX compilation failed for file",
            "Error transforming route file",
        ],
        missing: &["Cannot find module", "Cannot find package", "ERR_MODULE_NOT_FOUND"],
        thrown: &["TypeError: ", "ReferenceError: ", "RangeError: "],
        json: &["valid JSON", "in JSON at"],
        syntax: &["SyntaxError"],
        ..ReportWords::DEFAULT
    },
    ..Stack::DEFAULT
};

/// How the place of an exception starts: `/app/server.js:3`. Node prints it before the exception.
const PLACES: &[&str] = &["/", "file://", "node:"];

/// An exception without the mark of a dev server. Any program prints exceptions that it caught, so it counts only when
/// the project cannot run with it, or when the page then fails.
static REPORT: Format = Format {
    cleared_by: |kind, report| {
        let unloadable = kind == ErrorKind::ModuleNotFound && report.contains("Failed to load url ");
        // Code that does not parse is loaded by nobody, whatever watches the process.
        let unparsable = kind == ErrorKind::Syntax && report.lines().next().is_some_and(is_place);
        if kind == ErrorKind::Environment || unloadable || unparsable || is_fatal(report) {
            ClearedBy::Answer
        } else {
            ClearedBy::Unconfirmed
        }
    },
    strict: true,
    head: 3,
    // The place of an exception comes before it.
    continues_own: |report, _| memmem::find(report, b"Error: ").is_none(),
    continues_other: true,
    // ts-node prints what the type checker found within its exception.
    takes_in: |report| memmem::find(report, b"Unable to compile TypeScript").is_some(),
    yields_to_problem: true,
    ..Format::DEFAULT
};

/// Whether Node ended after it had printed this.
fn is_fatal(report: &str) -> bool {
    report.contains("\nNode.js v") || report.contains("Require stack:")
}

fn error<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    let place = || PLACES.iter().any(|start| line.printed.starts_with(start)) && is_place(line.text);
    (words.has(Word::Error) && is_exception(line.printed) || place()).then_some(Marker::Opens(&REPORT))
}

/// `[nodemon] app crashed - waiting for file changes before starting...`, `Failed running 'server.js'` of Node.js.
fn crashed<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    let crashed = line.text.starts_with("[nodemon] app crashed") || line.text.starts_with("Failed running '");
    crashed.then_some(Marker::Crashed)
}

/// Whether an exception starts at the start of the line. An indented one is the cause of another.
fn is_exception(printed: &str) -> bool {
    // React names what it was doing: `Error in renderToReadableStream: Error: ...`.
    let printed = printed.strip_prefix("Error in ").and_then(|rest| Some(rest.split_once(": ")?.1)).unwrap_or(printed);
    let Some((head, rest)) = printed.strip_prefix("Uncaught ").unwrap_or(printed).split_once(':') else { return false };
    let head = head.strip_suffix(']').and_then(|head| head.split_once(" [")).map_or(head, |(head, _)| head);
    let named = (head.ends_with("Error") || head == "UnhandledPromiseRejection")
        && head.bytes().all(|byte| byte.is_ascii_alphanumeric());
    named && (rest.is_empty() || rest.starts_with(' '))
}

/// `/app/server.js:3`.
fn is_place(text: &str) -> bool {
    let Some((file, line)) = text.rsplit_once(':') else { return false };
    !file.contains(' ')
        && !line.is_empty()
        && line.bytes().all(|byte| byte.is_ascii_digit())
        && (is_source(file) || file.starts_with("node:"))
}

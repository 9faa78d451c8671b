//! Next.js 11 to 16, with webpack and with Turbopack.

use super::super::excerpt;
use super::super::format::Format;
use super::super::line::{Line, Marker};
use super::super::place::{is_source, leading, number};
use super::super::problem::Problem;
use super::super::stack::{Groups, ReportWords, Rule, Stack, groups};
use super::shared::environment;
use super::shared::listening::{last_port, url_port};
use super::shared::reports::CONFIG;
use super::webpack;
use memchr::memmem;

groups! {
    Word, WORDS:
    Mark = "⨯" | "rror",
    Browser = "[browser] ",
    Banner = "▲ Next.js ",
    Blocked = "locked cross-origin",
    Request = "GET " | "HEAD ",
    Compile = "ompil",
    Started = "tarted server",
    AddressInUse = "EADDRINUSE",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    marked: Some(Rule { groups: Word::bits(&[Word::Mark, Word::Browser, Word::Banner, Word::Blocked]), read: marked }),
    errors: Some(Rule { groups: Word::bits(&[Word::Mark]), read: build_failed }),
    progress: Some(Rule { groups: Word::bits(&[Word::Request, Word::Compile]), read: progress }),
    ready: Some(Rule { groups: Word::bits(&[Word::Started]), read: started }),
    ends: &["⨯", "✓", "○"],
    report: ReportWords {
        continues: &[
            "Import trace",
            "Expected ",
            "https://",
            "./",
            "../",
            "digest",
            "Parsing ",
            "Ecmascript",
            "Module ",
            ",-",
            "`-",
            "x ",
            "×",
        ],
        prefixes: &[
            "⨯ ",
            "error - ",
            "- error ",
            "× ",
            "x ",
            "Syntax error: ",
            "Type error: ",
            "unhandledRejection: ",
            "Unhandled Rejection: ",
            "uncaughtException: ",
            "[browser] ",
        ],
        headlines: &[
            "Turbopack build failed",
            "Parsing ecmascript source code failed",
            "Parsing CSS source code failed",
            "Ecmascript file had an error",
            "Error evaluating Node.js code",
            "Could not parse module",
        ],
        asides: &["Import trace", "digest", "https://"],
        missing: &["doesn't exist in target module"],
        types: &["Type error: "],
        thrown: &["⨯ Error: ", "error - Error: ", "error Error: "],
        syntax: &["yntax error", "Parsing "],
        ..ReportWords::DEFAULT
    },
    ..Stack::DEFAULT
};

/// `⨯ ./app/page.js:1:60`, `error - ./pages/index.js`, with the message below.
static REPORT: Format = Format {
    sections: true,
    // Next 14 prints the place first: `⨯ app/page.js (3:21) @ price`, then `⨯ TypeError: ...`.
    continues_own: |report, _| {
        memchr::memchr_iter(b'\n', report).count() == 1 && memmem::find(report, b" @ ").is_some()
    },
    ..Format::DEFAULT
};

/// `[browser] Uncaught Error: boom`, with the place and a frame below.
static BROWSER: Format = Format { browser: true, ..Format::DEFAULT };

/// A line with Next's mark of an error.
fn marked<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    if let Some(version) = words.after(Word::Banner, line.text) {
        return banner(version);
    }
    if let Some(rest) = words.after(Word::Blocked, line.text) {
        return never_hydrates(rest);
    }
    if line.text.starts_with("[browser] ") && !line.text.starts_with("[browser] ./") {
        return Some(Marker::Opens(&BROWSER));
    }
    // What nobody handled is the server's last word: it answers no request any more.
    if line.printed.starts_with("Unhandled Rejection: ") {
        return Some(Marker::Opens(&REPORT));
    }
    let rest = after_mark(line.text)?;
    if rest.starts_with("Failed to load next.config") || rest.starts_with("Invalid next.config") {
        return Some(Marker::Opens(&CONFIG));
    }
    if rest.starts_with("Another ") && rest.contains("already running") || rest.starts_with("Unable to acquire lock") {
        return Some(Marker::Problem(Problem::AlreadyRunning));
    }
    if words.has(Word::AddressInUse) {
        return Some(Marker::Problem(Problem::AddressInUse(last_port(rest))));
    }
    let first = rest.trim_start_matches('[').split([':', ' ']).next().unwrap_or(rest);
    let opens = leading(rest, true).is_some_and(|(place, _)| is_source(place.file))
        || rest.starts_with("./")
        || first.ends_with("Error")
        || first == "unhandledRejection"
        || first == "uncaughtException"
        || rest.starts_with("Module not found")
        || environment::is_named(rest) && environment::is_missing(rest);
    Some(if opens { Marker::Opens(&REPORT) } else { Marker::Ends })
}

/// `16.4.6 (Turbopack)`.
fn banner(version: &str) -> Option<Marker<'_>> {
    let (major, rest) = number(version)?;
    let (minor, _) = number(rest.strip_prefix('.')?)?;
    Some(Marker::Next(major, minor))
}

/// ` request to Next.js dev resource /_next/hmr from "127.0.0.1".` Versions before 16.2 warn in other words, and serve it.
fn never_hydrates(rest: &str) -> Option<Marker<'_>> {
    let (_, host) = rest.split_once(" from \"")?;
    let host = host.split('"').next()?;
    // What a visitor sends as his origin stands there.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b':' | b'[' | b']' | b'*');
    if !host.bytes().all(plain) || host.is_empty() {
        return Some(Marker::Ends);
    }
    Some(Marker::Problem(Problem::NeverHydrates(excerpt::message(host.to_owned()))))
}

fn after_mark(text: &str) -> Option<&str> {
    // After a hot reload, Next 16 prints an error only as the browser reports it, until the next request.
    let said = text.strip_prefix("[browser] ").filter(|said| said.starts_with("./"));
    said.or_else(|| ["⨯ ", "error - ", "- error "].iter().find_map(|mark| text.strip_prefix(mark)).map(str::trim_start))
}

/// `Error: Turbopack build failed with 2 errors:`.
fn build_failed<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    let failed = line.text.ends_with("errors:") && line.text.contains("uild failed with ");
    failed.then_some(Marker::Opens(&webpack::REPORT))
}

fn progress<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    if words.has(Word::Request)
        && let Some(marker) = request(line.body())
    {
        return Some(marker);
    }
    words.has(Word::Compile).then(|| compilation(line.text))?
}

/// `GET / 200 in 305ms`.
fn request(text: &str) -> Option<Marker<'_>> {
    let path = text.strip_prefix("GET ").or_else(|| text.strip_prefix("HEAD "))?;
    let (path, rest) = path.split_once(' ')?;
    let (status, rest) = number(rest)?;
    if !rest.starts_with(" in ") {
        return None;
    }
    Some(match (path, status) {
        ("/", 200) => Marker::Answered,
        (_, 200) => Marker::Loaded(path),
        _ => Marker::Ends,
    })
}

/// `○ Compiling / ...`, `wait  - compiling...`, `✓ Compiled / in 9s`.
fn compilation(text: &str) -> Option<Marker<'_>> {
    let body = text.trim_start_matches(['-', '✓', '✔', '○', ' ']);
    if body.starts_with("Compiling")
        || text.starts_with("wait") && text.contains("ompiling")
        || body.starts_with("wait compiling")
    {
        return Some(Marker::Compiling);
    }
    if body.starts_with("Compiled in ") {
        return Some(Marker::Refreshed);
    }
    (body.starts_with("Compiled ") && body.contains(" in ")).then_some(Marker::Compiled)
}

/// `ready - started server on 0.0.0.0:3000, url: http://localhost:3000`.
fn started<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    let rest = words.after(Word::Started, line.text)?;
    Some(Marker::Ready(rest.strip_prefix(" on ").and_then(url_port)))
}

//! One block of output, as a dev server prints it about an error, to the errors in it.

use std::sync::LazyLock;

use memchr::memmem;

use super::block::MAX_BYTES;
use super::marker::{Format, after_clock};
use super::place::{self, Place, anywhere, in_project, is_foreign, is_source, leading, number};
use super::redact::without_passwords;
use super::words::{Beginnings, Finder, groups, lines};
use crate::preview::{CompileError, ErrorKind};

/// The errors that a block tells of. None, where it turns out to be ordinary output.
pub(super) fn errors(format: Format, block: &str) -> Vec<CompileError> {
    let mut found: Vec<CompileError> = Vec::new();
    if format == Format::Vite && memmem::find(block.as_bytes(), UNRESOLVED.as_bytes()).is_some() {
        found.extend(unresolved(block));
    } else if matches!(format, Format::Next | Format::Webpack) && has_sections(block) {
        let mut start = 0;
        for next in sections(block).chain([block.len()]) {
            found.extend(error(format, block[start..next].trim_end()));
            start = next;
        }
    } else {
        found.extend(error(format, block));
    }
    found
}

/// Vite's scan lists imports that lead nowhere: `  name (imported by /app/src/App.jsx)`.
const UNRESOLVED: &str = "dependencies are imported but could not be resolved";

fn unresolved(block: &str) -> impl Iterator<Item = CompileError> {
    block.lines().filter_map(move |line| {
        let (name, importers) = line.trim().split_once(" (imported by ")?;
        let importer = importers.trim_end_matches(')').split(',').next().and_then(in_project);
        Some(CompileError {
            file: importer.map(str::to_owned),
            line: None,
            column: None,
            message: cut(match importer {
                Some(importer) => format!("Failed to resolve import \"{name}\" from \"{importer}\""),
                None => format!("Failed to resolve import \"{name}\""),
            }),
            kind: ErrorKind::ModuleNotFound,
            raw: raw(block),
        })
    })
}

static BLANK_LINE: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("\n\n"));

/// Builds what is built at first use.
pub(super) fn prepare() {
    LazyLock::force(&BLANK_LINE);
}

/// Most reports are of one error, which a search tells sooner than a look at each line.
fn has_sections(block: &str) -> bool {
    let mut blank = BLANK_LINE.find_iter(block.as_bytes());
    blank.any(|at| matches!(block.as_bytes().get(at + 2), Some(b'.' | b'/')))
}

/// Where further errors of one report begin: Turbopack and `next build` put one below the other, without a mark.
fn sections(block: &str) -> impl Iterator<Item = usize> {
    let (mut at, mut blank, mut trace, mut told) = (0, false, false, false);
    block.split_inclusive('\n').filter_map(move |line| {
        let start = at;
        at += line.len();
        let text = line.trim();
        let begins = told
            && blank
            && (!trace || !text.starts_with("./"))
            && line.starts_with(['.', '/'])
            && leading(text, true).is_some_and(|(_, rest)| rest.is_empty());
        trace = (trace && !begins) || text.starts_with("Import trace");
        told |= !told && !text.is_empty() && !begins && start > 0 && leading(text, true).is_none();
        blank = text.is_empty();
        begins.then_some(start)
    })
}

#[derive(Default)]
struct Draft<'a> {
    /// Told outright, with its position if that was told, too.
    told: Option<Place<'a>>,
    /// The head of SWC's frame: the file is right, the position is where the frame begins.
    frame_file: Option<&'a str>,
    /// From the frame of code: its marked line, the line before the caret, the caret's column.
    marked: Option<u32>,
    numbered: Option<u32>,
    caret: Option<(Option<u32>, u32)>,
    /// The first call in the project.
    call: Option<Place<'a>>,
    called: bool,
    /// The module that a kit could not evaluate, and the one that an import stands in.
    module: Option<&'a str>,
    importer: Option<&'a str>,
    message: Option<&'a str>,
    headline: Option<&'a str>,
    /// Which kinds of [`Word`] its own lines hold, code and stack left out.
    words: u64,
    environment: bool,
}

fn error(format: Format, block: &str) -> Option<CompileError> {
    let mut draft = Draft::default();
    // Before its message, Node prints code without a mark: only what names itself an error is a message there.
    let strict = matches!(format, Format::Config | Format::Crash);
    for line in lines(block) {
        draft.line(line, strict);
        // What follows a stack tells nothing more, and stacks are long.
        if draft.called && draft.is_whole() {
            break;
        }
    }
    let kind = kind(format, &draft);
    let place = draft.place();
    let message = draft.message.or(draft.headline)?;
    // Any program prints exceptions that it caught: what counts is one that the project cannot run with.
    if format == Format::Crash && place.is_none() {
        let fatal = || kind == ErrorKind::ModuleNotFound && is_fatal(block);
        (kind == ErrorKind::Environment || fatal()).then_some(())?;
    }
    let (file, line, column) = match place {
        Some(place) => (in_project(place.file).or(Some(place.file)), place.line, place.column),
        None => (None, None, None),
    };
    Some(CompileError {
        file: file.map(str::to_owned),
        line,
        column,
        message: sentence(message, kind, block),
        kind,
        raw: raw(block),
    })
}

/// Whether Node ended with what it printed.
pub(super) fn is_fatal(block: &str) -> bool {
    block.contains("\nNode.js v") || block.contains("Require stack:")
}

/// Whether a kit passes on what Vite could not transform.
pub(super) fn is_of_vite(block: &str) -> bool {
    let head = block.trim_ascii_start();
    head.starts_with("ERROR  Pre-transform error")
        || head.starts_with("ERROR  Internal server error")
        || block.contains("code: 'VITE_ERROR'")
}

impl<'a> Draft<'a> {
    fn line(&mut self, line: &'a str, strict: bool) {
        let text = line.trim_ascii();
        let Some(&first) = text.as_bytes().first() else { return };
        if let Some(call) = CALL.after(text) {
            self.called = true;
            if self.call.is_none() && self.told.is_none_or(|told| told.line.is_none()) && !is_foreign(call) {
                self.call = anywhere(call).filter(|place| in_project(place.file).is_some());
            }
            return;
        }
        if self.frame(line, text, first) {
            return;
        }
        if let Some(file) = text.strip_prefix("File:").or_else(|| text.strip_prefix("FILE ")) {
            if let Some((place, _)) = leading(file.trim(), true) {
                self.tell(place);
            }
            return;
        }
        let words = FINDER.find(text.as_bytes());
        self.words |= words;
        self.environment |= words & (1 << Word::Environment as u64) != 0 && is_environment(text);
        if self.is_whole() {
            return;
        }
        if ASIDES.begin(text.as_bytes()) {
            return;
        }
        let mut body = body(text);
        if let Some((module, rest)) = body.strip_prefix(EVALUATING).and_then(|rest| rest.trim_start().split_once(": "))
        {
            self.module = Some(module).filter(|module| is_source(module));
            body = strip(rest);
        }
        if let Some(rest) = text.strip_prefix("Line ")
            && let Some(told) = self.told.as_mut().filter(|told| told.line.is_none())
            && let Some((line, rest)) = number(rest)
        {
            (told.line, told.column) = (Some(line), rest.strip_prefix(':').and_then(number).map(|(column, _)| column));
        }
        if let Some((place, rest)) = leading(body, true)
            && (is_path(place.file) || place.line.is_some())
        {
            if place.line.is_none() && self.headline.is_some_and(|headline| headline.ends_with("from entries:")) {
                return;
            }
            // The place is all, or the message follows it.
            // Webpack counts in the module as its loaders left it: `./src/App.js 4:0-29`.
            let transformed = rest.starts_with('-') && rest[1..].starts_with(|c: char| c.is_ascii_digit());
            self.tell(if transformed { Place::of(place.file) } else { place });
            let rest = rest.trim_start_matches(['-', '—', ':', ' ', ',']);
            if rest.starts_with("@ ") {
                return;
            }
            body = strip(rest.trim_start_matches(|c: char| c.is_ascii_digit()));
        }
        let (body, place) = without_position(body);
        if let (Some((line, column)), Some(told)) = (place, self.told.as_mut())
            && told.line.is_none()
        {
            (told.line, told.column) = (Some(line), column);
        }
        if body.is_empty()
            || body.starts_with("http")
            || body.starts_with(['{', '}', ']'])
            || body.starts_with('[') && body.ends_with(']')
        {
            return;
        }
        if let Some(rest) = HEADLINES.after(body) {
            self.headline.get_or_insert(body);
            let rest = rest.trim_start_matches([':', ' ']);
            if let Some((place, _)) = leading(rest, true) {
                self.tell(place);
            }
        } else if !strict || names_an_error(text) {
            self.message.get_or_insert(body);
        }
        if self.importer.is_none() && self.words & (1 << Word::Missing as u64) != 0 {
            self.importer = importer(text);
        }
    }

    /// What is wrong, and where, is known.
    fn is_whole(&self) -> bool {
        self.message.is_some() && self.told.is_some_and(|told| told.line.is_some())
    }

    /// A line of a frame of code. Babel `> 1 | code`, SWC ` 1 | code` under `,-[file:1:1]`, esbuild ` 1 │ code`.
    fn frame(&mut self, line: &'a str, text: &'a str, first: u8) -> bool {
        // Most lines of a report: none of what follows begins with a letter.
        if first.is_ascii_alphabetic() {
            return false;
        }
        let (marked, rest) = match text.strip_prefix("> ") {
            Some(rest) => (true, rest.trim_start()),
            None => (false, text),
        };
        if first.is_ascii_digit() || marked {
            let Some((number, rest)) = number(rest) else { return marked };
            let rest = rest.trim_start();
            if !rest.starts_with(['|', '│', '┃']) {
                return false;
            }
            self.numbered = Some(number);
            if marked {
                self.marked.get_or_insert(number);
            }
            return true;
        }
        if let Some(rest) = text.strip_prefix(['|', '│', ':', '·']) {
            if let Some(caret) = rest.find(['^', '┬', '─']).filter(|&at| rest[..at].trim().is_empty())
                && self.caret.is_none()
            {
                let column = rest[..caret].chars().count();
                let line = self.marked.or(self.numbered);
                self.caret = Some((line, u32::try_from(column).unwrap_or(u32::MAX).max(1)));
            }
            return true;
        }
        let rest = text.trim_start_matches([',', '-', '╭', '─', '`', '╰', '╵', '╯']);
        if rest.len() < text.len() && (rest.is_empty() || rest.starts_with('[')) {
            if let Some(place) = anywhere(rest).filter(|place| is_source(place.file)) {
                // SWC tells where the frame begins, Rolldown where the error is.
                if rest.starts_with("[ ") {
                    self.tell(place);
                } else {
                    self.frame_file.get_or_insert(place.file);
                }
            }
            return true;
        }
        if first == b'^' || first == b'~' {
            if first == b'^' && self.caret.is_none() {
                let column = line.chars().count() - line.trim_start().chars().count();
                self.caret = Some((None, u32::try_from(column + 1).unwrap_or(u32::MAX)));
            }
            return true;
        }
        false
    }

    fn tell(&mut self, place: Place<'a>) {
        match &mut self.told {
            None => self.told = Some(place),
            Some(told) if told.line.is_none() && same_file(told.file, place.file) => {
                (told.line, told.column) = (place.line, place.column);
            }
            Some(_) => {}
        }
    }

    /// What was told outright, else the frame of code, else the first call in the project.
    fn place(&self) -> Option<Place<'a>> {
        let mut place = self
            .told
            .or_else(|| self.frame_file.or(self.importer).map(Place::of))
            .or(self.call)
            .or_else(|| self.module.map(|module| Place::of(module.trim_start_matches('/'))))?;
        if place.line.is_none() {
            if let Some((line, column)) = self.caret.map(|(line, column)| (line.or(self.marked), column)) {
                (place.line, place.column) = (line, line.map(|_| column));
            } else if let Some(call) = self.call.filter(|call| same_file(call.file, place.file)) {
                place = call;
            } else {
                place.line = self.marked;
            }
        } else if place.column.is_none()
            && let Some((None, column)) = self.caret
        {
            place.column = Some(column);
        }
        Some(place)
    }
}

/// The file that holds an import: `... from "src/App.jsx". Does the file exist?`, `... imported from '/app/a.js'`.
fn importer(text: &str) -> Option<&str> {
    let rest = text.split_once(" from \"").or_else(|| text.split_once(" from '")).map(|(_, rest)| rest);
    let rest = rest.or_else(|| text.split_once("imported from ").map(|(_, rest)| rest))?;
    let file = rest.split(['"', '\'', ' ']).next()?;
    in_project(file).map(|_| file)
}

fn same_file(one: &str, other: &str) -> bool {
    in_project(one).unwrap_or(one) == in_project(other).unwrap_or(other)
}

fn is_path(word: &str) -> bool {
    word.contains('/') || place::is_source(word)
}

const EVALUATING: &str = "Error when evaluating SSR module";

/// How a line of a stack begins.
static CALL: Beginnings = Beginnings::new(&["at ", "⁃ "]);

/// Lines beside the message.
static ASIDES: Beginnings = Beginnings::new(&[
    "Plugin:",
    "Import trace",
    "Stack trace",
    "Stack backtrace",
    "Caused by",
    "digest",
    "Node.js v",
    "https://",
    "- /",
    "> ",
    "[50",
]);

/// Lines that say that something failed, but not what.
static HEADLINES: Beginnings = Beginnings::new(&[
    "Failed to compile",
    "Build failed with",
    "Transform failed with",
    "Turbopack build failed",
    "Module build failed",
    "Failed to scan for dependencies",
    "(!) Failed to run dependency scan",
    "Failed to load",
    "failed to load config from",
    "error when starting dev server",
    "Parsing ecmascript source code failed",
    "Parsing CSS source code failed",
    "Ecmascript file had an error",
    "Prisma schema validation",
    "Error code:",
    "You may need an appropriate loader",
]);

/// What tools put before a message.
static PREFIXES: Beginnings = Beginnings::new(&[
    "⨯ ",
    "error - ",
    "- error ",
    "error: ",
    "error  ",
    "[ERROR] ",
    "ERROR: ",
    "ERROR in ",
    "ERROR  ",
    "ERROR ",
    "✘ ",
    "✖ ",
    "× ",
    "x ",
    "❌ ",
    "X ",
    "Error: ",
    "Uncaught ",
    "Internal server error: ",
    "Pre-transform error: ",
    "SyntaxError: ",
    "Syntax error: ",
    "Syntax Error: ",
    "Type error: ",
    "Parsing error: ",
    "unhandledRejection: ",
    "uncaughtException: ",
    "(client) ",
    "(ssr) ",
    "[eslint] ",
    "[browser] ",
    "[request error] ",
    "[unhandled] ",
    "[GET] ",
    "ℹ ",
    "Error:",
]);

/// The text without what tools put before the message.
fn body(text: &str) -> &str {
    let mut text = text;
    if let Some(rest) = after_clock(text) {
        text = rest;
    }
    if let Some(rest) = text.strip_prefix("[vite] ") {
        text = rest;
    }
    strip(text)
}

fn strip(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        let shorter = PREFIXES.after(text).or_else(|| code(text));
        match shorter {
            Some(shorter) => text = shorter,
            None => break,
        }
    }
    if let Some(rest) = text.strip_prefix("Module not found: Error: ") {
        return rest;
    }
    text
}

/// Codes and names of tools: `[PARSE_ERROR] `, `TS2322: `, `error TS2322: `, `[plugin:vite:css] `, `ERROR(TypeScript)  `.
fn code(text: &str) -> Option<&str> {
    if let Some(inside) = text.strip_prefix('[') {
        let (inside, rest) = inside.split_once(']')?;
        let tool = inside.starts_with("plugin")
            || inside.starts_with("vue")
            || inside.starts_with("vite")
            || inside.starts_with("postcss");
        let code = !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        return (tool || code).then_some(rest.trim_start_matches([':', ' ']));
    }
    if let Some(rest) = text.strip_prefix("Error [") {
        return rest.split_once("]: ").map(|(_, rest)| rest);
    }
    if let Some(rest) = text.strip_prefix("ERROR(") {
        return rest.split_once(')').map(|(_, rest)| rest);
    }
    if let Some(rest) = text.strip_prefix("Line ") {
        return rest.split_once(":  ").map(|(_, rest)| rest);
    }
    let rest = text.strip_prefix("error ").unwrap_or(text).strip_prefix("TS")?;
    number(rest)?.1.strip_prefix(": ")
}

/// The text without `(1:59)` at its end, and that position.
fn without_position(text: &str) -> (&str, Option<(u32, Option<u32>)>) {
    let Some((before, inside)) = text.strip_suffix(')').and_then(|text| text.rsplit_once(" (")) else {
        return (text, None);
    };
    match position(inside) {
        Some(found) => {
            let (shorter, earlier) = without_position(before);
            (shorter, earlier.or(Some(found)))
        }
        None => (text, None),
    }
}

fn position(text: &str) -> Option<(u32, Option<u32>)> {
    let (line, rest) = number(text)?;
    let (column, rest) = number(rest.strip_prefix(':')?)?;
    rest.is_empty().then_some((line, Some(column)))
}

/// `TypeError: x`, `Error [CODE]: x`, `[PARSE_ERROR] x`, `error: x`.
fn names_an_error(text: &str) -> bool {
    let head = text.split(": ").next().unwrap_or(text);
    let head = head.strip_suffix(']').and_then(|head| head.split_once(" [")).map_or(head, |(head, _)| head);
    let named = head.split(' ').next_back().unwrap_or(head);
    (head.len() < text.len() && (named.ends_with("Error") || named == "error" || named == "ERROR"))
        || text.starts_with("Error:")
        || code(text).is_some()
        || text.starts_with("✘ ")
        || text.starts_with("❌")
}

fn sentence(message: &str, kind: ErrorKind, block: &str) -> String {
    let message = without_passwords(message.trim_end_matches([':', '[', '{', ' ']));
    if kind == ErrorKind::Environment && message == "Invalid environment variables" {
        let mut names: Vec<&str> = block.lines().filter_map(variable).collect();
        names.dedup();
        if !names.is_empty() {
            return cut(format!("{message}: {}", names.join(", ")));
        }
    }
    if message.starts_with("Can't resolve ") {
        return cut(format!("Module not found: {}", message.split(" in '").next().unwrap_or(&message)));
    }
    cut(message)
}

/// A sentence of more characters than this is none.
const MAX_MESSAGE: usize = 500;

fn cut(mut message: String) -> String {
    if message.len() > MAX_MESSAGE
        && let Some((end, _)) = message.char_indices().nth(MAX_MESSAGE)
    {
        message.truncate(end);
    }
    message
}

/// What was printed, to be shown.
fn raw(block: &str) -> String {
    let mut raw = without_passwords(block);
    let end = (0..=MAX_BYTES.min(raw.len())).rev().find(|&end| raw.is_char_boundary(end));
    raw.truncate(end.unwrap_or(0));
    raw
}

/// `path: [ 'DATABASE_URL' ],` of zod, `DATABASE_URL: [ 'Required' ]` of its flattened form.
fn variable(line: &str) -> Option<&str> {
    let text = line.trim();
    if let Some(rest) = text.strip_prefix("path: [") {
        return rest.split('\'').nth(1).or_else(|| rest.split('"').nth(1));
    }
    let (name, rest) = text.split_once(':')?;
    let name = name.trim_matches('\'');
    let upper = name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    (upper && !name.is_empty() && rest.trim_start().starts_with('[')).then_some(name)
}

groups! {
    /// What words of a report tell of its kind.
    Word, WORDS:
    Missing = "Module not found" | "Can't resolve" | "Cannot find module" | "Cannot find package"
        | "Failed to resolve import" | "Could not resolve" | "could not be resolved" | "Failed to load url"
        | "Failed to resolve entry" | "ERR_MODULE_NOT_FOUND" | "UNRESOLVED_IMPORT" | "Could not import"
        | "Does the file exist?" | "doesn't exist in target module" | "failed to resolve",
    Type = "Type error: " | "error TS2" | "TS2" | "TS7" | "ERROR(TypeScript)" | "ERROR(vue-tsc)" | "ERROR(VLS)",
    Thrown = "TypeError: " | "ReferenceError: " | "RangeError: " | "⨯ Error: " | "error - Error: "
        | "error Error: ",
    Json = "valid JSON" | "in JSON at",
    Syntax = "yntax error" | "yntax Error" | "SyntaxError" | "nexpected " | "nterminated" | "nclosed"
        | "PARSE_ERROR" | "Parsing " | "xpected" | "TS1" | "Parse failure" | "parse error" | "parse_error"
        | "CompileError" | "Missing semicolon" | "Invalid left-hand side" | "already been declared"
        | "missing end tag" | "Invalid end tag" | "invalid syntax",
    Environment = "nvironment variable" | "NVIRONMENT VARIABLE" | "nv var" | "NV VAR" | "process.env"
        | "nvironment Variable",
}

static FINDER: Finder = Finder::new(WORDS);

fn kind(format: Format, draft: &Draft<'_>) -> ErrorKind {
    let has = |word: Word| draft.words & (1 << word as u64) != 0;
    let config = draft.told.is_some_and(|place| place.file.contains(".config."));
    if draft.environment {
        ErrorKind::Environment
    } else if format == Format::Config || config {
        ErrorKind::Config
    } else if has(Word::Missing) {
        ErrorKind::ModuleNotFound
    } else if has(Word::Type) || format == Format::Check && !has(Word::Syntax) {
        ErrorKind::Type
    } else if has(Word::Json) || has(Word::Thrown) && !has(Word::Syntax) {
        ErrorKind::Runtime
    } else if has(Word::Syntax) && !(has(Word::Thrown) && draft.call.is_some()) {
        ErrorKind::Syntax
    } else if has(Word::Thrown) || draft.frame_file.is_none() && draft.called {
        ErrorKind::Runtime
    } else {
        ErrorKind::Unknown
    }
}

/// Whether a line says that an environment variable is missing or invalid.
pub(super) fn is_environment(line: &str) -> bool {
    let lower = |words: &[&str]| words.iter().any(|word| contains_ignoring_case(line, word));
    if line.contains("process.env") {
        return lower(&["not defined in process.env", "missing", "is required", "is not set", "must be set"]);
    }
    lower(&["environment variable", "env var"])
        && lower(&[
            "missing",
            "required",
            "not found",
            "not set",
            "not defined",
            "undefined",
            "invalid",
            "must be",
            "unset",
            "is empty",
            "on the client",
            "failed",
            "provide",
            "resolved to an empty",
        ])
}

fn contains_ignoring_case(text: &str, word: &str) -> bool {
    text.as_bytes().windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
}

//! Problems of the environment: ports, packages, options, limits. Most are printed by npm, the shell, or every server.

use super::super::super::excerpt;
use super::super::super::line::{Line, Marker};
use super::super::super::place::number;
use super::super::super::problem::Problem;
use super::super::super::redact::without_passwords;
use super::super::super::stack::{Groups, Rule, Stack, groups};
use super::listening::last_port;

groups! {
    Word, WORDS:
    InUse = "in use" | "EADDRINUSE",
    RunningOn = "unning on ",
    RunningAt = "unning at ",
    Expose = "to expose",
    NotFound = "ot found",
    MissingScript = "issing script: ",
    ScriptNotFound = "cript not found ",
    Command = "error Command \"",
    PackageJson = "ckage.json",
    Option = "nknown option" | "nknown argument",
    Watchers = "ENOSPC",
    Blocked = "locked request",
    Node = "Node.js ",
    OldModule = "'node:" | "uilt-in module: node:",
    NotWritable = "EACCES" | "EROFS",
    Fatal = "ERROR",
}

const ALL: u64 = Word::bits(&[
    Word::InUse,
    Word::RunningOn,
    Word::RunningAt,
    Word::Expose,
    Word::NotFound,
    Word::MissingScript,
    Word::ScriptNotFound,
    Word::Command,
    Word::PackageJson,
    Word::Option,
    Word::Watchers,
    Word::Blocked,
    Word::Node,
    Word::OldModule,
    Word::NotWritable,
    Word::Fatal,
]);

pub(in super::super) const STACK: Stack =
    Stack { words: WORDS, errors: Some(Rule { groups: ALL, read }), ..Stack::DEFAULT };

fn read<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    problem(line.text, words).map(Marker::Problem)
}

fn problem(text: &str, words: Groups) -> Option<Problem> {
    if words.has(Word::InUse)
        && let Some(problem) = port_in_use(text)
    {
        return Some(problem);
    }
    // Create React App asks whether to take another port, and nobody is there to answer.
    if words.has(Word::RunningOn)
        && let Some((_, rest)) = text.split_once("Something is already running on port ")
    {
        return Some(Problem::AddressInUse(number(rest).and_then(|(port, _)| port.try_into().ok())));
    }
    // Astro for an agent: one line of JSON, and the process ends.
    if words.has(Word::RunningAt) && text.starts_with('{') && text.contains("Dev server running at") {
        return Some(Problem::InBackground);
    }
    if words.has(Word::Expose) && text.contains("--host to expose") {
        return Some(Problem::LocalhostOnly);
    }
    if words.any([Word::MissingScript, Word::ScriptNotFound, Word::Command, Word::NotFound])
        && let Some(problem) = not_found(text, words)
    {
        return Some(problem);
    }
    if words.has(Word::PackageJson) {
        let npm = text.contains("Could not read package.json") || text.contains("ENOENT") && text.contains("open '");
        if npm || text.contains("No package.json") || text.contains("find a package.json") {
            return Some(Problem::NoPackageJson);
        }
    }
    if words.has(Word::Option)
        && let Some(option) = unknown_option(text)
    {
        return Some(Problem::UnknownOption(option.to_owned()));
    }
    if words.has(Word::Watchers) && text.contains("watch") {
        return Some(Problem::NoWatchers);
    }
    if words.has(Word::Blocked) && text.contains("locked request. This host") {
        let host = text.split('"').nth(1).unwrap_or_default();
        return Some(Problem::RefusedHost(host.to_owned()));
    }
    if words.has(Word::Fatal) && text.starts_with("FATAL ERROR") && text.contains("heap out of memory") {
        return Some(Problem::HeapLimit);
    }
    if words.has(Word::Node) && wants_newer_node(text) {
        return Some(Problem::OldNode(excerpt::message(without_passwords(text))));
    }
    words.any([Word::OldModule, Word::NotWritable]).then(|| exception(text))?
}

/// An exception that says what the environment lacks.
fn exception(text: &str) -> Option<Problem> {
    let (_, words) = text.split_once("rror: ").or_else(|| text.split_once("]: "))?;
    let old = words.starts_with("The requested module 'node:") && words.contains("does not provide an export")
        || words.starts_with("No such built-in module: node:");
    if old {
        return Some(Problem::OldNode(excerpt::message(without_passwords(text))));
    }
    (words.starts_with("EACCES") || words.starts_with("EROFS")).then(|| not_writable(words))?
}

/// `You are using Node.js 18.20.8. For Next.js, Node.js version ">=20.9.0" is required.`,
/// `Node.js version v18.20.8 detected.` of Angular, `Node.js v18.20.8 is not supported by Astro!`. npm only warns so.
fn wants_newer_node(text: &str) -> bool {
    let wants = ["is required", "requires", "detected.", "is not supported", "upgrade your Node", "minimum Node.js"];
    !text.starts_with("npm ") && wants.iter().any(|words| text.contains(words))
}

/// `Error: EACCES: permission denied, mkdir '/app/.next/dev'`. A port that may not be taken is no path.
fn not_writable(text: &str) -> Option<Problem> {
    let (_, rest) = text.split_once("permission denied, ").or_else(|| text.split_once("read-only file system, "))?;
    let path = rest.split('\'').nth(1).filter(|path| path.starts_with('/'))?;
    Some(Problem::NotWritable(excerpt::message(path.to_owned())))
}

/// `listen EADDRINUSE: address already in use :::3000`, `Port 3000 is in use, trying 3001 instead.`
fn port_in_use(text: &str) -> Option<Problem> {
    if text.contains("EADDRINUSE") && text.contains("address already in use") {
        return Some(Problem::AddressInUse(last_port(text)));
    }
    let (wanted, rest) = text.split_once("Port ").and_then(|(_, rest)| number(rest))?;
    let wanted = wanted.try_into().ok().filter(|_| rest.contains("in use"))?;
    let used = rest
        .split_once("port ")
        .or_else(|| rest.split_once("trying "))
        .and_then(|(_, rest)| number(rest)?.0.try_into().ok());
    Some(if used.is_some() || rest.contains("another") {
        Problem::PortMoved { wanted, used }
    } else {
        Problem::AddressInUse(Some(wanted))
    })
}

/// `error: unknown option '--host'`, ``CACError: Unknown option `-H` ``. Code that quotes such words holds a backquote
/// before them, or a `$` after them.
fn unknown_option(text: &str) -> Option<&str> {
    let (before, rest) = text.split_once("nknown option").or_else(|| text.split_once("nknown argument"))?;
    let option = rest.trim_start_matches([':', 's', ' ']).split(['\'', '`', '"', ' ']).find(|part| !part.is_empty())?;
    (before.len() < 24 && !before.contains('`') && !option.contains('$')).then_some(option)
}

/// `npm error Missing script: "dev"`, `sh: 1: next: not found`, `bash: next: command not found`.
fn not_found(text: &str, words: Groups) -> Option<Problem> {
    for word in [Word::MissingScript, Word::ScriptNotFound, Word::Command] {
        if let Some(rest) = words.after(word, text) {
            let name = rest.trim_start_matches('"').split('"').next().unwrap_or(rest);
            return Some(Problem::NoScript(name.to_owned()));
        }
    }
    let before = text.strip_suffix(": not found").or_else(|| text.strip_suffix(": command not found"))?;
    let (shell, command) = before.rsplit_once(": ")?;
    let shell = shell.split(':').next().unwrap_or(shell).rsplit('/').next().unwrap_or(shell);
    ["sh", "bash", "ash", "dash"].contains(&shell).then(|| Problem::NoCommand(command.to_owned()))
}

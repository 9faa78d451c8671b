//! Builds that failed or succeeded, in any bundler's words: Rspack, Rsbuild, Parcel, Angular, Expo, Gatsby, Docusaurus and
//! whatever else says so. Where nothing else can be read, the page is at least not taken to be fine.

use super::super::super::line::{Line, Marker};
use super::super::super::place::number;
use super::super::super::stack::{Groups, Rule, Stack, groups};

groups! {
    Word, WORDS:
    Failed = "ailed",
    Problem = "Problem writing",
    Compiled = "ompiled ",
    Built = "uilt in ",
    Complete = "generation complete",
    Bundled = "undled ",
    Building = "ilding",
}

pub(in super::super) const STACK: Stack = Stack {
    words: WORDS,
    errors: Some(Rule { groups: Word::bits(&[Word::Failed, Word::Compiled, Word::Problem]), read: failed }),
    progress: Some(Rule {
        groups: Word::bits(&[Word::Compiled, Word::Built, Word::Complete, Word::Bundled, Word::Building]),
        read: built,
    }),
    ..Stack::DEFAULT
};

/// How a line says that a build failed, up to that word.
const FAILURES: &[&str] =
    &["uild failed", "undling failed", "ompilation failed", "bundle generation failed", "JavaScript bundle failed"];

/// Words before the phrase: a mark, a tag, a level, the name of a platform.
const WORDS_BEFORE: usize = 4;

/// `error   build failed in 0.02s`, `Rspack compiled with 1 error in 11 ms`, `Web Bundling failed 300ms index.js`.
fn failed<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    let text = line.text;
    let failed = words.has(Word::Failed) && says_failed(text)
        || words.after(Word::Compiled, text).is_some_and(counts_errors)
        || words.has(Word::Problem) && text.ends_with("Problem writing Eleventy templates:");
    failed.then_some(Marker::Failed)
}

fn says_failed(text: &str) -> bool {
    if text.starts_with("failed Re-building") || text.starts_with("failed Building") {
        return true;
    }
    let Some((before, rest)) = text.split_once("ailed") else { return false };
    let said = &text[..before.len() + "ailed".len()];
    let phrase = FAILURES.iter().find(|phrase| said.ends_with(*phrase));
    // `Build failed with 1 error:` opens a report, and `Module build failed (from ...)` is of one.
    phrase.is_some_and(|phrase| is_heading(&said[..said.len() - phrase.len()]))
        && !rest.starts_with(" with")
        && !rest.starts_with(" (from")
}

/// Whether what stands before a phrase is no sentence.
fn is_heading(before: &str) -> bool {
    before.split_whitespace().count() <= WORDS_BEFORE && !before.contains([':', '"', '\'', '`'])
}

/// `with 2 errors`, `with some errors in 251.86ms`.
fn counts_errors(rest: &str) -> bool {
    let Some(rest) = rest.strip_prefix("with ") else { return false };
    match number(rest) {
        Some((count, rest)) => count > 0 && rest.starts_with(" error"),
        None => rest.starts_with("some errors") || rest.starts_with("errors"),
    }
}

/// `ready   built in 0.01s`, `✨ Built in 12ms`, `Application bundle generation complete. [0.4 seconds]`,
/// `Rspack compiled successfully in 11 ms`, `Web Bundled 300ms index.js (1 module)`, `success Re-building development bundle`.
fn built<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    let text = line.text;
    let built = words.after(Word::Compiled, text).is_some_and(|rest| rest.starts_with("successfully"))
        || says_built(text, words)
        || words.has(Word::Complete) && text.starts_with("Application bundle generation complete")
        || words.after(Word::Bundled, text).is_some_and(starts_with_digit)
        || words.has(Word::Building)
            && (text.starts_with("success Re-building") || text.starts_with("success Building dev"));
    if built {
        return Some(Marker::Rebuilt);
    }
    (words.has(Word::Building) && text.starts_with("start ") && text.contains("building")).then_some(Marker::Compiling)
}

/// `ready   built in 0.01s`, and no sentence of an app that has something built.
fn says_built(text: &str, words: Groups) -> bool {
    let Some((before, rest)) = text.split_once("uilt in ").filter(|_| words.has(Word::Built)) else { return false };
    let heading = before.strip_suffix(['b', 'B']).is_some_and(is_heading);
    heading && starts_with_digit(rest)
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit())
}

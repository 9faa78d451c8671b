//! Where an error is: `src/a.ts:3:5`, `src/a.ts(3,5)`, `./src/a.js 3:0-32`, `app/page.js (3:21)`.

use std::sync::LazyLock;

use memchr::{memchr, memchr2, memmem};

use super::words::Prefixes;

/// A file as it was printed, and the position in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) file: &'a str,
    pub(super) line: Option<u32>,
    pub(super) column: Option<u32>,
}

impl<'a> Place<'a> {
    pub(super) fn of(file: &'a str) -> Self {
        Self { file, line: None, column: None }
    }
}

fn is_extension(word: &str) -> bool {
    matches!(
        word,
        "js" | "jsx"
            | "ts"
            | "tsx"
            | "mjs"
            | "cjs"
            | "mts"
            | "cts"
            | "vue"
            | "svelte"
            | "astro"
            | "css"
            | "scss"
            | "sass"
            | "less"
            | "mdx"
            | "md"
            | "html"
            | "json"
            | "prisma"
            | "styl"
            | "graphql"
            | "gql"
            | "pcss"
            | "gjs"
            | "gts"
    )
}

/// The number that the text begins with, and the rest.
pub(super) fn number(text: &str) -> Option<(u32, &str)> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

/// `3:5`, `3,5` or `3`, and the rest.
fn position(text: &str) -> Option<(u32, Option<u32>, &str)> {
    let (line, rest) = number(text)?;
    match rest.strip_prefix([':', ',']).and_then(number) {
        Some((column, rest)) => Some((line, Some(column), rest)),
        None => Some((line, None, rest)),
    }
}

fn without_query(path: &str) -> &str {
    &path[..memchr(b'?', path.as_bytes()).unwrap_or(path.len())]
}

/// Whether a word is the path of a source file.
#[must_use]
pub fn is_source(path: &str) -> bool {
    let path = without_query(path);
    path.rsplit_once('.').is_some_and(|(before, extension)| !before.is_empty() && is_extension(extension))
}

/// The place that the text begins with, and the rest. `loose` takes a path without position.
pub(super) fn leading(text: &str, loose: bool) -> Option<(Place<'_>, &str)> {
    // Next's routes hold spaces as little as they hold brackets at the end: `app/(shop)/[id]/page.js(3,5)`.
    let word = &text[..memchr2(b' ', b'\t', text.as_bytes()).unwrap_or(text.len())];
    let path_end = end_of_path(word)?;
    let (file, after) = (&text[..path_end], &text[path_end..]);
    let opened = after.strip_prefix(":").or_else(|| after.strip_prefix('('));
    let spaced = || after.strip_prefix(" (").or_else(|| after.strip_prefix(' '));
    if let Some((line, column, rest)) = opened.or_else(spaced).and_then(position) {
        let rest = rest.strip_prefix(')').unwrap_or(rest);
        return Some((Place { file, line: Some(line), column }, rest));
    }
    let ends = after.is_empty() || after.starts_with([' ', ':', '\t', ',']);
    (loose && ends).then_some((Place { file, line: None, column: None }, after))
}

/// Where the path in the word ends: after the first known extension that a position, or nothing, follows.
fn end_of_path(word: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(dot) = memchr(b'.', &word.as_bytes()[from..]) {
        let start = from + dot + 1;
        let length = word[start..].bytes().position(|byte| !byte.is_ascii_alphanumeric());
        let end = length.map_or(word.len(), |length| start + length);
        if start > 1 && is_extension(&word[start..end]) && !word[end..].starts_with(['/', '.', '-', '_', '\\']) {
            // A query is a part of the name: `App.vue?vue&type=script`.
            let query = word[end..].starts_with('?');
            let query = if query { word[end..].find([':', '(', ')']).unwrap_or(word.len() - end) } else { 0 };
            return Some(end + query);
        }
        from = start;
    }
    None
}

/// The first place with a position anywhere in the text: `at Home (app/page.js:1:40)`, `╭─[ src/App.jsx:1:60 ]`.
pub(super) fn anywhere(text: &str) -> Option<Place<'_>> {
    text.match_indices(':').find_map(|(at, _)| {
        text[at + 1..].bytes().next().filter(u8::is_ascii_digit)?;
        let start = text[..at].rfind([' ', '(', '[', '"', '\'', '\t']).map_or(0, |space| space + 1);
        // Brackets of Next's routes belong to the path.
        let start = if is_source(&text[start..at]) && text[..start].ends_with(['(', '[']) {
            let word = text[..start].rfind([' ', '"', '\'', '\t']).map_or(0, |space| space + 1);
            text[word..].bytes().take_while(|byte| matches!(byte, b'(' | b'[')).count() + word
        } else {
            start
        };
        leading(&text[start..], false).map(|(place, _)| place)
    })
}

/// What stands before a path of the project.
static ROOTS: Prefixes = Prefixes::new(&[
    "webpack-internal:///",
    "file://",
    "turbopack:///",
    "[project]/",
    "(rsc)/",
    "(ssr)/",
    "script:",
    "/app/",
    "./",
]);

/// The file relative to the project's folder. None for the code of others.
pub(super) fn in_project(file: &str) -> Option<&str> {
    let mut file = without_query(file);
    // Nuxt takes every `/app` out of a path, and this one begins with two.
    if file == "..vue" {
        return Some("app.vue");
    }
    while let Some(shorter) = ROOTS.strip(file) {
        file = shorter;
    }
    // A kit names the modules of the project from its root.
    if let Some(name) = file.strip_prefix('/').filter(|name| !name.contains('/')) {
        file = name;
    }
    (!is_foreign(file) && is_source(file)).then_some(file)
}

static FOREIGN: Prefixes = Prefixes::new(&["node:", ".next/"]);
static PACKAGES: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("node_modules/"));

/// Builds what is built at first use.
pub(super) fn prepare() {
    LazyLock::force(&PACKAGES);
}

/// Whether a path, or a call that holds one, is the code of others.
pub(super) fn is_foreign(text: &str) -> bool {
    FOREIGN.start(text.as_bytes()) || PACKAGES.find(text.as_bytes()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_every_spelling() {
        for (text, expected) in [
            ("./app/page.js:1:60", ("./app/page.js", Some(1), Some(60))),
            ("./app/(shop)/[id]/page.tsx:3:5", ("./app/(shop)/[id]/page.tsx", Some(3), Some(5))),
            ("src/a.ts(3,5): error TS2322: x", ("src/a.ts", Some(3), Some(5))),
            ("app/page.js (3:21) @ price", ("app/page.js", Some(3), Some(21))),
            ("./src/App.js 3:0-32", ("./src/App.js", Some(3), Some(0))),
            ("src/App.vue?vue&type=script:3:1", ("src/App.vue?vue&type=script", Some(3), Some(1))),
            ("./pages/index.js", ("./pages/index.js", None, None)),
            ("next.config.js, see more", ("next.config.js", None, None)),
            ("/app/src/App.js: Unexpected token (1:59)", ("/app/src/App.js", None, None)),
            ("a.config.ts:7", ("a.config.ts", Some(7), None)),
        ] {
            let (file, line, column) = expected;
            assert_eq!(leading(text, true).map(|found| found.0), Some(Place { file, line, column }), "{text}");
        }
        for text in ["Error: boom", "10:11:12 x", "v1.2.3", "", ".js", "a.jsonp"] {
            assert_eq!(leading(text, true), None, "{text}");
        }
    }

    #[test]
    fn places_anywhere() {
        for (text, expected) in [
            ("at Home (app/page.js:1:40)", Some(("app/page.js", 1))),
            ("at /app/src/pages/index.astro:2:10", Some(("/app/src/pages/index.astro", 2))),
            (
                "at eval (webpack-internal:///(rsc)/./app/page.js:9:17)",
                Some(("webpack-internal:///(rsc)/./app/page.js", 9)),
            ),
            ("╭─[ src/App.jsx:1:60 ]", Some(("src/App.jsx", 1))),
            ("at f (app/[id]/page.js:4:2)", Some(("app/[id]/page.js", 4))),
            ("at wrapSafe (node:internal/modules/cjs/loader:1464:18)", None),
            ("at http://localhost:3000/", None),
        ] {
            assert_eq!(anywhere(text).map(|place| (place.file, place.line.unwrap_or(0))), expected, "{text}");
        }
    }

    #[test]
    fn files_are_told_relative_to_the_project() {
        assert_eq!(in_project("./app/page.js"), Some("app/page.js"));
        assert_eq!(in_project("/app/app/page.js"), Some("app/page.js"));
        assert_eq!(in_project("webpack-internal:///(rsc)/./app/page.js"), Some("app/page.js"));
        assert_eq!(in_project("file:///app/src/a.ts?t=1"), Some("src/a.ts"));
        assert_eq!(in_project("/app/node_modules/next/a.js"), None);
        assert_eq!(in_project("node:internal/a.js"), None);
        assert_eq!(in_project("../ui/a.ts"), Some("../ui/a.ts"));
    }
}

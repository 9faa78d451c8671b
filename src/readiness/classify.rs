//! One plain line to what it means. Fitted to what Next.js 11-16, Vite 5-8 and their kin print.

use std::sync::LazyLock;

use regex::Regex;

/// What a line of a dev server says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// The server is up. Modern ones have compiled nothing yet.
    Ready,
    /// Something was compiled. Some servers print it while the page is broken, so it is a hint only.
    Compiled,
    /// The page was answered with 200.
    Answered,
    /// A compile error that the server also shows as a 500, so that a good answer ends it.
    PageError,
    /// A compile error in code for the browser: Vite answers the page with 200 all the same.
    ModuleError,
    /// Vite sent the mended module to the browser.
    ModuleMended,
}

static ANSWERED: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*GET / 200 in |^\d\d:\d\d:\d\d \[200\] / "));
static PAGE_ERROR: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"^\s*⨯ \./\S|^(?:- )?error +(?:- )?\./\S|^Failed to compile\.?$",
        r"|\[vite\].*Error when evaluating SSR module|^\d\d:\d\d:\d\d \[ERROR\]|^ERROR +\[request error\]",
    ))
});
static MODULE_ERROR: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"\[vite\].*(?:Internal server error|Pre-transform error)|Failed to (?:run dependency scan|scan for dependencies)",
    )
});
static MODULE_MENDED: LazyLock<Regex> = LazyLock::new(|| pattern(r"\[vite\].* ?(?:hmr update|page reload) "));
static COMPILED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)^\s*✓ compiled\b.*\bin [\d.]+ ?m?s|^(?:- )?event +(?:- )?compiled\b.*\bsuccessfully",
        r"|compiled successfully|nitro server built in",
    ))
});
static READY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(concat!(
        r"(?i)\bready in [\d.]+ ?m?s\b|\bready(?: -)? started server\b",
        r"|^\s*➜\s+Local:\s+https?://|^You can now view \S+ in the browser",
    ))
});

#[expect(clippy::expect_used, reason = "the patterns are literals and a test compiles each")]
fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a literal pattern")
}

/// What a line says, where it says anything. The line is plain: [`super::LineSplitter`] made it.
#[must_use]
pub fn classify(line: &str) -> Option<Signal> {
    // Errors first: a line of one kind may quote a word of another.
    [
        (&PAGE_ERROR, Signal::PageError),
        (&MODULE_ERROR, Signal::ModuleError),
        (&MODULE_MENDED, Signal::ModuleMended),
        (&ANSWERED, Signal::Answered),
        (&COMPILED, Signal::Compiled),
        (&READY, Signal::Ready),
    ]
    .into_iter()
    .find_map(|(pattern, signal)| pattern.is_match(line).then_some(signal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_real_dev_servers() {
        for (line, signal) in [
            ("ready - started server on 0.0.0.0:3000, url: http://localhost:3000", Some(Signal::Ready)),
            ("- ready started server on 0.0.0.0:3000, url: http://localhost:3000", Some(Signal::Ready)),
            (" ✓ Ready in 879ms", Some(Signal::Ready)),
            ("✓ Ready in 1.2s", Some(Signal::Ready)),
            ("  VITE v8.3.8  ready in 369 ms", Some(Signal::Ready)),
            ("  ➜  Local:   http://localhost:3000/", Some(Signal::Ready)),
            ("You can now view cra5 in the browser.", Some(Signal::Ready)),
            (" astro  v5.18.2 ready in 191 ms", Some(Signal::Ready)),
            ("event - compiled successfully", Some(Signal::Compiled)),
            ("event - compiled client and server successfully in 1684 ms (110 modules)", Some(Signal::Compiled)),
            ("- event compiled client and server successfully in 295 ms (20 modules)", Some(Signal::Compiled)),
            (" ✓ Compiled / in 4.4s (529 modules)", Some(Signal::Compiled)),
            ("✓ Compiled in 13ms", Some(Signal::Compiled)),
            ("webpack compiled successfully", Some(Signal::Compiled)),
            ("Compiled successfully!", Some(Signal::Compiled)),
            (" GET / 200 in 305ms (next.js: 178ms, application-code: 127ms)", Some(Signal::Answered)),
            ("16:53:11 [200] / 19ms", Some(Signal::Answered)),
            (" ⨯ ./app/page.js", Some(Signal::PageError)),
            ("⨯ ./app/page.js:1:60", Some(Signal::PageError)),
            ("error - ./pages/index.js:1:59", Some(Signal::PageError)),
            ("- error ./app/page.js", Some(Signal::PageError)),
            ("Failed to compile.", Some(Signal::PageError)),
            ("4:52:23 PM [vite] Internal server error: Transform failed with 1 error:", Some(Signal::ModuleError)),
            ("4:52:23 PM [vite] (client) Pre-transform error: Transform failed", Some(Signal::ModuleError)),
            ("(!) Failed to run dependency scan. Skipping dependency pre-bundling.", Some(Signal::ModuleError)),
            ("4:52:27 PM [vite] (client) hmr update /src/App.jsx", Some(Signal::ModuleMended)),
            (" ⨯ Error: boom", None),
            (" ✓ Starting...", None),
            (" ○ Compiling / ...", None),
            ("   - Local:        http://localhost:3000", None),
            (" GET / 500 in 14936ms", None),
            (" GET /about 200 in 14ms", None),
            ("> next dev -H 0.0.0.0", None),
            ("", None),
        ] {
            assert_eq!(classify(line), signal, "{line:?}");
        }
    }
}

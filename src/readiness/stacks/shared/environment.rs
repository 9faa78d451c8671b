//! Environment variables that are missing or invalid, as frameworks, Prisma and validation libraries word it.

use super::super::super::format::Format;
use super::super::super::line::{Line, Marker};
use super::super::super::stack::{Groups, ReportWords, Rule, Stack};

/// The spellings by which lines name environment variables.
const SPELLINGS: &[&str] = &["nvironment var", "nvironment Var", "NVIRONMENT VAR", "nv var", "NV VAR", "process.env"];

pub(in super::super) const STACK: Stack = Stack {
    words: &[SPELLINGS],
    errors: Some(Rule { groups: 1, read: error }),
    report: ReportWords {
        prefixes: &["❌ "],
        headlines: &["Prisma schema validation", "Error code:"],
        environment: &[
            "nvironment variable",
            "nvironment Variable",
            "NVIRONMENT VARIABLE",
            "nv var",
            "NV VAR",
            "process.env",
        ],
        ..ReportWords::DEFAULT
    },
    ..Stack::DEFAULT
};

static REPORT: Format = Format { continues_other: true, ..Format::DEFAULT };

fn error<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    is_missing(line.printed).then_some(Marker::Opens(&REPORT))
}

/// Whether the text names environment variables at all. Quicker than [`is_missing`].
pub(in super::super) fn is_named(text: &str) -> bool {
    SPELLINGS.iter().any(|spelling| text.contains(spelling))
}

/// Whether the text says that an environment variable is missing or invalid.
pub(in super::super::super) fn is_missing(text: &str) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| contains_ignoring_case(text, word));
    if text.contains("process.env") {
        return has(&["not defined in process.env", "missing", "is required", "is not set", "must be set"]);
    }
    has(&["environment variable", "env var"])
        && has(&[
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

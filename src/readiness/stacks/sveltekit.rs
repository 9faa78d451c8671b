//! `SvelteKit` 2. All but the errors of its server is what Vite prints.

use super::super::line::{Line, Marker};
use super::super::stack::{Groups, ReportWords, Rule, Stack, groups};
use super::shared::listening::tagged_request;
use super::shared::reports::PAGE;

groups! {
    Word, WORDS:
    Request = "[200] " | "[50" | "GET ",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    progress: Some(Rule { groups: Word::bits(&[Word::Request]), read: request }),
    report: ReportWords { asides: &["[50"], syntax: &["CompileError", "parse_error"], ..ReportWords::DEFAULT },
    ..Stack::DEFAULT
};

/// `[500] GET /`, with the exception below.
fn request<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    let (status, rest) = tagged_request(line.body())?;
    let path = rest.strip_prefix("GET ").filter(|path| path.starts_with('/'))?;
    let page = path == "/" || path.starts_with("/ ");
    Some(match status {
        200 if page => Marker::Answered,
        500.. => Marker::Opens(&PAGE),
        _ => Marker::Ends,
    })
}

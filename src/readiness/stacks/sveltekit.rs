//! `SvelteKit` 2. All but the errors of its server is what Vite prints.

use super::super::line::{Line, Marker};
use super::super::place::number;
use super::super::stack::{Groups, ReportWords, Rule, Stack, groups};
use super::shared::listening::tagged_request;
use super::shared::reports::PAGE;

groups! {
    Word, WORDS:
    Request = "[200] " | "[50" | "GET ",
    Failed = "rror: ",
}

pub(super) const STACK: Stack = Stack {
    words: WORDS,
    errors: Some(Rule { groups: Word::bits(&[Word::Failed]), read: failed }),
    progress: Some(Rule { groups: Word::bits(&[Word::Request]), read: request }),
    report: ReportWords { asides: &["[50"], syntax: &["CompileError", "parse_error"], ..ReportWords::DEFAULT },
    ..Stack::DEFAULT
};

/// `Internal server error: /app/src/routes/+page.svelte:2:24 Unexpected token`, which `SvelteKit` 3 prints without Vite's tag.
fn failed<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    line.text.starts_with("Internal server error: ").then_some(Marker::Opens(&PAGE))
}

/// `[500] GET /` of `SvelteKit` 2, with the exception below; `500 GET /` of `SvelteKit` 3, with it above.
fn request<'a>(line: &Line<'a>, _: Groups) -> Option<Marker<'a>> {
    if let Some((status, rest)) = number(line.body())
        && let Some(path) = rest.strip_prefix(" GET /")
    {
        let page = path.is_empty() || path.starts_with(' ');
        return Some(if status == 200 && page { Marker::Answered } else { Marker::Ends });
    }
    let (status, rest) = tagged_request(line.body())?;
    let path = rest.strip_prefix("GET ").filter(|path| path.starts_with('/'))?;
    let page = path == "/" || path.starts_with("/ ");
    Some(match status {
        200 if page => Marker::Answered,
        500.. => Marker::Opens(&PAGE),
        _ => Marker::Ends,
    })
}

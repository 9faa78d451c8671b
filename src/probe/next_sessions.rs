//! What the pages that browsers have open show, as `get_errors` of Next.js tells: JSON since 16.2, Markdown before.

use serde_json::Value;

use crate::preview::BrowserErrorKind;
use crate::readiness::{BrowserReport, without_passwords};

/// More errors and pages than these are not read.
const MAX_ERRORS: usize = 32;
/// Characters of a message and of a path that are kept.
const MAX_MESSAGE: usize = 500;
const MAX_PATH: usize = 300;

/// A page and one error that it shows.
pub type Shown = (String, BrowserReport);

/// The errors of all open pages. None: no page is open, or the answer is not understood.
#[must_use]
pub fn shown(answer: &Value) -> Option<Vec<Shown>> {
    match answer {
        Value::String(text) => of_markdown(text),
        _ => of_json(answer),
    }
}

fn of_json(answer: &Value) -> Option<Vec<Shown>> {
    let pages = answer["sessionErrors"].as_array()?;
    let errors = pages.iter().flat_map(|page| {
        let url = short(page["url"].as_str().unwrap_or_default(), MAX_PATH);
        let errors = page["runtimeErrors"].as_array().into_iter().flatten();
        errors.map(move |error| {
            let calls = error["stack"].as_array().into_iter().flatten();
            let call = calls.into_iter().find(|call| call["file"].as_str().is_some_and(is_of_project));
            let number = |field: &str| call.and_then(|call| call[field].as_u64()?.try_into().ok());
            let file = call.and_then(|call| call["file"].as_str()).map(|file| short(file, MAX_PATH));
            let kind = error["type"].as_str().unwrap_or_default();
            (
                url.clone(),
                report(kind, error["message"].as_str().unwrap_or_default(), file, number("line"), number("column")),
            )
        })
    });
    Some(errors.take(MAX_ERRORS).collect())
}

/// `## Session: /effect`, `#### Error 1 (Type: runtime)`, `**Error**: boom`, `  at Page (app/effect/page.js:5:11)`.
fn of_markdown(text: &str) -> Option<Vec<Shown>> {
    if text.starts_with("No errors detected") {
        return Some(Vec::new());
    }
    if !text.starts_with("# Found errors") {
        return None;
    }
    let (mut page, mut kind, mut shown): (&str, &str, Vec<Shown>) = ("", "", Vec::new());
    for line in text.lines() {
        if let Some(url) = line.strip_prefix("## Session: ") {
            page = url;
        } else if let Some((_, rest)) = line.strip_prefix("#### Error ").and_then(|rest| rest.split_once("(Type: ")) {
            kind = rest.trim_end_matches(')');
        } else if let Some((_, message)) = line.strip_prefix("**").and_then(|rest| rest.split_once("**: "))
            && !kind.is_empty()
        {
            if shown.len() == MAX_ERRORS {
                break;
            }
            shown.push((short(page, MAX_PATH), report(kind, message, None, None, None)));
            kind = "";
        } else if let (Some((_, place)), Some((_, last))) =
            (line.trim().strip_prefix("at ").and_then(|call| call.rsplit_once('(')), shown.last_mut())
            && last.file.is_none()
        {
            let mut parts = place.trim_end_matches(')').rsplitn(3, ':');
            let (column, line, file) = (parts.next(), parts.next(), parts.next());
            if let Some(file) = file.filter(|file| is_of_project(file)) {
                last.file = Some(short(file, MAX_PATH));
                last.line = line.and_then(|line| line.parse().ok());
                last.column = column.and_then(|column| column.parse().ok());
            }
        }
    }
    Some(shown)
}

fn report(kind: &str, message: &str, file: Option<String>, line: Option<u32>, column: Option<u32>) -> BrowserReport {
    let first = message.lines().next().unwrap_or_default();
    let kind = match kind {
        "console" => BrowserErrorKind::Console,
        _ if first.contains("Hydration") || first.contains("hydrat") => BrowserErrorKind::Hydration,
        _ => BrowserErrorKind::Uncaught,
    };
    BrowserReport { kind, message: short(&without_passwords(first), MAX_MESSAGE), file, line, column }
}

fn is_of_project(file: &str) -> bool {
    !file.starts_with(['/', '<'])
        && !file.contains("node_modules/")
        && !file.contains("://")
        && !file.split('/').any(|part| part == "..")
}

fn short(text: &str, longest: usize) -> String {
    text.chars().filter(|one| !one.is_control()).take(longest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_spellings_say_the_same() {
        // As Next.js 16.4 and 16.0 answer.
        let json = json!({"configErrors": [], "sessionErrors": [{"url": "/click", "buildError": null, "runtimeErrors": [
            {"type": "runtime", "errorName": "TypeError", "message": "boom", "stack": [
                {"file": "<anonymous>", "methodName": "button", "line": null, "column": null},
                {"file": "app/click/page.js", "methodName": "Page", "line": 6, "column": 10}]}]}]});
        let markdown = json!(
            "# Found errors in 1 browser session(s)\n\n## Session: /click\n\n**1 error(s) found**\n\n### Runtime Errors\n\n\
             #### Error 1 (Type: runtime)\n\n**Error**: boom\n\n```\n  at button (<anonymous>)\n  at Page (app/click/page.js:6:10)\n```\n\n---"
        );
        for answer in [json, markdown] {
            let found = shown(&answer).unwrap_or_default();
            let told: Vec<_> = found
                .iter()
                .map(|(page, told)| {
                    (page.as_str(), told.message.as_str(), told.file.as_deref(), told.line, told.column)
                })
                .collect();
            assert_eq!(told, [("/click", "boom", Some("app/click/page.js"), Some(6), Some(10))], "{answer}");
        }
    }

    #[test]
    fn no_open_page_is_no_good_page() {
        assert_eq!(shown(&json!("No errors detected in 1 browser session(s).")), Some(Vec::new()));
        assert_eq!(shown(&json!({"sessionErrors": []})), Some(Vec::new()));
        for answer in
            [json!("No browser sessions connected."), json!({"error": "No browser sessions connected."}), json!(7)]
        {
            assert_eq!(shown(&answer), None, "{answer}");
        }
    }
}

//! The message of an error: what stands before and after it is taken away.

use super::super::excerpt;
use super::super::line::after_clock;
use super::super::place::number;
use super::super::redact::without_passwords;
use super::super::tables::PREFIXES;
use crate::preview::ErrorKind;

/// The text without what tools put before the message.
pub(super) fn body(text: &str) -> &str {
    let text = after_clock(text).unwrap_or(text);
    strip(text.strip_prefix("[vite] ").unwrap_or(text))
}

/// As [`body`], for a text that stands inside a line.
pub(super) fn strip(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        match PREFIXES.strip(text).or_else(|| after_code(text)) {
            Some(shorter) => text = shorter,
            None => break,
        }
    }
    text.strip_prefix("Module not found: Error: ").unwrap_or(text)
}

/// The text after the code of an error or the name of a tool: `[PARSE_ERROR] `, `TS2322: `, `error TS2322: `,
/// `[plugin:vite:css] `, `ERROR(TypeScript)  `.
fn after_code(text: &str) -> Option<&str> {
    // An exception without a stack: `[Error: The Proxy file must export a function.]`.
    if let Some(inside) = text.strip_prefix("[Error: ") {
        return inside.strip_suffix(']');
    }
    if let Some(inside) = text.strip_prefix('[') {
        let (inside, rest) = inside.split_once(']')?;
        let tool = ["plugin", "vue", "vite", "postcss"].iter().any(|tool| inside.starts_with(tool));
        let code = !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        return (tool || code).then_some(rest.trim_start_matches([':', ' ']));
    }
    if let Some(rest) = text.strip_prefix("@parcel/") {
        return rest.split_once(": ").map(|(_, rest)| rest);
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
pub(super) fn without_position(text: &str) -> (&str, Option<(u32, Option<u32>)>) {
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
    // A range: `(6:1-6:7)`.
    (rest.is_empty() || rest.starts_with('-')).then_some((line, Some(column)))
}

/// Whether the text calls itself an error: `TypeError: x`, `Error [CODE]: x`, `[PARSE_ERROR] x`, `error: x`.
pub(super) fn names_an_error(text: &str) -> bool {
    let head = text.split(": ").next().unwrap_or(text);
    let head = head.strip_suffix(']').and_then(|head| head.split_once(" [")).map_or(head, |(head, _)| head);
    let named = head.split(' ').next_back().unwrap_or(head);
    (head.len() < text.len() && (named.ends_with("Error") || named == "error" || named == "ERROR"))
        || text.starts_with("Error:")
        || after_code(text).is_some()
        || text.starts_with("Cause: ")
        || text.starts_with("✘ ")
        || text.starts_with("❌")
}

/// The message as users see it.
pub(super) fn sentence(message: &str, kind: ErrorKind, report: &str) -> String {
    let message = without_passwords(message.trim_end_matches([':', '[', '{', ' ']));
    if kind == ErrorKind::Environment && message == "Invalid environment variables" {
        let mut names: Vec<&str> = report.lines().filter_map(variable).collect();
        names.dedup();
        if !names.is_empty() {
            return excerpt::message(format!("{message}: {}", names.join(", ")));
        }
    }
    if message.starts_with("Can't resolve ") {
        return excerpt::message(format!("Module not found: {}", message.split(" in '").next().unwrap_or(&message)));
    }
    excerpt::message(message)
}

/// The name of an invalid variable: zod's `path: [ 'DATABASE_URL' ],`, or its flattened `DATABASE_URL: [ 'Required' ]`.
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

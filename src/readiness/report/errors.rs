//! The errors that a report tells.

use super::super::excerpt;
use super::super::format::Format;
use super::super::place::{in_project, is_foreign};
use super::super::words::lines;
use super::kind::kind;
use super::message::sentence;
use super::parser::ReportParser;
use super::sections;
use crate::preview::CompileError;

/// The errors that a report tells. None, if it turns out to be ordinary output.
pub(in super::super) fn errors(format: &Format, report: &str) -> Vec<CompileError> {
    if let Some(errors) = format.list.and_then(|list| list(report)) {
        return errors;
    }
    let mut errors = Vec::new();
    if format.sections && sections::may_be_several(report) {
        let mut start = 0;
        for next in sections::starts(report).chain([report.len()]) {
            errors.extend(error(format, report[start..next].trim_end()));
            start = next;
        }
    } else {
        errors.extend(error(format, report));
    }
    errors
}

fn error(format: &Format, report: &str) -> Option<CompileError> {
    let mut parser = ReportParser::default();
    for line in lines(report) {
        parser.line(line, format.strict);
        // What follows a stack trace tells nothing more, and stack traces are long.
        if parser.called && parser.is_whole() {
            break;
        }
    }
    let kind = kind(format, &parser);
    let place = parser.place();
    let message = parser.message.or(parser.headline)?;
    if place.is_none() && !(format.counts_without_place)(kind, report) {
        return None;
    }
    let (file, line, column) = match place {
        Some(place) if !is_foreign(place.file) => {
            (in_project(place.file).or(Some(place.file)), place.line, place.column)
        }
        _ => (None, None, None),
    };
    Some(CompileError {
        file: file.map(str::to_owned),
        line,
        column,
        message: sentence(message, kind, report),
        kind,
        raw: excerpt::raw(report),
    })
}

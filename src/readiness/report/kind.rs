//! The kind of an error.

use super::super::format::Format;
use super::super::tables::KindWord;
use super::parser::ReportParser;
use crate::preview::ErrorKind;

/// The kind of the error that was read.
pub(super) fn kind(format: &Format, parser: &ReportParser<'_>) -> ErrorKind {
    let has = |word: KindWord| parser.words & word.bit() != 0;
    let config = parser.stated.is_some_and(|place| place.file.contains(".config."));
    if parser.environment {
        ErrorKind::Environment
    } else if format.kind == Some(ErrorKind::Config) || config {
        ErrorKind::Config
    } else if has(KindWord::Missing) {
        ErrorKind::ModuleNotFound
    } else if has(KindWord::Type) || format.kind == Some(ErrorKind::Type) && !has(KindWord::Syntax) {
        ErrorKind::Type
    } else if has(KindWord::Json) || has(KindWord::Thrown) && !has(KindWord::Syntax) {
        ErrorKind::Runtime
    } else if has(KindWord::Syntax) && !(has(KindWord::Thrown) && parser.call.is_some()) {
        ErrorKind::Syntax
    } else if has(KindWord::Thrown) || parser.frame.file.is_none() && parser.called {
        ErrorKind::Runtime
    } else {
        ErrorKind::Unknown
    }
}

//! The lines by which servers say that they are up, and where. Also the requests that frameworks on Vite print.

use super::super::super::line::{Line, Marker};
use super::super::super::place::number;
use super::super::super::stack::{Groups, Rule, Stack, groups};

groups! {
    Word, WORDS:
    ReadyIn = "eady in ",
    Local = "Local",
    ReadyOn = "Ready on ",
    ListeningOn = "istening on ",
    ListeningAt = "istening at ",
    RunningOn = "unning on ",
    RunningAt = "unning at ",
    StartedOn = "tarted on ",
    StartedAt = "tarted at ",
}

/// Words that stand before the port or the address.
const BEFORE_PORT: [Word; 7] = [
    Word::ReadyOn,
    Word::ListeningOn,
    Word::ListeningAt,
    Word::RunningOn,
    Word::RunningAt,
    Word::StartedOn,
    Word::StartedAt,
];

pub(in super::super) const STACK: Stack = Stack {
    words: WORDS,
    // A stage earlier than `ready`: such a line tells no port, whatever else it says.
    progress: Some(Rule { groups: Word::bits(&[Word::ReadyIn]), read: ready_in }),
    ready: Some(Rule { groups: Word::bits(&BEFORE_PORT) | Word::bits(&[Word::Local]), read: listening }),
    ..Stack::DEFAULT
};

/// `✓ Ready in 791ms`, `VITE v7.3.8  ready in 322 ms`.
fn ready_in<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    let rest = words.after(Word::ReadyIn, line.text)?;
    rest.starts_with(|first: char| first.is_ascii_digit()).then_some(Marker::Ready(None))
}

/// `➜  Local:   http://localhost:3000/`, `Server listening on port 3000`.
fn listening<'a>(line: &Line<'a>, words: Groups) -> Option<Marker<'a>> {
    let text = line.text;
    let local = text.trim_start_matches(['➜', '┃', '-', '>', ' ']);
    if let Some(rest) = local.strip_prefix("Local") {
        let port = rest.trim_start_matches([':', ' ']).strip_prefix("http").and_then(url_port)?;
        return Some(if text.starts_with('➜') { Marker::Ready(Some(port)) } else { Marker::Listening(port) });
    }
    let rest = BEFORE_PORT.iter().find_map(|word| words.after(*word, text))?;
    let rest = rest.trim_start_matches(':').trim_start();
    let port = rest.strip_prefix("port ").map(|rest| rest.trim_start_matches([':', ' ']));
    let port = port.and_then(|rest| number(rest)?.0.try_into().ok());
    let port = port.or_else(|| rest.strip_prefix("http").and_then(url_port))?;
    Some(Marker::Ready(Some(port)))
}

/// The port of the address that the text begins with, in its first word: `://localhost:3000/`, `0.0.0.0:3000, url: ...`.
pub(in super::super) fn url_port(text: &str) -> Option<u16> {
    let word = text.trim_start().split([' ', ',', '"']).next()?;
    word.match_indices(':').find_map(|(at, _)| number(&word[at + 1..])?.0.try_into().ok())
}

/// The port of the last `host:port` in the text.
pub(in super::super) fn last_port(text: &str) -> Option<u16> {
    text.rsplit(':').find_map(|rest| number(rest)?.0.try_into().ok())
}

/// The status of a request, and the text after it: `[200] / 4ms`, `[500] GET /`.
pub(in super::super) fn tagged_request(text: &str) -> Option<(u32, &str)> {
    let (status, rest) = number(text.strip_prefix('[')?)?;
    Some((status, rest.strip_prefix("] ")?))
}

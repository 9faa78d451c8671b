//! Looking for words in a text, quickly.

use std::borrow::Cow;

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::dfa::DFA;

/// Finds many words in one pass, also where they overlap.
#[derive(Debug)]
pub(super) struct Finder {
    automaton: DFA,
    start: StateID,
}

impl Finder {
    #[expect(clippy::expect_used, reason = "the words are literals and every test builds them")]
    pub(super) fn new(words: &[&str]) -> Self {
        let automaton = DFA::new(words).expect("literal words");
        let start = automaton.start_state(Anchored::No).expect("an unanchored automaton");
        Self { automaton, start }
    }

    /// Hands over the number of each word that the text holds, as often as it does.
    pub(super) fn each(&self, text: &[u8], mut take: impl FnMut(usize)) {
        let mut state = self.start;
        for &byte in text {
            state = self.automaton.next_state(Anchored::No, state, byte);
            if self.automaton.is_match(state) {
                for index in 0..self.automaton.match_len(state) {
                    take(self.automaton.match_pattern(state, index).as_usize());
                }
            }
        }
    }
}

/// Words that a text may begin with. Most texts begin with none, which their first byte tells.
#[derive(Debug)]
pub(super) struct Beginnings {
    words: &'static [&'static str],
    first: [bool; 256],
}

impl Beginnings {
    pub(super) const fn new(words: &'static [&'static str]) -> Self {
        let mut first = [false; 256];
        let mut at = 0;
        while at < words.len() {
            first[words[at].as_bytes()[0] as usize] = true;
            at += 1;
        }
        Self { words, first }
    }

    /// The text after the first of the words that it begins with.
    pub(super) fn after<'a>(&self, text: &'a str) -> Option<&'a str> {
        let first = *text.as_bytes().first()?;
        if !self.first[usize::from(first)] {
            return None;
        }
        self.words.iter().filter(|word| word.as_bytes()[0] == first).find_map(|word| text.strip_prefix(word))
    }

    /// Whether the text begins with one of the words.
    pub(super) fn begin(&self, text: &[u8]) -> bool {
        text.first().is_some_and(|first| self.first[usize::from(*first)])
            && self.words.iter().any(|word| text.starts_with(word.as_bytes()))
    }
}

/// As [`String::from_utf8_lossy`], which goes through a text that is valid byte by byte.
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// The lines of a text that ends in none.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let ends = memchr::memchr_iter(b'\n', text.as_bytes()).chain([text.len()]);
    ends.scan(0, |start, end| {
        let line = &text[*start..end];
        *start = end + 1;
        Some(line)
    })
}

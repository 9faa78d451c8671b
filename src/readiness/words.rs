//! Looking for words in a text, quickly.

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
            if self.automaton.is_special(state) && self.automaton.is_match(state) {
                for index in 0..self.automaton.match_len(state) {
                    take(self.automaton.match_pattern(state, index).as_usize());
                }
            }
        }
    }
}

/// The text after the first of the words that it begins with.
pub(super) fn after<'a>(text: &'a str, words: &[&str]) -> Option<&'a str> {
    // Most words are told apart by their first byte, which needs no call.
    let first = text.as_bytes().first();
    words.iter().filter(|word| word.as_bytes().first() == first).find_map(|word| text.strip_prefix(word))
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

/// Whether the text begins with one of the words.
pub(super) fn begins(text: &str, words: &[&str]) -> bool {
    after(text, words).is_some()
}

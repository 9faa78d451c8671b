//! Looking for words in a text, quickly.

use std::borrow::Cow;

/// Names groups of words, and lists them for a [`Finder`] in the order of their names.
macro_rules! groups {
    ($(#[$meta:meta])* $names:ident, $words:ident: $($name:ident = $($word:literal)|+),* $(,)?) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        enum $names { $($name),* }
        const $words: &[&[&str]] = &[$(&[$($word),+]),*];
    };
}
pub(super) use groups;

/// So many bytes at the head of each word are looked for; where they stand, the whole word is.
const HEAD: usize = 4;

/// Finds many words in one pass, also where they overlap. A bit stands for each: an automaton, which must know its state
/// before it takes the next byte, needs half as long again.
#[derive(Debug)]
pub(super) struct Finder {
    /// The words, and which group each is of.
    words: [(&'static str, usize); 64],
    /// Which words have a byte at each place of their heads. A word of three bytes goes on with any.
    heads: [[u64; 256]; HEAD],
}

impl Finder {
    /// Takes groups of words of three bytes or more, at most 64 in all.
    pub(super) const fn new(groups: &[&[&'static str]]) -> Self {
        let mut finder = Self { words: [("", 0); 64], heads: [[0; 256]; HEAD] };
        let (mut count, mut group) = (0, 0);
        while group < groups.len() {
            let mut index = 0;
            while index < groups[group].len() {
                finder.add(count, groups[group][index], group);
                count += 1;
                index += 1;
            }
            group += 1;
        }
        finder
    }

    const fn add(&mut self, index: usize, word: &'static str, group: usize) {
        assert!(word.len() >= HEAD - 1, "a word is too short");
        self.words[index] = (word, group);
        let mut at = 0;
        while at < HEAD {
            let mut byte = 0;
            while byte < 256 {
                if at >= word.len() || word.as_bytes()[at] as usize == byte {
                    self.heads[at][byte] |= 1 << index;
                }
                byte += 1;
            }
            at += 1;
        }
    }

    /// The groups that the text holds a word of, a bit for each.
    pub(super) fn find(&self, text: &[u8]) -> u64 {
        let mut found = 0;
        let mut look = |a: u8, b: u8, c: u8, d: u8, at: usize| {
            let [first, second, third, fourth] = &self.heads;
            let words = first[usize::from(a)] & second[usize::from(b)] & third[usize::from(c)] & fourth[usize::from(d)];
            if words != 0 {
                found |= self.groups(words, &text[at..]);
            }
        };
        for (at, head) in text.windows(HEAD).enumerate() {
            if let &[a, b, c, d] = head {
                look(a, b, c, d, at);
            }
        }
        if let &[.., a, b, c] = text {
            look(a, b, c, 0, text.len() - 3);
        }
        found
    }

    /// The groups of those of the words that the text begins with.
    // Rare, and within the loop it takes registers that the loop needs.
    #[inline(never)]
    fn groups(&self, mut words: u64, text: &[u8]) -> u64 {
        let mut groups = 0;
        while words != 0 {
            let (word, group) = self.words[words.trailing_zeros() as usize];
            groups |= u64::from(text.starts_with(word.as_bytes())) << group;
            words &= words - 1;
        }
        groups
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GROUPS: &[&[&str]] = &[&["aab", "abba"], &["⨯"], &["abab a", "aaaaaaaaaa"], &["b a"]];
    static FINDER: Finder = Finder::new(GROUPS);

    proptest! {
        #[test]
        fn a_finder_finds_what_the_text_contains(text in "[ab ⨯]{0,40}") {
            let holds = |group: &&[&str]| group.iter().any(|word| text.contains(word));
            let expected = GROUPS.iter().enumerate().map(|(at, group)| u64::from(holds(group)) << at).sum::<u64>();
            prop_assert_eq!(FINDER.find(text.as_bytes()), expected);
        }
    }

    #[test]
    fn a_finder_finds_a_word_at_the_very_end() {
        assert_eq!([FINDER.find("x⨯".as_bytes()), FINDER.find(b"aab"), FINDER.find(b"aa")], [2, 1, 0]);
    }
}

//! Looking for words in a text, quickly.

use std::borrow::Cow;

/// So many bytes at the head of each word are looked for; where they stand, the whole word is.
const HEAD: usize = 4;

/// Finds many words in one pass, also where they overlap. A bit stands for each: an automaton, which must know its state
/// before it takes the next byte, needs three times as long.
#[derive(Debug)]
pub(super) struct Finder {
    words: [Word; 64],
    /// Which words have a byte at each place of their heads. A word of three bytes goes on with any.
    heads: [[u64; 256]; HEAD],
}

#[derive(Debug, Clone, Copy)]
struct Word {
    text: &'static str,
    group: u8,
    first: u64,
    mask: u64,
}

impl Word {
    const fn new(text: &'static str, group: u8) -> Self {
        let bytes = text.as_bytes();
        let (mut first, mut mask) = (0, 0);
        let mut at = 0;
        while at < 8 && at < bytes.len() {
            first |= (bytes[at] as u64) << (8 * at);
            mask |= 0xff << (8 * at);
            at += 1;
        }
        Self { text, group, first, mask }
    }
}

impl Finder {
    /// Takes groups of words of three bytes or more, at most 64 in all.
    pub(super) const fn new(groups: &[&[&'static str]]) -> Self {
        let mut finder = Self { words: [Word::new("", 0); 64], heads: [[0; 256]; HEAD] };
        let (mut count, mut group) = (0, 0);
        while group < groups.len() {
            let mut index = 0;
            while index < groups[group].len() {
                let word = groups[group][index];
                finder.words[count] = Word::new(word, group as u8);
                finder.heads = with_head(finder.heads, 1 << count, word.as_bytes());
                count += 1;
                index += 1;
            }
            group += 1;
        }
        finder
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
    #[inline(never)]
    fn groups(&self, mut words: u64, text: &[u8]) -> u64 {
        let mut groups = 0;
        let first = u64::from_le_bytes(text.first_chunk().copied().unwrap_or_else(|| {
            let mut end = [0; 8];
            end[..text.len()].copy_from_slice(text);
            end
        }));
        while words != 0 {
            let word = &self.words[words.trailing_zeros() as usize];
            if first & word.mask == word.first && (word.text.len() <= 8 || text.starts_with(word.text.as_bytes())) {
                groups |= 1 << word.group;
            }
            words &= words - 1;
        }
        groups
    }
}

const fn with_head(mut heads: [[u64; 256]; HEAD], bit: u64, word: &[u8]) -> [[u64; 256]; HEAD] {
    assert!(word.len() >= HEAD - 1, "a word is too short");
    let mut at = 0;
    while at < HEAD {
        let mut byte = 0;
        while byte < 256 {
            if at >= word.len() || byte == word[at] as usize {
                heads[at][byte] |= bit;
            }
            byte += 1;
        }
        at += 1;
    }
    heads
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

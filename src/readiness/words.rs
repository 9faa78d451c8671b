//! Fast searches for many words in one text, and small helpers for text.

use std::borrow::Cow;

/// The finder compares so many bytes at the start of each word first, and the whole word where they match.
const HEAD: usize = 4;

/// The finder keeps one bit for each head. Words with the same head share it.
const MAX_HEADS: usize = 64;
const MAX_WORDS: usize = 96;

/// No further word.
const NONE: u8 = u8::MAX;

/// Finds many words in one pass, also where they overlap. It is fastest with words whose first four bytes are rare in
/// output: for a rule that looks closer, `ckage.json` is better than `package.json`, since `node_modules/.../package` is
/// everywhere. The words of [`super::tables::KIND_WORDS`] decide by themselves, and stay whole.
///
/// It keeps one bit for each head: an automaton must know its state before it takes the next byte, and takes half as long
/// again.
#[derive(Debug)]
pub(super) struct Finder {
    words: [Word; MAX_WORDS],
    /// The first word of each head.
    first: [u8; MAX_HEADS],
    /// For each byte at each position of the head, the heads that have it there. A word of three bytes takes any fourth.
    heads: [[u64; 256]; HEAD],
}

#[derive(Debug, Clone, Copy)]
struct Word {
    text: &'static str,
    /// A bit for each group that the word belongs to.
    groups: u128,
    /// The next word with the same head.
    next: u8,
}

impl Finder {
    /// Takes at most 128 groups, and at most 96 different words of three bytes or more, with at most 64 different heads.
    pub(super) const fn new(groups: &[&[&'static str]]) -> Self {
        assert!(groups.len() <= 128, "the finder takes at most 128 groups");
        let none = Word { text: "", groups: 0, next: NONE };
        let mut finder = Self { words: [none; MAX_WORDS], first: [NONE; MAX_HEADS], heads: [[0; 256]; HEAD] };
        let mut group = 0;
        while group < groups.len() {
            let mut index = 0;
            while index < groups[group].len() {
                finder.add(groups[group][index], group);
                index += 1;
            }
            group += 1;
        }
        finder
    }

    const fn add(&mut self, word: &'static str, group: usize) {
        assert!(word.len() >= HEAD - 1, "a word is too short for the finder");
        let mut index = 0;
        while index < MAX_WORDS && !self.words[index].text.is_empty() && !is_same(self.words[index].text, word) {
            index += 1;
        }
        assert!(index < MAX_WORDS, "the finder takes at most 96 different words");
        if self.words[index].text.is_empty() {
            let head = self.head_of(word);
            self.words[index] = Word { text: word, groups: 0, next: self.first[head] };
            #[expect(clippy::cast_possible_truncation, reason = "there are fewer than 255 words")]
            let first = index as u8;
            self.first[head] = first;
        }
        self.words[index].groups |= 1 << group;
    }

    /// The head of a word: one that another word has, or a new one.
    const fn head_of(&mut self, word: &'static str) -> usize {
        let mut head = 0;
        while head < MAX_HEADS && self.first[head] != NONE {
            if has_head(self.words[self.first[head] as usize].text, word) {
                return head;
            }
            head += 1;
        }
        assert!(head < MAX_HEADS, "the finder takes at most 64 different heads");
        let mut at = 0;
        while at < HEAD {
            let mut byte = 0;
            while byte < 256 {
                if at >= word.len() || word.as_bytes()[at] as usize == byte {
                    self.heads[at][byte] |= 1 << head;
                }
                byte += 1;
            }
            at += 1;
        }
        head
    }

    /// The groups that the text contains a word of, one bit for each.
    pub(super) fn find(&self, text: &[u8]) -> u128 {
        let mut found = 0;
        let heads = |a: u8, b: u8, c: u8, d: u8| {
            let [first, second, third, fourth] = &self.heads;
            first[usize::from(a)] & second[usize::from(b)] & third[usize::from(c)] & fourth[usize::from(d)]
        };
        let mut look = |heads: u64, at: usize| {
            if heads != 0 {
                found |= self.groups(heads, &text[at..]);
            }
        };
        let mut start = 0;
        // Five heads at a time: nearly all are of no word.
        while let Some(&[a, b, c, d, e, f, g, h]) = text[start..].first_chunk() {
            let five = [heads(a, b, c, d), heads(b, c, d, e), heads(c, d, e, f), heads(d, e, f, g), heads(e, f, g, h)];
            if five.into_iter().fold(0, |any, heads| any | heads) != 0 {
                for (at, heads) in five.into_iter().enumerate() {
                    look(heads, start + at);
                }
            }
            start += five.len();
        }
        for (at, head) in text[start..].windows(HEAD).enumerate() {
            if let &[a, b, c, d] = head {
                look(heads(a, b, c, d), start + at);
            }
        }
        if let &[.., a, b, c] = text {
            look(heads(a, b, c, 0), text.len() - 3);
        }
        found
    }

    /// The groups of the words with one of the heads that the text starts with.
    // Called rarely. Inlined, it would take registers that the loop needs.
    #[inline(never)]
    fn groups(&self, mut heads: u64, text: &[u8]) -> u128 {
        let mut groups = 0;
        while heads != 0 {
            let mut at = self.first[heads.trailing_zeros() as usize];
            while let Some(word) = self.words.get(usize::from(at)) {
                // The head was compared. What is left is short: a call to compare it takes longer.
                let rest = word.text.as_bytes().iter().enumerate().skip(HEAD);
                if rest.into_iter().all(|(at, byte)| text.get(at) == Some(byte)) {
                    groups |= word.groups;
                }
                at = word.next;
            }
            heads &= heads - 1;
        }
        groups
    }
}

/// Whether two words begin alike, as far as a head goes.
const fn has_head(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    if one.len() < HEAD || other.len() < HEAD {
        return false;
    }
    let mut at = 0;
    while at < HEAD && one[at] == other[at] {
        at += 1;
    }
    at == HEAD
}

const fn is_same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// Words that a text may start with. Most texts start with none, and their first two bytes show it.
#[derive(Debug)]
pub(super) struct Prefixes {
    words: &'static [&'static str],
    /// For each byte, the words that begin with it, a bit for each.
    first: [u128; 256],
    /// For each byte, the words that have it next. A word of one byte takes any.
    second: [u128; 256],
}

impl Prefixes {
    /// Takes at most 128 words.
    pub(super) const fn new(words: &'static [&'static str]) -> Self {
        assert!(words.len() <= 128, "a word needs a bit");
        let (mut first, mut second) = ([0; 256], [0; 256]);
        let mut at = 0;
        while at < words.len() {
            let word = words[at].as_bytes();
            first[word[0] as usize] |= 1 << at;
            let mut byte = 0;
            while byte < 256 {
                if word.len() == 1 || word[1] as usize == byte {
                    second[byte] |= 1 << at;
                }
                byte += 1;
            }
            at += 1;
        }
        Self { words, first, second }
    }

    /// The text after the first of the words that it starts with.
    pub(super) fn strip<'a>(&self, text: &'a str) -> Option<&'a str> {
        self.find(text.as_bytes()).map(|word| &text[word.len()..])
    }

    /// Whether the text starts with one of the words.
    pub(super) fn start(&self, text: &[u8]) -> bool {
        self.find(text).is_some()
    }

    #[inline]
    fn find(&self, text: &[u8]) -> Option<&'static str> {
        let (first, second) = (*text.first()?, text.get(1).copied().unwrap_or_default());
        let mut left = self.first[usize::from(first)] & self.second[usize::from(second)];
        while left != 0 {
            let word = self.words[left.trailing_zeros() as usize];
            if text.starts_with(word.as_bytes()) {
                return Some(word);
            }
            left &= left - 1;
        }
        None
    }
}

/// The number of items in all lists together.
pub(super) const fn count<T>(lists: &[&[T]]) -> usize {
    let (mut count, mut list) = (0, 0);
    while list < lists.len() {
        count += lists[list].len();
        list += 1;
    }
    count
}

/// All lists in one, `N` items long. `fill` is any item.
pub(super) const fn join<T: Copy, const N: usize>(lists: &[&[T]], fill: T) -> [T; N] {
    let mut joined = [fill; N];
    let (mut count, mut list) = (0, 0);
    while list < lists.len() {
        let mut index = 0;
        while index < lists[list].len() {
            joined[count] = lists[list][index];
            count += 1;
            index += 1;
        }
        list += 1;
    }
    joined
}

/// Does what [`String::from_utf8_lossy`] does, and is faster for valid text.
pub(super) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// The name that a message quotes first.
pub(super) fn quoted(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once(" '").or_else(|| message.split_once(" \""))?;
    rest.split(['\'', '"']).next()
}

/// The lines of a text that ends without a newline.
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
            let expected = GROUPS.iter().enumerate().map(|(at, group)| u128::from(holds(group)) << at).sum::<u128>();
            prop_assert_eq!(FINDER.find(text.as_bytes()), expected);
        }
    }

    #[test]
    fn a_word_of_two_groups_is_found_for_both() {
        static FINDER: Finder = Finder::new(&[&["abc", "xyz"], &["abc"]]);
        assert_eq!([FINDER.find(b"an abc"), FINDER.find(b"an xyz")], [3, 1]);
    }

    #[test]
    fn a_finder_finds_a_word_at_the_very_end() {
        assert_eq!([FINDER.find("x⨯".as_bytes()), FINDER.find(b"aab"), FINDER.find(b"aa")], [2, 1, 0]);
    }
}

//! Looking for words at the start of a text, quickly.

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

//! Takes passwords out of what an app printed before it is shown.

use std::borrow::Cow;
use std::sync::LazyLock;

use memchr::memmem;
use regex::Regex;

#[expect(clippy::expect_used, reason = "the pattern is a literal and a test compiles it")]
static URL_PASSWORD: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s/@]+@").expect("a literal pattern"));

static SCHEME_END: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("://"));

/// Builds what is built at first use.
pub(super) fn prepare() {
    LazyLock::force(&URL_PASSWORD);
    LazyLock::force(&SCHEME_END);
}

/// The line with the password of every URL in it replaced.
#[must_use]
pub fn without_passwords(line: &str) -> String {
    if !may_hold_one(line) {
        return line.to_owned();
    }
    match URL_PASSWORD.replace_all(line, "$1***@") {
        Cow::Borrowed(same) => same.to_owned(),
        Cow::Owned(changed) => changed,
    }
}

/// Whether an `@` stands before the path of a URL. Quicker than the pattern, and most reports hold no such URL.
fn may_hold_one(text: &str) -> bool {
    SCHEME_END.find_iter(text.as_bytes()).any(|at| {
        let authority =
            text.as_bytes()[at + 3..].iter().take_while(|byte| **byte != b'/' && !byte.is_ascii_whitespace());
        authority.into_iter().any(|byte| *byte == b'@')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_passwords_of_urls_go() {
        assert_eq!(without_passwords("to postgresql://u:s3cr%3Ft@h:5432/db?x"), "to postgresql://u:***@h:5432/db?x");
        assert_eq!(without_passwords("http://localhost:3000/a@b"), "http://localhost:3000/a@b");
    }
}

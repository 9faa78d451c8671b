//! What is known of one dev server: the words of its lines, the rules that read them, the words of its reports.

use super::line::{Line, Marker};

/// One dev server, or something that several dev servers print. [`Self::DEFAULT`] knows nothing.
///
/// The stages run one after the other, each over all stacks in the order of the list. The first rule that reads a line
/// wins. Errors come before progress, because a line about an error may quote a line about progress.
pub(super) struct Stack {
    /// Groups of words. A line without any of them is not read any further. See [`groups`].
    pub(super) words: &'static [&'static [&'static str]],
    /// How a line may start that means something without any of the words. Such a line is read by `errors`.
    pub(super) starts: &'static [&'static str],
    /// First stage: lines with the server's own mark, such as `⨯ ` or `[vite] `.
    pub(super) marked: Option<Rule>,
    /// Second stage: lines that open the report of an error, or tell a problem of the environment.
    pub(super) errors: Option<Rule>,
    /// Third stage: compilations, requests, type checks.
    pub(super) progress: Option<Rule>,
    /// Fourth stage: the server is up, or listens on a port.
    pub(super) ready: Option<Rule>,
    /// Fifth stage: modules were updated in the browser.
    pub(super) updates: Option<Rule>,
    /// Last stage: how a line of the server starts that ends a report and says nothing else. At least three bytes each.
    pub(super) ends: &'static [&'static str],
    /// The words of its error reports.
    pub(super) report: ReportWords,
}

/// Reads a line of a stack.
#[derive(Clone, Copy)]
pub(super) struct Rule {
    /// The groups of which the line must contain a word, one bit for each.
    pub(super) groups: u64,
    pub(super) read: for<'a> fn(&Line<'a>, Groups) -> Option<Marker<'a>>,
}

/// What the lines of error reports say.
pub(super) struct ReportWords {
    /// How a line starts that continues a report after a blank line.
    pub(super) continues: &'static [&'static str],
    /// What stands before a message.
    pub(super) prefixes: &'static [&'static str],
    /// How a line starts that says that something failed, but not what.
    pub(super) headlines: &'static [&'static str],
    /// How a line starts that stands beside the message.
    pub(super) asides: &'static [&'static str],
    /// Words about an import that leads nowhere.
    pub(super) missing: &'static [&'static str],
    /// Words of type checkers.
    pub(super) types: &'static [&'static str],
    /// Words about an exception.
    pub(super) thrown: &'static [&'static str],
    /// Words about data that is no valid JSON.
    pub(super) json: &'static [&'static str],
    /// Words about code that does not parse.
    pub(super) syntax: &'static [&'static str],
    /// Words that name environment variables.
    pub(super) environment: &'static [&'static str],
}

impl Stack {
    pub(super) const DEFAULT: Self = Self {
        words: &[],
        starts: &[],
        marked: None,
        errors: None,
        progress: None,
        ready: None,
        updates: None,
        ends: &[],
        report: ReportWords::DEFAULT,
    };
}

impl ReportWords {
    pub(super) const DEFAULT: Self = Self {
        continues: &[],
        prefixes: &[],
        headlines: &[],
        asides: &[],
        missing: &[],
        types: &[],
        thrown: &[],
        json: &[],
        syntax: &[],
        environment: &[],
    };
}

/// Names the groups of words of a stack: an enum, and the list of the words in the same order.
macro_rules! groups {
    ($(#[$meta:meta])* $names:ident, $words:ident: $($name:ident = $($word:literal)|+),* $(,)?) => {
        $(#[$meta])*
        #[derive(Clone, Copy)]
        enum $names { $($name),* }

        const $words: &[&[&str]] = &[$(&[$($word),+]),*];

        impl $names {
            /// One bit for each of the groups.
            const fn bits(groups: &[Self]) -> u64 {
                let (mut bits, mut at) = (0, 0);
                while at < groups.len() {
                    bits |= 1 << groups[at] as u64;
                    at += 1;
                }
                bits
            }
        }

        impl $crate::readiness::stack::Group for $names {
            fn bit(self) -> u64 {
                1 << self as u64
            }

            fn word(self) -> &'static str {
                $words[self as usize][0]
            }
        }
    };
}
pub(super) use groups;

/// A group of words of one stack.
pub(super) trait Group: Copy {
    /// The bit of the group among the groups of its stack.
    fn bit(self) -> u64;

    /// The first word of the group.
    fn word(self) -> &'static str;
}

/// The groups of one stack that a line contains a word of.
#[derive(Clone, Copy)]
pub(super) struct Groups(pub(super) u64);

impl Groups {
    pub(super) fn has(self, group: impl Group) -> bool {
        self.0 & group.bit() != 0
    }

    /// Whether the line contains a word of one of the groups.
    pub(super) fn any<G: Group, const N: usize>(self, groups: [G; N]) -> bool {
        groups.into_iter().any(|group| self.has(group))
    }

    /// The text after the first word of the group, where the line contains it.
    pub(super) fn after(self, group: impl Group, text: &str) -> Option<&str> {
        self.has(group).then(|| text.split_once(group.word()).map(|(_, rest)| rest))?
    }
}

//! What all stacks know together, as tables that are built at compile time.

use super::line::{Line, Marker};
use super::stack::{Groups, Rule};
use super::stacks::STACKS;
use super::words::{Finder, Prefixes, count, join};

/// The words of one field of all stacks: `all!(ends)`, `all!(report.prefixes)`.
macro_rules! all {
    ($($field:ident).+) => {{
        const LISTS: [&[&str]; STACKS.len()] = {
            let mut lists = [&[] as &[&str]; STACKS.len()];
            let mut at = 0;
            while at < STACKS.len() {
                lists[at] = STACKS[at].$($field).+;
                at += 1;
            }
            lists
        };
        const WORDS: [&str; count(&LISTS)] = join(&LISTS, "");
        &WORDS
    }};
}

pub(super) static CONTINUES: Prefixes = Prefixes::new(all!(report.continues));
pub(super) static PREFIXES: Prefixes = Prefixes::new(all!(report.prefixes));
pub(super) static HEADLINES: Prefixes = Prefixes::new(all!(report.headlines));
pub(super) static ASIDES: Prefixes = Prefixes::new(all!(report.asides));

/// The words that tell the kind of an error. The groups are in the order of [`KindWord`].
pub(super) static KIND_WORDS: Finder = Finder::new(&[
    all!(report.missing),
    all!(report.types),
    all!(report.thrown),
    all!(report.json),
    all!(report.syntax),
    all!(report.environment),
]);

/// What a word tells of the kind of an error.
#[derive(Clone, Copy)]
pub(super) enum KindWord {
    Missing,
    Type,
    Thrown,
    Json,
    Syntax,
    Environment,
}

impl KindWord {
    /// The bit of the group in what [`KIND_WORDS`] finds.
    pub(super) fn bit(self) -> u128 {
        1 << self as u32
    }
}

/// The words of all rules, stack by stack, and the words of [`ENDS`].
static WORDS: Finder = Finder::new(&join::<_, { WORD_GROUPS }>(&WORD_LISTS, &[]));
static STARTS: Prefixes = Prefixes::new(all!(starts));
static ENDS: Prefixes = Prefixes::new(all!(ends));
const RULES: [PlacedRule; RULE_COUNT] = rules();

const WORD_LISTS: [&[&[&str]]; STACKS.len() + 1] = {
    const ENDS: &[&[&str]] = &[all!(ends)];
    let mut lists = [ENDS; STACKS.len() + 1];
    let mut at = 0;
    while at < STACKS.len() {
        lists[at] = STACKS[at].words;
        at += 1;
    }
    lists
};
const WORD_GROUPS: usize = count(&WORD_LISTS);

/// The bit of a line that starts as one of [`STARTS`].
const STARTS_BIT: u128 = 1 << 127;
const _: () = assert!(WORD_GROUPS < 127, "the last bit is of the starts");

/// A rule, and where the groups of its stack begin among those of all stacks.
#[derive(Clone, Copy)]
struct PlacedRule {
    /// The groups of which a line must contain a word, among those of all stacks.
    groups: u128,
    offset: usize,
    read: for<'a> fn(&Line<'a>, Groups) -> Option<Marker<'a>>,
}

const STAGES: usize = 5;

const fn rule(stack: usize, stage: usize) -> Option<Rule> {
    let stack = &STACKS[stack];
    match stage {
        0 => stack.marked,
        1 => stack.errors,
        2 => stack.progress,
        3 => stack.ready,
        _ => stack.updates,
    }
}

const RULE_COUNT: usize = {
    let (mut count, mut at) = (0, 0);
    while at < STAGES * STACKS.len() {
        count += rule(at % STACKS.len(), at / STACKS.len()).is_some() as usize;
        at += 1;
    }
    count
};

/// All rules, stage by stage, and in each stage in the order of the stacks.
const fn rules() -> [PlacedRule; RULE_COUNT] {
    let mut rules = [PlacedRule { groups: 0, offset: 0, read: |_, _| None }; RULE_COUNT];
    let (mut count, mut stage) = (0, 0);
    while stage < STAGES {
        let (mut offset, mut stack) = (0, 0);
        while stack < STACKS.len() {
            if let Some(Rule { groups, read }) = rule(stack, stage) {
                let starts = if stage == 1 && !STACKS[stack].starts.is_empty() { STARTS_BIT } else { 0 };
                rules[count] = PlacedRule { groups: (groups as u128) << offset | starts, offset, read };
                count += 1;
            }
            offset += STACKS[stack].words.len();
            stack += 1;
        }
        stage += 1;
    }
    rules
}

/// Which rules read a line with a word of a group, one bit for each: most lines have words of one or two.
static RULES_OF: [u64; 128] = {
    let mut of = [0; 128];
    let mut at = 0;
    while at < RULE_COUNT {
        let mut bit = 0;
        while bit < 128 {
            of[bit] |= ((RULES[at].groups >> bit & 1) as u64) << at;
            bit += 1;
        }
        at += 1;
    }
    of
};
const _: () = assert!(RULE_COUNT <= 64, "a rule needs a bit");

/// Which words of the stacks a line contains, one bit for each group. Without any, the line means nothing.
#[derive(Clone, Copy)]
pub(super) struct LineWords(u128);

impl LineWords {
    pub(super) fn of(line: &[u8]) -> Self {
        let starts = if STARTS.start(line) { STARTS_BIT } else { 0 };
        Self(WORDS.find(line) | starts)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The groups of one stack: it has fewer than 64.
#[expect(clippy::cast_possible_truncation, reason = "the rest is of other stacks")]
fn low(groups: u128) -> u64 {
    groups as u64
}

/// What a line means, where it means anything. The words are those of the line.
pub(super) fn read(printed: &str, words: LineWords) -> Option<Marker<'_>> {
    let line = Line::new(printed);
    let mut rules = 0;
    let mut left = words.0;
    while left != 0 {
        rules |= RULES_OF[left.trailing_zeros() as usize];
        left &= left - 1;
    }
    while rules != 0 {
        let rule = &RULES[rules.trailing_zeros() as usize];
        if let Some(marker) = (rule.read)(&line, Groups(low(words.0 >> rule.offset))) {
            return Some(marker);
        }
        rules &= rules - 1;
    }
    // A tag after a clock: `06:44:32 [content] Synced content`.
    let tagged = line.after_clock.is_some_and(|body| body.starts_with('['));
    (tagged || ENDS.start(line.text.as_bytes())).then_some(Marker::Ends)
}

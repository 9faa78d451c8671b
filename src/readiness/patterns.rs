//! A deployment's own words for "ready" and "broken", for servers that this crate does not know.

use regex::Regex;

/// Own patterns, matched against each plain line beside the built-in ones.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    pub(super) ready: Option<Regex>,
    pub(super) error: Option<Regex>,
}

impl Patterns {
    /// Compiles what was set.
    ///
    /// # Errors
    /// Which of the two is no regular expression, and why.
    pub fn new(ready: Option<&str>, error: Option<&str>) -> Result<Self, (&'static str, String)> {
        let compile = |which, pattern: Option<&str>| {
            pattern.map(|pattern| Regex::new(pattern).map_err(|error| (which, error.to_string()))).transpose()
        };
        Ok(Self { ready: compile("ready", ready)?, error: compile("error", error)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_pattern_is_named() {
        assert!(Patterns::new(Some("^up$"), None).is_ok());
        assert!(matches!(Patterns::new(Some("("), None), Err(("ready", why)) if why.contains("unclosed group")));
        assert!(matches!(Patterns::new(None, Some("[")), Err(("error", _))));
    }
}

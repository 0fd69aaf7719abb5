//! The answers of a test, by the pattern of what they answer.

use std::{collections::VecDeque, sync::Mutex};

use globset::{GlobBuilder, GlobMatcher};

use crate::core::{
    diagnostic::{Diagnostic, Kind},
    sync::lock,
};

/// A glob. A text that is equal to it matches, too, whatever its characters mean in a glob.
pub struct Pattern {
    text: String,
    glob: GlobMatcher,
}

impl Pattern {
    /// Parses a glob: `*` is any text, also one with slashes.
    pub fn parse(text: &str) -> Result<Self, Diagnostic> {
        let glob = GlobBuilder::new(text).literal_separator(false).build();
        let glob = glob
            .map_err(|error| Diagnostic::new(Kind::Usage, format!("`{text}`: {}", error.kind())))?;
        Ok(Pattern {
            text: text.to_owned(),
            glob: glob.compile_matcher(),
        })
    }

    fn matches(&self, text: &str) -> bool {
        self.text == text || self.glob.is_match(text)
    }
}

/// Answers by pattern. The pattern that was added last wins.
pub struct Rules<T>(Mutex<Vec<(Pattern, VecDeque<T>)>>);

impl<T> Default for Rules<T> {
    fn default() -> Self {
        Rules(Mutex::default())
    }
}

impl<T: Clone> Rules<T> {
    /// Adds answers, which are given one after the other. The last one is repeated.
    pub fn add(&self, pattern: Pattern, answers: Vec<T>) {
        lock(&self.0).push((pattern, answers.into()));
    }

    /// Returns the next answer for a text; none if no pattern matches it.
    pub fn next(&self, text: &str) -> Option<T> {
        let mut rules = lock(&self.0);
        let mut rules = rules.iter_mut().rev();
        let (_, answers) = rules.find(|(pattern, _)| pattern.matches(text))?;
        if answers.len() > 1 {
            answers.pop_front()
        } else {
            answers.front().cloned()
        }
    }

    /// Removes all, for the next test.
    pub fn clear(&self) {
        lock(&self.0).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pattern_wins_and_the_last_answer_repeats() {
        let rules = Rules::default();
        let add = |pattern, answers| rules.add(Pattern::parse(pattern).unwrap(), answers);
        add("GET *", vec![1]);
        add("GET https://a/[x]?y", vec![2, 3]);
        assert_eq!(rules.next("GET https://a/b"), Some(1));
        let texts = ["GET https://a/[x]?y"; 3].map(|text| rules.next(text));
        assert_eq!(texts, [Some(2), Some(3), Some(3)]);
        assert_eq!(rules.next("POST https://a/b"), None);
        assert!(Pattern::parse("[").is_err());
    }
}

//! What a configuration says of one host: keywords and values, as `ssh -G` prints them.

use std::collections::HashMap;

/// Keywords whose values add up; of all others the first one counts.
const LISTS: [&str; 2] = ["identityfile", "certificatefile"];

#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    values: HashMap<String, Vec<String>>,
}

impl Answer {
    /// Reads the lines of `ssh -G`.
    pub fn parse(text: &str) -> Self {
        let mut answer = Answer::default();
        for line in text.lines() {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            answer.add(keyword, value);
        }
        answer
    }

    /// Adds a value, unless an earlier one counts.
    pub fn add(&mut self, keyword: &str, value: &str) {
        let values = self.values.entry(keyword.to_owned()).or_default();
        if values.is_empty() || LISTS.contains(&keyword) {
            values.push(value.to_owned());
        }
    }

    /// The value of a keyword.
    pub fn get(&self, keyword: &str) -> Option<&str> {
        self.all(keyword).first().map(String::as_str)
    }

    /// All values of a keyword.
    pub fn all(&self, keyword: &str) -> &[String] {
        self.values.get(keyword).map_or(&[], Vec::as_slice)
    }

    /// The same, unless it says that there is none.
    pub fn some(&self, keyword: &str) -> Option<&str> {
        self.get(keyword)
            .filter(|value| !value.is_empty() && !value.eq_ignore_ascii_case("none"))
    }

    /// Whether a keyword is set to `yes`.
    pub fn yes(&self, keyword: &str) -> bool {
        // `ssh -G` prints some of them as `true`.
        self.get(keyword)
            .is_some_and(|value| ["yes", "true"].contains(&value.to_lowercase().as_str()))
    }
}

//! The SSH settings of one host: keywords and values, as `ssh -G` prints them.

use std::collections::HashMap;

/// Keywords that may have several values. For all others the first value applies.
const LISTS: [&str; 2] = ["identityfile", "certificatefile"];

/// The settings of one host. Keywords are in lower case.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    values: HashMap<String, Vec<String>>,
}

impl Settings {
    /// Parses the output of `ssh -G`.
    pub fn parse(text: &str) -> Self {
        let mut settings = Settings::default();
        for line in text.lines() {
            let (keyword, value) = line.split_once(' ').unwrap_or((line, ""));
            settings.add(keyword, value);
        }
        settings
    }

    /// Adds a value, unless an earlier one applies.
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

    /// The value of a keyword, unless it is empty or `none`.
    pub fn get_set(&self, keyword: &str) -> Option<&str> {
        self.get(keyword)
            .filter(|value| !value.is_empty() && !value.eq_ignore_ascii_case("none"))
    }

    /// Whether a keyword is set to `yes`.
    pub fn is_yes(&self, keyword: &str) -> bool {
        // `ssh -G` prints `true` for some keywords.
        self.get(keyword)
            .is_some_and(|value| ["yes", "true"].contains(&value.to_lowercase().as_str()))
    }
}

//! Several files in one text, each after a line `#= NAME`.

use std::collections::BTreeMap;

/// What begins the name of a section.
const MARK: &str = "#= ";

/// Splits a text into its sections.
pub(super) fn sections(text: &str) -> BTreeMap<String, String> {
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    let mut name = None;
    for line in text.lines() {
        if let Some(next) = line.strip_prefix(MARK) {
            found.entry(next.to_owned()).or_default();
            name = Some(next);
        } else if let Some(section) = name.and_then(|name| found.get_mut(name)) {
            section.push_str(line);
            section.push('\n');
        }
    }
    found
}

/// Joins sections. The last one is `end`, so that the reader knows that it has everything.
pub(super) fn join(sections: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, content) in sections.iter().chain(&[("end", "")]) {
        text.push_str(&format!("{MARK}{name}\n{content}"));
        if !content.is_empty() && !content.ends_with('\n') {
            text.push('\n');
        }
    }
    text
}

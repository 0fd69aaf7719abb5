//! Parses saved rules in data files (`tests/cases/iptables/`).

use std::{fs, path::Path};

use proptest::prelude::*;

use super::{Family, parse};

/// Each file contains the output of the command, an empty line, and the parsed rules.
#[test]
fn cases() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/iptables");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = entry.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        let (saved, expected) = text.split_once("\n\n").unwrap();
        let shown = match parse(Family::V4, saved) {
            Ok(rules) => rules
                .iter()
                .map(|rule| {
                    let words = [&rule.table, &rule.chain, &rule.matches, &rule.target];
                    format!("{}\n", words.map(String::as_str).join(" | "))
                })
                .collect(),
            Err(error) => format!("{error}\n"),
        };
        assert_eq!(shown, expected, "{}", file.display());
        count += 1;
    }
    assert!(count >= 3);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_panics(text in "[-A-Zj \":*\\[\\]\\\\\n]{0,60}") {
        let _ = parse(Family::V4, &text);
    }
}

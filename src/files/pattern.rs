//! Glob patterns in paths on servers.

use crate::ssh::quote;

/// Converts a path with `*`, `?` or `[…]` to a word of `sh` that expands to the paths that match it.
/// Everything else in it is quoted. None if the path contains no pattern.
pub(super) fn shell_pattern(path: &str) -> Option<String> {
    let (mut word, mut literal, mut rest) = (String::new(), String::new(), path);
    let mut found = false;
    while let Some(first) = rest.chars().next() {
        let len = match first {
            '*' | '?' => 1,
            '[' => class_len(rest),
            _ => 0,
        };
        if len == 0 {
            literal.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        found = true;
        if !literal.is_empty() {
            word.push_str(&quote(&std::mem::take(&mut literal)));
        }
        word.push_str(&rest[..len]);
        rest = &rest[len..];
    }
    if !literal.is_empty() {
        word.push_str(&quote(&literal));
    }
    found.then_some(word)
}

/// The length of a class such as `[a-z0-9]` at the start of a text; 0 if there is none. Classes contain
/// only characters that mean nothing else to a shell.
fn class_len(text: &str) -> usize {
    let inner = &text[1..];
    let end = inner.find(']').unwrap_or(0);
    let is_class = |c: char| c.is_ascii_alphanumeric() || "-_.!^".contains(c);
    if end > 0 && inner[..end].chars().all(is_class) {
        end + 2
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_patterns_are_expanded() {
        for (path, word) in [
            ("/var/log/syslog", None),
            ("/var/log/a[", None),
            ("/var/log/a[$(id)]", None),
            ("/var/log/*.gz", Some("/var/log/*.gz")),
            ("/a b/[0-9]?;id", Some("'/a b/'[0-9]?';id'")),
            ("*$(id)", Some("*'$(id)'")),
            ("~/x*", Some("'~/x'*")),
        ] {
            assert_eq!(shell_pattern(path).as_deref(), word, "{path}");
        }
    }
}

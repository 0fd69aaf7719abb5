//! Glob patterns in paths on servers.

use globset::{GlobBuilder, GlobMatcher};

use crate::ssh::quote;

/// A path with `*`, `?` or `[…]`, which stand for what they stand for in sh(1).
pub(super) struct Pattern {
    /// A word of `sh` that expands to the paths that match. Everything else in it is quoted.
    pub word: String,
    path: String,
    matcher: GlobMatcher,
}

impl Pattern {
    /// Reads a path; none if it contains no pattern.
    pub fn parse(path: &str) -> Option<Self> {
        let (mut word, mut glob) = (String::new(), String::new());
        let (mut literal, mut rest, mut found) = (String::new(), path, false);
        loop {
            let len = match rest.chars().next() {
                Some('*' | '?') => 1,
                Some('[') => class_len(rest),
                Some(_) | None => 0,
            };
            match rest.chars().next() {
                Some(first) if len == 0 => {
                    literal.push(first);
                    rest = &rest[first.len_utf8()..];
                    continue;
                }
                _ => {}
            }
            if !literal.is_empty() {
                word.push_str(&quote(&literal));
                glob.push_str(&globset::escape(&literal));
                literal.clear();
            }
            if rest.is_empty() {
                break;
            }
            found = true;
            let part = &rest[..len];
            word.push_str(part);
            // Two stars mean more to a glob than to sh.
            if part != "*" || !glob.ends_with('*') {
                glob.push_str(&part.replacen("[^", "[!", 1));
            }
            rest = &rest[len..];
        }
        let mut builder = GlobBuilder::new(glob.trim_end_matches('/'));
        let matcher = builder.literal_separator(true).build().ok()?;
        found.then(|| Pattern {
            word,
            path: path.trim_end_matches('/').to_owned(),
            matcher: matcher.compile_matcher(),
        })
    }

    /// Whether a path matches. The server lists the paths: without this, it could choose the names of local
    /// files (CVE-2019-6111 was that in scp).
    pub fn matches(&self, path: &str) -> bool {
        // Hidden names match only what names the dot.
        let is_shown =
            |(name, pattern): (&str, &str)| !name.starts_with('.') || pattern.starts_with('.');
        self.matcher.is_match(path) && path.split('/').zip(self.path.split('/')).all(is_shown)
    }
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
            let pattern = Pattern::parse(path);
            assert_eq!(
                pattern.map(|pattern| pattern.word).as_deref(),
                word,
                "{path}"
            );
        }
    }

    /// What a server may answer.
    #[test]
    fn only_matches_are_taken() {
        for (pattern, good, bad) in [
            (
                "/var/log/*.gz",
                &["/var/log/a.gz", "/var/log/b c.gz"][..],
                &[
                    "/x/hitcfile.rhai",
                    "/var/log/a/b.gz",
                    "/var/log/.a.gz",
                    "a.gz",
                ][..],
            ),
            ("/srv/*", &["/srv/a"], &["/srv/.env", "/srv/a/b"]),
            ("/srv/.*", &["/srv/.env"], &["/srv/env"]),
            ("/srv/{a,b}*", &["/srv/{a,b}c"], &["/srv/ac"]),
            ("/srv/**/x", &["/srv/a/x"], &["/srv/a/b/x", "/srv/x"]),
            ("/srv/[^a]?", &["/srv/bc"], &["/srv/ac", "/srv/b"]),
            ("/srv/é*", &["/srv/été"], &["/srv/x"]),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            for path in good {
                assert!(pattern.matches(path), "{} {path}", pattern.path);
            }
            for path in bad {
                assert!(!pattern.matches(path), "{} {path}", pattern.path);
            }
        }
    }
}

//! Differences between two versions of a file.

use similar::TextDiff;

/// Returns a unified diff, as of `diff -u`; none if the versions are equal. `before` is none if the
/// file does not exist.
pub fn diff(path: &str, before: Option<&str>, after: &str) -> Option<String> {
    if before == Some(after) {
        return None;
    }
    let old = before.map_or("/dev/null", |_| path);
    let text = TextDiff::from_lines(before.unwrap_or_default(), after)
        .unified_diff()
        .header(old, path)
        .to_string();
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unified_diff() {
        assert_eq!(diff("/a", Some("x\n"), "x\n"), None);
        assert_eq!(
            diff("/a", Some("x\ny\n"), "x\nz\n").unwrap(),
            "--- /a\n+++ /a\n@@ -1,2 +1,2 @@\n x\n-y\n+z\n"
        );
        assert!(
            diff("/a", None, "x\n")
                .unwrap()
                .starts_with("--- /dev/null\n")
        );
    }
}

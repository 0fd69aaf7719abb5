//! Text from servers, clouds, manifests and files, made safe to show on a terminal.
//!
//! A terminal obeys control characters: a carriage return in a server's output overwrites the line
//! before it, and an escape sequence can move the cursor, change the window's title or hide text.
//! Such a text could forge another host's line or an entry of a plan. JSON has escapes of its own.

use std::borrow::Cow;

/// Replaces every control character with a visible escape, `\n` and `\x1b` for example. The result
/// is one line.
pub fn escape_controls(text: &str) -> Cow<'_, str> {
    escape(text, |c| !is_control(c))
}

/// Replaces control characters with visible escapes, except for line ends and tabs: for a text that
/// has several lines.
pub fn escape_controls_in_lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| matches!(c, '\n' | '\t') || !is_control(c))
}

/// Replaces control characters with visible escapes, except for tabs: for one line of output.
pub fn escape_controls_in_line(text: &str) -> Cow<'_, str> {
    escape(text, |c| c == '\t' || !is_control(c))
}

/// Replaces control characters, except for line ends and tabs, by others of the same length in bytes, so
/// that places in the text stay where they are.
pub fn replace_controls(text: &str) -> Cow<'_, str> {
    let is_kept = |c: char| matches!(c, '\n' | '\t') || !is_control(c);
    if text.chars().all(is_kept) {
        return Cow::Borrowed(text);
    }
    let replaced = text.chars().map(|c| match c.len_utf8() {
        _ if is_kept(c) => c,
        1 => '?',
        2 => '¿',
        // U+FFFD has three bytes, and no control character has four.
        _ => char::REPLACEMENT_CHARACTER,
    });
    Cow::Owned(replaced.collect())
}

fn escape(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    if text.chars().all(&is_kept) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if is_kept(c) => escaped.push(c),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            c if c.is_ascii() => escaped.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => escaped.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
        }
    }
    Cow::Owned(escaped)
}

/// Whether a terminal acts on the character instead of showing it: C0, DEL and C1 (ECMA-48), line
/// and paragraph separators, and the characters that change the direction of writing, which can
/// show a text in another order than it has (<https://trojansource.codes>).
fn is_control(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{61c}'
        )
        || ('\u{202a}'..='\u{202e}').contains(&c)
        || ('\u{2066}'..='\u{2069}').contains(&c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_on_its_line() {
        assert_eq!(
            escape_controls("web\n- w9\u{1b}[31m\r\u{9b}2J\u{202e}"),
            "web\\n- w9\\x1b[31m\\r\\u{9b}2J\\u{202e}"
        );
        assert_eq!(escape_controls("a\tb\u{0}"), "a\\tb\\x00");
    }

    #[test]
    fn replaced_characters_keep_their_length() {
        let text = "a\u{1b}[2J\u{9b}\t\u{202e}b\r\n";
        let replaced = replace_controls(text);
        assert_eq!(replaced, "a?[2J¿\t\u{fffd}b?\n");
        assert_eq!(replaced.len(), text.len());
    }

    #[test]
    fn lines_and_tabs_can_be_kept() {
        assert_eq!(
            escape_controls_in_lines("a\tb\r\nc\u{7f}"),
            "a\tb\\r\nc\\x7f"
        );
    }

    #[test]
    fn other_text_is_not_copied() {
        assert!(matches!(escape_controls("grüße → 東京"), Cow::Borrowed(_)));
    }
}

//! The words of a line of bash, up to the cursor.

/// How the last word of a line is quoted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Current {
    quote: Option<char>,
}

/// Divides a line into words as a shell does. The last one is the word at the end of the line, which may be
/// empty or in quotes that are not closed.
pub(super) fn split(line: &str) -> (Vec<String>, Current) {
    let (mut words, mut word) = (Vec::new(), String::new());
    let (mut is_word, mut quote) = (false, None);
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some('"'), '\\') => {
                let next = chars.next();
                if !next.is_some_and(|next| ['"', '\\', '$', '`'].contains(&next)) {
                    word.push('\\');
                }
                word.extend(next);
            }
            (Some(_), c) => word.push(c),
            (None, '\'' | '"') => (quote, is_word) = (Some(c), true),
            (None, '\\') => {
                is_word = true;
                word.extend(chars.next());
            }
            (None, c) if c.is_whitespace() => {
                if is_word {
                    words.push(std::mem::take(&mut word));
                }
                is_word = false;
            }
            (None, c) => {
                is_word = true;
                word.push(c);
            }
        }
    }
    words.push(word);
    (words, Current { quote })
}

impl Current {
    /// What bash puts in place of the part of the word behind the last of its `breaks`. Outside of quotes,
    /// characters with a meaning for the shell are escaped.
    pub fn replacement(self, word: &str, value: &str, breaks: &str) -> String {
        if self.quote.is_some() {
            return value.to_owned();
        }
        let is_break = |c: char| !c.is_whitespace() && breaks.contains(c);
        let kept = word.rfind(is_break).map_or(0, |at| at + 1);
        let rest = value.get(kept..).unwrap_or(value);
        let mut text = String::new();
        for (at, c) in rest.char_indices() {
            let is_plain = c.is_alphanumeric() || "_-./=:,+@%*?".contains(c) || at == 0 && c == '~';
            if !is_plain {
                text.push('\\');
            }
            text.push(c);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_divided_as_in_a_shell() {
        let words = |line: &str| split(line).0;
        assert_eq!(words("hitc run  a"), ["hitc", "run", "a"]);
        assert_eq!(words("hitc run "), ["hitc", "run", ""]);
        assert_eq!(
            words("hitc a\\ b 'c d' \"e\\\"f"),
            ["hitc", "a b", "c d", "e\"f"]
        );
        assert_eq!(words("hitc x='"), ["hitc", "x="]);
    }

    #[test]
    fn the_part_behind_the_last_break_is_replaced() {
        let replace = |line: &str, value: &str| {
            let (words, current) = split(line);
            current.replacement(words.last().unwrap(), value, "\"'@><=;|&(: ")
        };
        assert_eq!(replace("hitc x=a", "x=abc"), "abc");
        assert_eq!(replace("hitc x=", "x=a b"), "a\\ b");
        assert_eq!(replace("hitc 'x=", "x=a b"), "x=a b");
        assert_eq!(replace("hitc we", "web"), "web");
    }
}

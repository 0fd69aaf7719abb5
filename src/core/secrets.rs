//! The secrets of a run, which are masked in everything that is shown.
//!
//! A secret is also found in the forms of [`super::encoding`], and where its beginning or end was cut
//! off at the end of a line: wrapped base64, a shortened value of an error message.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fmt,
    ops::Range,
    sync::{Arc, PoisonError, RwLock},
};

use serde_json::Value as Json;

use super::{
    encoding::{Form, dense, escaped},
    finder::Finder,
};

/// The replacement of a secret.
pub const MASK: &str = "***";

/// The shortest masked text, in bytes. A shorter one occurs by chance in other words.
const MIN_LENGTH: usize = 4;
/// The shortest masked form in base64 or hexadecimal digits.
const MIN_DENSE: usize = 8;
/// The most lines of a secret that are found in base64 each. A longer secret is found as a whole.
const MAX_LINES: usize = 64;

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(pub Arc<str>);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

/// The secrets of a run.
#[derive(Default)]
pub struct Secrets(RwLock<Known>);

#[derive(Default)]
struct Known {
    forms: BTreeSet<Form>,
    /// None after a secret was added.
    finder: Option<Finder>,
}

impl Secrets {
    /// Masks a text from now on: as a whole, and each of its lines.
    pub fn add(&self, secret: &str) {
        let text = secret.trim();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.forms.len();
        let mut add = |form: Form| {
            let least = if form.is_dense { MIN_DENSE } else { MIN_LENGTH };
            if form.bytes.len() >= least {
                known.forms.insert(form);
            }
        };
        for (at, part) in [text].into_iter().chain(lines.iter().copied()).enumerate() {
            if part.len() < MIN_LENGTH {
                continue;
            }
            add(Form {
                bytes: part.as_bytes().to_vec(),
                is_dense: false,
            });
            escaped(part).into_iter().for_each(&mut add);
            if at == 0 || lines.len() <= MAX_LINES {
                dense(part).into_iter().for_each(&mut add);
            }
        }
        // The same secret is often added again, and a finder is expensive.
        if known.forms.len() > before {
            known.finder = None;
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.forms.is_empty()
    }

    /// Replaces all secrets in bytes.
    pub fn mask<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let ranges = self.find(text);
        if ranges.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut masked = Vec::with_capacity(text.len());
        let mut end = 0;
        for range in ranges {
            masked.extend_from_slice(&text[end..range.start]);
            masked.extend_from_slice(MASK.as_bytes());
            end = range.end;
        }
        masked.extend_from_slice(&text[end..]);
        Cow::Owned(masked)
    }

    /// Replaces all secrets in bytes that the caller needs no more.
    pub fn masked_bytes(&self, bytes: Vec<u8>) -> Vec<u8> {
        match self.mask(&bytes) {
            Cow::Borrowed(_) => bytes,
            Cow::Owned(masked) => masked,
        }
    }

    /// Replaces all secrets in the texts and keys of JSON.
    pub fn masked_json(&self, json: Json) -> Json {
        match json {
            Json::String(text) => Json::String(self.masked(text)),
            Json::Array(items) => items
                .into_iter()
                .map(|item| self.masked_json(item))
                .collect(),
            Json::Object(entries) => {
                let entries = entries.into_iter();
                let masked = entries.map(|(key, item)| (self.masked(key), self.masked_json(item)));
                Json::Object(masked.collect())
            }
            other => other,
        }
    }

    /// Replaces all secrets in a text.
    pub fn masked(&self, text: String) -> String {
        match self.mask(text.as_bytes()) {
            Cow::Borrowed(_) => text,
            Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    /// Replaces all secrets in a text, and moves a span with the text around it.
    pub fn masked_with_span(&self, text: &str, span: &Range<usize>) -> (String, Range<usize>) {
        let ranges = self.find(text.as_bytes());
        let moved = |place: usize, is_end: bool| {
            let mut moved = place;
            for range in ranges.iter().take_while(|range| range.start < place) {
                let removed = range.len().saturating_sub(MASK.len());
                let added = MASK.len().saturating_sub(range.len());
                if place >= range.end {
                    moved = (moved + added).saturating_sub(removed);
                } else {
                    moved -= place - range.start;
                    moved += if is_end { MASK.len() } else { 0 };
                }
            }
            moved
        };
        let span = moved(span.start, false)..moved(span.end, true);
        (self.masked(text.to_owned()), span)
    }

    /// Where an unfinished line can be cut so that no secret is cut, and the rest is as short as
    /// possible. 0 if more of the line is needed.
    pub fn safe_cut(&self, line: &[u8]) -> usize {
        let ranges = self.find(line);
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let longest = known.finder.as_ref().map_or(0, |finder| finder.longest);
        let mut cut = line.len().saturating_sub(longest);
        if let Some(range) = ranges
            .iter()
            .find(|range| range.start < cut && cut < range.end)
        {
            cut = range.end;
        }
        cut
    }

    /// The ranges of all secrets, in order.
    fn find(&self, text: &[u8]) -> Vec<Range<usize>> {
        {
            let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
            if known.forms.is_empty() {
                return Vec::new();
            }
            if let Some(finder) = &known.finder {
                return finder.find(text);
            }
        }
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let forms = known.forms.iter().cloned().collect();
        let finder = known.finder.get_or_insert_with(|| Finder::new(forms));
        finder.find(text)
    }
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;

    use super::*;

    fn of(all: &[&str]) -> Secrets {
        let secrets = Secrets::default();
        for secret in all {
            secrets.add(secret);
        }
        secrets
    }

    fn shown(secrets: &Secrets, text: &str) -> String {
        secrets.masked(text.to_owned())
    }

    #[test]
    fn secrets_are_masked_everywhere() {
        let secrets = of(&["hunter2\nabc\n", "hunter2-and-more"]);
        assert_eq!(shown(&secrets, "a hunter2 b hunter2"), "a *** b ***");
        assert_eq!(shown(&secrets, "hunter2-and-more"), "***");
        assert_eq!(shown(&secrets, "x hunter2\nabc"), "x ***");
        assert_eq!(shown(&secrets, "abc"), "abc");
        assert_eq!(shown(&Secrets::default(), "abc"), "abc");
    }

    #[test]
    fn encoded_secrets_are_masked() {
        let secret = "pa\"ss\\wörd 100%";
        let secrets = of(&[secret]);
        for text in [
            serde_json::json!([secret]).to_string(),
            format!("user:{secret}@"),
            "https://h/?q=pa%22ss%5Cw%C3%B6rd%20100%25&x".to_owned(),
            "pa\\\"ss\\\\w\\u00f6rd 100%".to_owned(),
            "7061227373 7061227373".replace(' ', "5c77c3b6726420313030257"),
        ] {
            assert!(shown(&secrets, &text).contains(MASK), "{text}");
        }
        for before in ["", "u", "us"] {
            let encoded = BASE64.encode(format!("{before}{secret} and so on").as_bytes());
            assert!(shown(&secrets, &encoded).contains(MASK), "{encoded}");
        }
    }

    /// As `base64` prints it: lines of 76 characters.
    #[test]
    fn wrapped_base64_is_masked() {
        let long = (0..40).map(|i| format!("{i:x}-")).collect::<String>();
        for secret in ["correct horse battery", long.as_str()] {
            let secrets = of(&[secret]);
            let forms = dense(secret);
            for before in 0..120 {
                let text = format!("{}{secret}{}", "#".repeat(before), "#".repeat(90));
                let encoded = BASE64.encode(text.as_bytes());
                let lines = encoded.as_bytes().chunks(76);
                let lines: Vec<&str> = lines.map(|l| std::str::from_utf8(l).unwrap()).collect();
                let together = shown(&secrets, &lines.join("\n"));
                let alone: Vec<String> = lines.iter().map(|line| shown(&secrets, line)).collect();
                for masked in [together, alone.join("\n")] {
                    let joined = masked.replace('\n', "");
                    assert!(masked.contains(MASK), "{before}: {masked}");
                    for form in &forms {
                        let rest = &form.bytes[8..form.bytes.len() - 8];
                        let rest = std::str::from_utf8(rest).unwrap();
                        assert!(!joined.contains(rest), "{before}: {masked}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_was_cut_off_is_masked() {
        let secrets = of(&["a-very-long-secret-of-many-words"]);
        assert_eq!(
            shown(&secrets, "invalid `a-very-long-secr…`"),
            "invalid `***…`"
        );
        assert_eq!(
            shown(&secrets, "a-very-long-secret is"),
            "a-very-long-secret is"
        );
    }

    #[test]
    fn spans_move_with_the_text() {
        let secrets = of(&["hunter2-and-more", "abcd"]);
        let text = "x: hunter2-and-more\ny: abcd\nz: w\n";
        for word in ["x", "y", "z: w"] {
            let at = text.find(word).unwrap();
            let (masked, span) = secrets.masked_with_span(text, &(at..at + word.len()));
            assert_eq!(&masked[span], word);
        }
        let (masked, span) = secrets.masked_with_span(text, &(5..19));
        assert_eq!(&masked[span], MASK);
    }

    #[test]
    fn a_line_is_not_cut_in_a_secret() {
        let secrets = of(&["hunter2-and-more"]);
        let line = b"................................................ hunter2-and-more hunter2-and";
        let cut = secrets.safe_cut(line);
        assert!(cut > 0);
        let parts = [&line[..cut], &line[cut..]].map(|part| secrets.mask(part).into_owned());
        let parts = String::from_utf8(parts.concat()).unwrap();
        assert!(!parts.contains("more") && parts.contains(MASK), "{parts}");
    }

    #[test]
    fn repetitive_texts_take_no_time() {
        let secrets = of(&[&"x".repeat(200_000)]);
        let started = std::time::Instant::now();
        let text = format!("{}y", "x".repeat(190_000)).repeat(3);
        assert!(!shown(&secrets, &text).is_empty());
        assert!(started.elapsed().as_secs() < 20);
    }
}

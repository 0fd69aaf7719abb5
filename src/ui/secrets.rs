//! Secrets that are masked in all output.

use std::{
    borrow::Cow,
    sync::{PoisonError, RwLock},
};

/// The replacement of a secret.
const MASK: &[u8] = b"***";

/// The shortest masked text, in bytes. A shorter one occurs by chance in other words.
const MIN_LENGTH: usize = 4;

/// The secrets of a run.
#[derive(Default)]
pub(super) struct Secrets(RwLock<Vec<Vec<u8>>>);

impl Secrets {
    /// Masks a text from now on: each of its lines.
    pub fn add(&self, secret: &str) {
        let mut secrets = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for line in secret.lines().map(str::trim) {
            let line = line.as_bytes();
            if line.len() >= MIN_LENGTH && !secrets.iter().any(|known| known == line) {
                secrets.push(line.to_vec());
            }
        }
        // The longest first: a secret that contains another one is masked as a whole.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    }

    /// Replaces all secrets in bytes.
    pub fn mask<'a>(&self, text: &'a [u8]) -> Cow<'a, [u8]> {
        let secrets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut text = Cow::Borrowed(text);
        for secret in secrets.iter() {
            while let Some(at) = find(&text, secret) {
                text.to_mut()
                    .splice(at..at + secret.len(), MASK.iter().copied());
            }
        }
        text
    }

    /// Replaces all secrets in a text.
    pub fn masked(&self, text: String) -> String {
        match self.mask(text.as_bytes()) {
            Cow::Borrowed(_) => text,
            Cow::Owned(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        }
    }
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_everywhere() {
        let secrets = Secrets::default();
        secrets.add("hunter2\nabc\n");
        secrets.add("hunter2-and-more");
        let shown = |text: &str| secrets.masked(text.to_owned());
        assert_eq!(shown("a hunter2 b hunter2"), "a *** b ***");
        assert_eq!(shown("hunter2-and-more"), "***");
        assert_eq!(shown("abc"), "abc");
    }
}

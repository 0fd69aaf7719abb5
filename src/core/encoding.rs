//! The forms in which programs print a text: JSON, percent-encoding, base64, hexadecimal digits,
//! quotes of a shell. By them a secret is found in output.

use std::collections::BTreeSet;

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER, HEXUPPER};

/// Texts up to this size have all forms; a larger one occurs as it is or with escapes.
const MAX_ENCODED: usize = 1024 * 1024;

/// A form of a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Form {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether it consists of letters, digits and few other characters, such as base64. Programs
    /// wrap such a form after a number of characters, where no space is.
    pub is_dense: bool,
}

/// The forms of a text, other than itself, in which its special characters are escaped.
pub(super) fn escaped(text: &str) -> BTreeSet<Form> {
    let json = inner(&serde_json::to_string(text).unwrap_or_default());
    // Go escapes these by default (encoding/json); Python all that is not ASCII (json.dumps).
    let go = json
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026");
    let html = text
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;");
    let forms = [
        ascii(&json),
        json,
        go,
        html,
        inner(&format!("{text:?}")),
        // In single quotes: of a shell, and of YAML.
        text.replace('\'', "'\\''"),
        text.replace('\'', "''"),
        percent(text, |c| b"-._~".contains(&c)),
        // As JavaScript does (encodeURIComponent), and as forms are sent.
        percent(text, |c| b"-._~!*'()".contains(&c)),
        percent(text, |c| b"-._~/:".contains(&c)),
        percent(text, |c| b"-._* ".contains(&c)).replace(' ', "+"),
    ];
    let others = forms.into_iter().filter(|form| form != text);
    others.map(|form| new(form, false)).collect()
}

/// The forms of a text in base64, at each offset in the encoded data, and in hexadecimal digits.
pub(super) fn dense(text: &str) -> BTreeSet<Form> {
    let mut forms = BTreeSet::new();
    if text.len() > MAX_ENCODED {
        return forms;
    }
    for offset in 0..3 {
        let data = [&[0; 2][..offset], text.as_bytes()].concat();
        // Only digits that depend on nothing before and after the text.
        let digits = (offset * 8).div_ceil(6)..data.len() * 8 / 6;
        for encoding in [BASE64_NOPAD, BASE64URL_NOPAD] {
            let encoded = encoding.encode(&data);
            let form = encoded.get(digits.clone()).unwrap_or_default();
            forms.insert(new(form.to_owned(), true));
        }
    }
    for encoding in [HEXLOWER, HEXUPPER] {
        forms.insert(new(encoding.encode(text.as_bytes()), true));
    }
    forms
}

fn new(text: String, is_dense: bool) -> Form {
    Form {
        bytes: text.into_bytes(),
        is_dense,
    }
}

/// A text without the quotes around it.
fn inner(quoted: &str) -> String {
    let text = quoted.strip_prefix('"');
    let text = text.and_then(|text| text.strip_suffix('"'));
    text.unwrap_or(quoted).to_owned()
}

fn ascii(json: &str) -> String {
    let mut text = String::new();
    for c in json.chars() {
        if c.is_ascii() {
            text.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                text.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    text
}

fn percent(text: &str, is_kept: impl Fn(u8) -> bool) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || is_kept(byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_have_escapes() {
        let forms = escaped("a\"b\\ü <c>'d");
        for form in [
            "a\\\"b\\\\ü <c>'d",
            "a\\\"b\\\\\\u00fc <c>'d",
            "a\\\"b\\\\ü \\u003cc\\u003e'd",
            "a\"b\\ü <c>'\\''d",
            "a%22b%5C%C3%BC%20%3Cc%3E%27d",
            "a%22b%5C%C3%BC+%3Cc%3E%27d",
        ] {
            assert!(forms.contains(&new(form.to_owned(), false)), "{form}");
        }
        assert!(escaped("plain-1").is_empty());
    }

    #[test]
    fn base64_at_each_offset() {
        let forms = dense("hunter2-and-more");
        for before in ["", "u", "us", "use"] {
            for after in ["", "x", "yz"] {
                let text = format!("{before}hunter2-and-more{after}");
                let encoded = BASE64_NOPAD.encode(text.as_bytes()).into_bytes();
                let has = |form: &Form| encoded.windows(form.bytes.len()).any(|w| w == form.bytes);
                assert!(forms.iter().any(has), "{text}");
            }
        }
    }
}

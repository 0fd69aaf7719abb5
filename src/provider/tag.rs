//! Text as a part of a tag or label. Most clouds allow only letters, digits, dashes and underscores
//! there.

use std::fmt::Write;

use crate::core::owner::{Owner, Ownership};

/// Encodes text for clouds that compare tags by case. Any byte but letters, digits and dashes
/// becomes `_` and two hexadecimal digits; so does a dash at an end, where labels do not allow it.
pub fn encode(text: &str) -> String {
    let last = text.len().saturating_sub(1);
    encode_if(text, |at, byte| {
        let is_end = at == 0 || at == last;
        byte.is_ascii_alphanumeric() || byte == b'-' && !is_end
    })
}

/// Encodes text for clouds that ignore the case of tags, and keep the spelling of the first use.
/// Capital letters are encoded, too.
pub fn encode_caseless(text: &str) -> String {
    encode_if(text, |_, byte| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'
    })
}

fn encode_if(text: &str, is_kept: impl Fn(usize, u8) -> bool) -> String {
    let mut encoded = String::new();
    for (at, byte) in text.bytes().enumerate() {
        if is_kept(at, byte) {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "_{byte:02x}");
        }
    }
    encoded
}

/// Decodes what [`encode`] or [`encode_caseless`] returned. None if it is not valid.
pub fn decode(encoded: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'_' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// The owner that tags name. Without a project, a version of hitc without project ids created the
/// server.
pub fn ownership(project: Option<String>, manifest: Option<String>) -> Ownership {
    match project.filter(|project| !project.is_empty()) {
        Some(project) => Ownership::Owner(Owner { project, manifest }),
        None => Ownership::Legacy(manifest),
    }
}

/// The server's name within a full name, if the server belongs to this prefix. Prefixes are compared
/// for equality: `HITC-` does not list `HITC-staging-web`. A server without a tag for its prefix is
/// of an older version, and recognized by its name.
pub fn name_of<'a>(full: &'a str, prefix: &str, tagged: Option<&str>) -> Option<&'a str> {
    if tagged.is_some_and(|tagged| tagged != prefix) {
        return None;
    }
    full.strip_prefix(prefix)
}

/// Why [`name_of`] recognizes no name, for messages.
pub fn no_name_cause(full: &str, prefix: &str, tagged: Option<&str>) -> String {
    match tagged {
        Some(tagged) if tagged != prefix => {
            format!("its tag for the prefix says `{tagged}`, not `{prefix}`")
        }
        _ => format!("its name `{full}` does not begin with the prefix `{prefix}`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        for text in ["shop", "a/b_c.yml", "größe", "", "HITC-", "-", "Shop"] {
            assert_eq!(decode(&encode(text)).as_deref(), Some(text));
            assert_eq!(decode(&encode_caseless(text)).as_deref(), Some(text));
            let shouted = encode_caseless(text).to_uppercase().to_lowercase();
            assert_eq!(decode(&shouted).as_deref(), Some(text));
        }
        assert_eq!(encode("a/b"), "a_2fb");
        assert_eq!(encode("HITC-"), "HITC_2d");
        assert_eq!(encode_caseless("Shop-1"), "_53hop-1");
        assert_eq!(decode("a_x"), None);
    }

    #[test]
    fn prefix_is_compared_for_equality() {
        let full = "HITC-staging-web";
        assert_eq!(name_of(full, "HITC-", Some("HITC-staging-")), None);
        assert_eq!(
            name_of(full, "HITC-staging-", Some("HITC-staging-")),
            Some("web")
        );
        assert_eq!(name_of(full, "HITC-", None), Some("staging-web"));
        assert_eq!(name_of("web", "HITC-", None), None);
    }
}

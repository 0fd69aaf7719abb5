//! Host names and patterns in known_hosts files.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// The name of a host in known_hosts files: in lower case, with its port unless that is 22.
pub fn host_name(address: &str, port: u16) -> String {
    let address = address.to_lowercase();
    match port {
        22 => address,
        _ => format!("[{address}]:{port}"),
    }
}

/// Hashes a name (`HashKnownHosts` in ssh_config(5)).
pub fn hash(name: &str) -> String {
    let salt: [u8; 20] = std::array::from_fn(|_| fastrand::u8(..));
    let code = Hmac::<Sha1>::new_from_slice(&salt).map(|mut mac| {
        mac.update(name.as_bytes());
        BASE64.encode(&mac.finalize().into_bytes())
    });
    match code {
        Ok(code) => format!("|1|{}|{code}", BASE64.encode(&salt)),
        // Cannot happen: HMAC takes keys of any length.
        Err(_) => name.to_owned(),
    }
}

/// The hosts of a line: its first field.
#[derive(Clone, Debug)]
pub enum HostPatterns {
    /// Names and patterns, separated by commas.
    Plain(String),
    /// `|1|SALT|HASH` in base64, where the hash is the HMAC-SHA1 of the name. The HMAC is initialized
    /// with the salt, because hundreds of names are compared with each line. None if the field is
    /// invalid: it matches no host.
    Hashed(Option<(Hmac<Sha1>, Vec<u8>)>),
}

impl HostPatterns {
    /// Parses the field.
    pub fn parse(text: &str) -> Self {
        let Some(hashed) = text.strip_prefix("|1|") else {
            return HostPatterns::Plain(text.to_lowercase());
        };
        let decode = |text: &str| BASE64.decode(text.as_bytes()).ok();
        let parts = hashed.split_once('|');
        HostPatterns::Hashed(parts.and_then(|(salt, hash)| {
            let code = Hmac::new_from_slice(&decode(salt)?).ok()?;
            Some((code, decode(hash)?))
        }))
    }

    /// Whether they match the host of this name.
    pub fn matches(&self, name: &str) -> bool {
        match self {
            HostPatterns::Hashed(None) => false,
            HostPatterns::Hashed(Some((code, hash))) => {
                let code = code.clone().chain_update(name);
                code.verify_slice(hash).is_ok()
            }
            HostPatterns::Plain(patterns) => {
                let mut matched = false;
                for pattern in patterns.split(',') {
                    match pattern.strip_prefix('!') {
                        Some(pattern) if wildcard(pattern, name) => return false,
                        Some(_) => {}
                        None => matched |= wildcard(pattern, name),
                    }
                }
                matched
            }
        }
    }
}

/// Whether a text matches a pattern: `*` matches any text, `?` any character.
pub fn wildcard(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern, text);
    // What follows the last `*`, and what that has not taken yet. Earlier ones need not be tried again.
    let mut star: Option<(&str, &str)> = None;
    loop {
        let mut rest = pattern.chars();
        match (rest.next(), text.chars().next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                star = Some((rest.as_str(), text));
                pattern = rest.as_str();
                continue;
            }
            (Some(expected), Some(found)) if expected == '?' || expected == found => {
                pattern = rest.as_str();
                text = &text[found.len_utf8()..];
                continue;
            }
            _ => {}
        }
        // It takes one character more.
        let Some((after, untaken)) = star else {
            return false;
        };
        let mut chars = untaken.chars();
        if chars.next().is_none() {
            return false;
        }
        star = Some((after, chars.as_str()));
        (pattern, text) = (after, chars.as_str());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text) in [
            ("*", ""),
            ("a*b?", "axxbc"),
            ("*.corp", "a.b.corp"),
            ("*ä?", "xäö"),
            ("a**", "a"),
        ] {
            assert!(wildcard(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("?", ""),
            ("*.corp", "corp"),
            ("a*b", "abc"),
            ("a", "A"),
        ] {
            assert!(!wildcard(pattern, text), "{pattern} {text}");
        }
        // Found by fuzzing: to try each star again takes exponential time.
        assert!(!wildcard(&"*a".repeat(60), &("a".repeat(200) + "b")));
    }
}

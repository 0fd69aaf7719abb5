//! How hosts are named in known_hosts files.

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// The name a host has in such files: lower case, with its port unless that is 22.
pub fn host_name(address: &str, port: u16) -> String {
    let address = address.to_lowercase();
    match port {
        22 => address,
        _ => format!("[{address}]:{port}"),
    }
}

/// A name as `HashKnownHosts` of ssh_config(5) has it.
pub fn hash(name: &str) -> String {
    let salt: [u8; 20] = std::array::from_fn(|_| fastrand::u8(..));
    let code = Hmac::<Sha1>::new_from_slice(&salt).map(|mut mac| {
        mac.update(name.as_bytes());
        BASE64.encode(&mac.finalize().into_bytes())
    });
    match code {
        Ok(code) => format!("|1|{}|{code}", BASE64.encode(&salt)),
        // HMAC takes keys of any length.
        Err(_) => name.to_owned(),
    }
}

/// The first field of a line: which hosts it means.
#[derive(Clone, Debug)]
pub enum Names {
    /// Names and patterns, separated by commas.
    Plain(String),
    /// `|1|SALT|HASH`, both base64, the hash being HMAC-SHA1 of the name; the salt is in the code
    /// already, because hundreds of names are compared to each. One that is not such is no host's.
    Hashed(Option<(Hmac<Sha1>, Vec<u8>)>),
}

impl Names {
    /// Reads the field.
    pub fn parse(text: &str) -> Self {
        let Some(hashed) = text.strip_prefix("|1|") else {
            return Names::Plain(text.to_lowercase());
        };
        let decode = |text: &str| BASE64.decode(text.as_bytes()).ok();
        let parts = hashed.split_once('|');
        Names::Hashed(parts.and_then(|(salt, hash)| {
            let code = Hmac::new_from_slice(&decode(salt)?).ok()?;
            Some((code, decode(hash)?))
        }))
    }

    /// Do they mean the host with this name?
    pub fn mean(&self, name: &str) -> bool {
        match self {
            Names::Hashed(None) => false,
            Names::Hashed(Some((code, hash))) => {
                let code = code.clone().chain_update(name);
                code.verify_slice(hash).is_ok()
            }
            Names::Plain(patterns) => {
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

/// `*` is any text, `?` any character.
pub fn wildcard(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => {
            let rest = &pattern[1..];
            text.char_indices()
                .map(|(at, _)| at)
                .chain([text.len()])
                .any(|at| wildcard(rest, &text[at..]))
        }
        Some(expected) => text.chars().next().is_some_and(|found| {
            (expected == '?' || expected == found)
                && wildcard(&pattern[expected.len_utf8()..], &text[found.len_utf8()..])
        }),
    }
}

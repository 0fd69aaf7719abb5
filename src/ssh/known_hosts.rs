//! The known_hosts file: which host has which key.
//!
//! Our own, because the helpers of the SSH library accept revoked keys, ignore patterns, take an
//! unreadable file for an empty one and compare comments. The format is that of sshd(8),
//! "SSH_KNOWN_HOSTS FILE FORMAT".

use std::{
    fs::{self, File},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Mutex,
};

use data_encoding::BASE64;
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::{Algorithm, PublicKey};
use sha1::Sha1;

use super::Error;
use crate::{diagnostic::plain, project::make_private_folder};

/// What the file says about a host's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The key is on record for the host.
    Known,
    /// Nothing is on record for the host.
    New,
    /// Other keys are on record for the host; the first stands in this line.
    Changed {
        /// Counted from 1.
        line: usize,
    },
    /// The key is marked `@revoked` in this line.
    Revoked {
        /// Counted from 1.
        line: usize,
    },
}

/// A known_hosts file, read once.
#[derive(Debug)]
pub struct KnownHosts {
    path: PathBuf,
    entries: Mutex<Option<Vec<Entry>>>,
}

#[derive(Clone, Debug)]
struct Entry {
    line: usize,
    marker: Marker,
    hosts: String,
    key: Result<PublicKey, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    None,
    Revoked,
    CertAuthority,
}

impl KnownHosts {
    /// The file at `path`; it need not exist.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        KnownHosts {
            path: path.into(),
            entries: Mutex::new(None),
        }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says about the key that a host shows.
    pub fn check(&self, address: &str, port: u16, key: &PublicKey) -> Result<Verdict, Error> {
        let name = host_name(address, port);
        self.with_entries(|entries| self.judge(entries, &name, key))
    }

    /// The algorithms of the keys on record for a host: the server should be asked for these
    /// first, or a second key of the same server looks like a changed one.
    pub fn algorithms(&self, address: &str, port: u16) -> Result<Vec<Algorithm>, Error> {
        let name = host_name(address, port);
        self.with_entries(|entries| {
            Ok(entries
                .iter()
                .filter(|entry| entry.marker == Marker::None && matches(&entry.hosts, &name))
                .filter_map(|entry| entry.key.as_ref().ok().map(PublicKey::algorithm))
                .collect())
        })
    }

    /// Records a key for a host that has none on record. If another process was faster the file
    /// decides, so the verdict is given again.
    pub fn add(&self, address: &str, port: u16, key: &PublicKey) -> Result<Verdict, Error> {
        let name = host_name(address, port);
        if name.contains(|c: char| c.is_whitespace() || c.is_control() || ",*?!|@#".contains(c)) {
            return Err(self.fail(format!("`{name}` cannot be written as a host name")));
        }
        let text = key.to_openssh().map_err(|e| self.fail(e.to_string()))?;
        // Type and data only: a comment of the server's has no place in the user's file.
        let text: Vec<&str> = text.split(' ').take(2).collect();
        let text = format!("{name} {}\n", text.join(" "));

        let mut file = self.open_locked().map_err(|e| self.fail(e.to_string()))?;
        let mut before = String::new();
        file.read_to_string(&mut before)
            .map_err(|e| self.fail(e.to_string()))?;
        let entries = parse(&before);
        let verdict = self.judge(&entries, &name, key)?;
        if verdict == Verdict::New {
            let newline = !before.is_empty() && !before.ends_with('\n');
            let text = if newline { format!("\n{text}") } else { text };
            file.seek(SeekFrom::End(0))
                .and_then(|_| file.write_all(text.as_bytes()))
                .map_err(|e| self.fail(e.to_string()))?;
            before.push_str(&text);
        }
        if let Ok(mut cached) = self.entries.lock() {
            *cached = Some(parse(&before));
        }
        Ok(match verdict {
            Verdict::New => Verdict::Known,
            other => other,
        })
    }

    fn open_locked(&self) -> std::io::Result<File> {
        if let Some(folder) = self.path.parent() {
            make_private_folder(folder)?;
        }
        let file = fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)?;
        file.lock()?;
        Ok(file)
    }

    fn judge(&self, entries: &[Entry], name: &str, key: &PublicKey) -> Result<Verdict, Error> {
        let mut verdict = Verdict::New;
        for entry in entries.iter().filter(|entry| matches(&entry.hosts, name)) {
            let known = entry
                .key
                .as_ref()
                .map_err(|cause| self.fail(format!("line {}: {cause}", entry.line)))?;
            // The key itself, not its comment.
            let same = known.key_data() == key.key_data();
            match (entry.marker, same) {
                (Marker::Revoked, true) => return Ok(Verdict::Revoked { line: entry.line }),
                (Marker::None, true) => verdict = Verdict::Known,
                (Marker::None, false) if verdict == Verdict::New => {
                    verdict = Verdict::Changed { line: entry.line };
                }
                // A certificate authority says nothing about a plain key.
                (Marker::Revoked | Marker::None, false) | (Marker::CertAuthority, _) => {}
            }
        }
        Ok(verdict)
    }

    fn with_entries<T>(&self, read: impl FnOnce(&[Entry]) -> Result<T, Error>) -> Result<T, Error> {
        let mut entries = self
            .entries
            .lock()
            .map_err(|_| self.fail("a thread died while reading it".to_owned()))?;
        if entries.is_none() {
            let text = match fs::read_to_string(&self.path) {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
                Err(error) => return Err(self.fail(plain(error))),
            };
            *entries = Some(parse(&text));
        }
        read(entries.as_deref().unwrap_or_default())
    }

    fn fail(&self, cause: String) -> Error {
        Error::KnownHosts {
            path: self.path.clone(),
            cause,
        }
    }
}

/// The name a host has in the file: lower case, with its port unless that is 22.
fn host_name(address: &str, port: u16) -> String {
    let address = address.to_lowercase();
    match port {
        22 => address,
        _ => format!("[{address}]:{port}"),
    }
}

fn parse(text: &str) -> Vec<Entry> {
    text.lines()
        .enumerate()
        .filter_map(|(index, line)| parse_line(index + 1, line.trim()))
        .collect()
}

fn parse_line(line: usize, text: &str) -> Option<Entry> {
    if text.is_empty() || text.starts_with('#') {
        return None;
    }
    let mut words = text.split_ascii_whitespace();
    let mut word = words.next()?;
    let marker = match word {
        "@revoked" => Marker::Revoked,
        "@cert-authority" => Marker::CertAuthority,
        _ => Marker::None,
    };
    if marker != Marker::None {
        word = words.next()?;
    }
    let key = match (words.next(), words.next()) {
        (Some(kind), Some(data)) => PublicKey::from_openssh(&format!("{kind} {data}"))
            .map_err(|error| format!("not a public key: {error}")),
        _ => Err("the key is missing".to_owned()),
    };
    Some(Entry {
        line,
        marker,
        hosts: word.to_owned(),
        key,
    })
}

/// Does a line's first field mean this host?
fn matches(hosts: &str, name: &str) -> bool {
    if let Some(hashed) = hosts.strip_prefix("|1|") {
        return matches_hashed(hashed, name).unwrap_or(false);
    }
    let mut matched = false;
    for pattern in hosts.split(',') {
        match pattern.strip_prefix('!') {
            Some(pattern) if wildcard(&pattern.to_lowercase(), name) => return false,
            Some(_) => {}
            None => matched |= wildcard(&pattern.to_lowercase(), name),
        }
    }
    matched
}

/// `SALT|HASH`, both base64, the hash being HMAC-SHA1 of the name.
fn matches_hashed(hashed: &str, name: &str) -> Option<bool> {
    let (salt, hash) = hashed.split_once('|')?;
    let mut mac = Hmac::<Sha1>::new_from_slice(&BASE64.decode(salt.as_bytes()).ok()?).ok()?;
    mac.update(name.as_bytes());
    Some(
        mac.verify_slice(&BASE64.decode(hash.as_bytes()).ok()?)
            .is_ok(),
    )
}

/// `*` is any text, `?` any character.
fn wildcard(pattern: &str, text: &str) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIDVZ1zhcXgPXvWVZvKQPj8GgEH7NKkfLPbIEJzVBM2E";
    const B: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGS3ZmKGR4LRIQSj6qvpA4CWuTnBjzhxPdVxDyEr1W5V";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    /// What a file with these lines says about key A of `web.example.com:22`.
    fn verdict(lines: &str) -> Verdict {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        fs::write(&path, lines).unwrap();
        KnownHosts::new(path)
            .check("Web.example.com", 22, &key(A))
            .unwrap()
    }

    #[test]
    fn plain_and_patterns() {
        assert_eq!(verdict(""), Verdict::New);
        assert_eq!(verdict(&format!("web.example.com {A}\n")), Verdict::Known);
        assert_eq!(verdict(&format!("WEB.example.com\t{A}\n")), Verdict::Known);
        assert_eq!(
            verdict(&format!("x,*.example.com  {A} c\n")),
            Verdict::Known
        );
        assert_eq!(verdict(&format!("w?b.example.com {A}\n")), Verdict::Known);
        assert_eq!(verdict(&format!("!web.*,*.com {A}\n")), Verdict::New);
        assert_eq!(
            verdict(&format!("[web.example.com]:22 {A}\n")),
            Verdict::New
        );
        assert_eq!(verdict("# comment\n\nother garbage\n"), Verdict::New);
    }

    #[test]
    fn changed_revoked_and_several() {
        let changed = Verdict::Changed { line: 2 };
        assert_eq!(verdict(&format!("\nweb.example.com {B}\n")), changed);
        let both = format!("web.example.com {B}\nweb.example.com {A}\n");
        assert_eq!(verdict(&both), Verdict::Known);
        let revoked = format!("web.example.com {A}\n@revoked * {A}\n");
        assert_eq!(verdict(&revoked), Verdict::Revoked { line: 2 });
        assert_eq!(verdict(&format!("@revoked * {B}\n")), Verdict::New);
        assert_eq!(verdict(&format!("@cert-authority * {A}\n")), Verdict::New);
    }

    #[test]
    fn hashed_names() {
        let salt = [7_u8; 20];
        let mut mac = Hmac::<Sha1>::new_from_slice(&salt).unwrap();
        mac.update(b"web.example.com");
        let hash = BASE64.encode(&mac.finalize().into_bytes());
        let line = format!("|1|{}|{hash} {A}\n", BASE64.encode(&salt));
        assert_eq!(verdict(&line), Verdict::Known);
        assert_eq!(verdict(&line.replace(A, B)), Verdict::Changed { line: 1 });
    }

    #[test]
    fn a_broken_line_of_this_host_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        fs::write(&path, "web ssh-ed25519 nonsense\n").unwrap();
        let error = KnownHosts::new(path).check("web", 22, &key(A)).unwrap_err();
        assert!(error.to_string().contains("line 1: not a public key"));
    }

    #[test]
    fn an_unreadable_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        // A folder in its place cannot be read, not even by root.
        let error = KnownHosts::new(folder.path()).check("web", 22, &key(A));
        assert!(matches!(error, Err(Error::KnownHosts { .. })));
    }

    #[test]
    fn keys_are_added_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ssh/known_hosts");
        let first = KnownHosts::new(&path);
        let second = KnownHosts::new(&path);
        assert_eq!(second.check("web", 22, &key(A)).unwrap(), Verdict::New);
        assert_eq!(first.add("web", 22, &key(A)).unwrap(), Verdict::Known);
        // Another process that saw the file before does not write it again, nor another key.
        assert_eq!(second.add("web", 22, &key(A)).unwrap(), Verdict::Known);
        let changed = Verdict::Changed { line: 1 };
        assert_eq!(second.add("web", 22, &key(B)).unwrap(), changed);
        assert_eq!(first.add("web", 2222, &key(B)).unwrap(), Verdict::Known);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("web {A}\n[web]:2222 {B}\n"));
    }

    #[test]
    fn a_name_cannot_pin_a_key_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = KnownHosts::new(folder.path().join("known_hosts"));
        for name in ["a\nb", "a,b", "a b", "*", "|1|x"] {
            assert!(hosts.add(name, 22, &key(A)).is_err(), "{name:?}");
        }
        assert!(!hosts.path().exists());
    }

    #[test]
    fn a_file_without_a_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        fs::write(&path, format!("a {A}")).unwrap();
        let hosts = KnownHosts::new(&path);
        hosts.add("b", 22, &key(B)).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("a {A}\nb {B}\n")
        );
    }
}

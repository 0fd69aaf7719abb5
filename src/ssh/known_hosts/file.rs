//! One known_hosts file, in the format of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT".

use std::{
    collections::HashMap,
    fs::{self, Metadata},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Mutex,
};

use russh::keys::{Algorithm, PublicKey};

use super::names::{Names, hash};
use crate::{core::diagnostic::plain, project::make_private_folder, ssh::Error};

/// What a file says about a host's key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKeyStatus {
    /// The key is on record for the host.
    Known,
    /// Nothing is on record for the host.
    New,
    /// Other keys are on record for the host.
    Changed {
        /// Where the first of them stands: `file:line`.
        record: String,
    },
    /// The key is marked `@revoked`.
    Revoked {
        /// Where: `file:line`.
        record: String,
    },
}

/// A known_hosts file, read when it is first needed.
#[derive(Debug)]
pub(super) struct HostFile {
    path: PathBuf,
    content: Mutex<Option<Content>>,
}

/// What was read, and how the file looked then.
#[derive(Debug, Default)]
struct Content {
    stamp: Stamp,
    lines: usize,
    entries: Vec<Entry>,
    /// For each host that was asked for, the entries that mean it, and how many were looked at:
    /// hashed names take time, and there may be thousands of hosts.
    found: HashMap<String, (usize, Vec<usize>)>,
}

impl Content {
    fn new(of: &Metadata, text: &str) -> Self {
        Content {
            stamp: stamp(of),
            lines: text.lines().count(),
            entries: parse(text),
            found: HashMap::new(),
        }
    }

    /// The entries that mean a host.
    fn of(&mut self, name: &str) -> Vec<&Entry> {
        let (seen, found) = self.found.entry(name.to_owned()).or_default();
        let new = self.entries.iter().enumerate().skip(*seen);
        found.extend(new.filter_map(|(at, entry)| entry.names.mean(name).then_some(at)));
        *seen = self.entries.len();
        found
            .iter()
            .filter_map(|at| self.entries.get(*at))
            .collect()
    }
}

/// Tells whether a file is still what it was: device, inode, size, time of the last change.
type Stamp = (u64, u64, u64, i64, i64);

fn stamp(of: &Metadata) -> Stamp {
    (of.dev(), of.ino(), of.size(), of.mtime(), of.mtime_nsec())
}

#[derive(Clone, Debug)]
struct Entry {
    line: usize,
    marker: Marker,
    names: Names,
    /// Its type and its data. Parsed when it matters: such files can be long.
    key: Option<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marker {
    None,
    Revoked,
    CertAuthority,
}

impl Entry {
    fn key(&self) -> Result<PublicKey, String> {
        let (kind, data) = self.key.as_ref().ok_or("the key is missing")?;
        PublicKey::from_openssh(&format!("{kind} {data}"))
            .map_err(|error| format!("not a public key: {error}"))
    }
}

impl HostFile {
    /// The file at `path`; it need not exist.
    pub fn new(path: PathBuf) -> Self {
        HostFile {
            path,
            content: Mutex::default(),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the file says about the key that a host of this name shows.
    pub fn check(&self, name: &str, key: &PublicKey) -> Result<HostKeyStatus, Error> {
        self.with_entries(name, |entries| self.judge(entries, key))
    }

    /// The keys on record for a host; with `authorities`, those of the authorities that vouch for
    /// it instead.
    pub fn keys(&self, name: &str, authorities: bool) -> Result<Vec<PublicKey>, Error> {
        let marker = if authorities {
            Marker::CertAuthority
        } else {
            Marker::None
        };
        self.with_entries(name, |entries| {
            let ours = entries.iter().filter(|entry| entry.marker == marker);
            Ok(ours.filter_map(|entry| entry.key().ok()).collect())
        })
    }

    /// The algorithms of the keys on record for a host. What cannot be read is left to `check`.
    pub fn algorithms(&self, name: &str) -> Result<Vec<Algorithm>, Error> {
        let keys = self.keys(name, false)?;
        Ok(keys.iter().map(PublicKey::algorithm).collect())
    }

    /// Records a key for a host that has none on record, its name hashed if `hashed` says so. If
    /// another process was faster the file decides, so the verdict is given again.
    pub fn add(&self, name: &str, key: &PublicKey, hashed: bool) -> Result<HostKeyStatus, Error> {
        if name.contains(|c: char| c.is_whitespace() || c.is_control() || ",*?!|@#".contains(c)) {
            return Err(self.fail(format!("`{name}` cannot be written as a host name")));
        }
        let text = key.to_openssh().map_err(|e| self.fail(e.to_string()))?;
        // Type and data only: a comment of the server's has no place in the user's file.
        let text: Vec<&str> = text.split(' ').take(2).collect();
        let recorded = if hashed { hash(name) } else { name.to_owned() };
        let text = format!("{recorded} {}\n", text.join(" "));
        let failed = |error: std::io::Error| self.fail(plain(error));

        let mut file = self.open_locked().map_err(failed)?;
        let mut content = self.content.lock().map_err(|_| self.died())?;
        let now = file.metadata().map_err(failed)?;
        // Thousands of new hosts must not read thousands of lines each.
        let is_current = content.as_ref().is_some_and(|c| c.stamp == stamp(&now));
        if !is_current {
            let mut before = String::new();
            file.read_to_string(&mut before).map_err(failed)?;
            *content = Some(Content::new(&now, &before));
        }
        let content = content.get_or_insert_default();
        let verdict = self.judge(&content.of(name), key)?;
        if verdict != HostKeyStatus::New {
            return Ok(verdict);
        }
        let text = if ends_with_newline(&mut file).map_err(failed)? {
            text
        } else {
            format!("\n{text}")
        };
        file.seek(SeekFrom::End(0))
            .and_then(|_| file.write_all(text.as_bytes()))
            .map_err(failed)?;
        content.lines += 1;
        let entry = parse_line(content.lines, text.trim());
        content.entries.extend(entry);
        content.stamp = stamp(&file.metadata().map_err(failed)?);
        Ok(HostKeyStatus::Known)
    }

    fn open_locked(&self) -> std::io::Result<fs::File> {
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

    /// What the entries that mean a host say about a key.
    fn judge(&self, entries: &[&Entry], key: &PublicKey) -> Result<HostKeyStatus, Error> {
        let mut verdict = HostKeyStatus::New;
        for entry in entries {
            let known = entry
                .key()
                .map_err(|cause| self.fail(format!("line {}: {cause}", entry.line)))?;
            // The key itself, not its comment.
            let same = known.key_data() == key.key_data();
            let record = || format!("{}:{}", self.path.display(), entry.line);
            match (entry.marker, same) {
                (Marker::Revoked, true) => return Ok(HostKeyStatus::Revoked { record: record() }),
                (Marker::None, true) => verdict = HostKeyStatus::Known,
                (Marker::None, false) if verdict == HostKeyStatus::New => {
                    verdict = HostKeyStatus::Changed { record: record() };
                }
                // A certificate authority says nothing about a plain key.
                (Marker::Revoked | Marker::None, false) | (Marker::CertAuthority, _) => {}
            }
        }
        Ok(verdict)
    }

    fn with_entries<T>(
        &self,
        name: &str,
        read: impl FnOnce(&[&Entry]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut content = self.content.lock().map_err(|_| self.died())?;
        if content.is_none() {
            *content = Some(match fs::File::open(&self.path) {
                Ok(mut file) => {
                    let mut text = String::new();
                    let metadata = file.metadata().map_err(|e| self.fail(plain(e)))?;
                    file.read_to_string(&mut text)
                        .map_err(|e| self.fail(plain(e)))?;
                    Content::new(&metadata, &text)
                }
                Err(error) if error.kind() == ErrorKind::NotFound => Content::default(),
                Err(error) => return Err(self.fail(plain(error))),
            });
        }
        read(&content.get_or_insert_default().of(name))
    }

    fn died(&self) -> Error {
        self.fail("a thread died while reading it".to_owned())
    }

    fn fail(&self, cause: String) -> Error {
        Error::KnownHosts {
            path: self.path.clone(),
            cause,
        }
    }
}

fn ends_with_newline(file: &mut fs::File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
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
    let key = words.next().zip(words.next());
    Some(Entry {
        line,
        marker,
        names: Names::parse(word),
        key: key.map(|(kind, data)| (kind.to_owned(), data.to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use data_encoding::BASE64;
    use hmac::{Hmac, KeyInit, Mac};
    use sha1::Sha1;

    use super::{super::names::host_name, *};

    const A: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIDVZ1zhcXgPXvWVZvKQPj8GgEH7NKkfLPbIEJzVBM2E";
    const B: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGS3ZmKGR4LRIQSj6qvpA4CWuTnBjzhxPdVxDyEr1W5V";

    fn key(text: &str) -> PublicKey {
        PublicKey::from_openssh(text).unwrap()
    }

    /// What a file with these lines says about key A of `web.example.com:22`.
    fn verdict(lines: &str) -> HostKeyStatus {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        fs::write(&path, lines).unwrap();
        let verdict = HostFile::new(path.clone()).check(&host_name("Web.example.com", 22), &key(A));
        let short = |record: String| record.replace(path.to_str().unwrap(), "file");
        match verdict.unwrap() {
            HostKeyStatus::Changed { record } => HostKeyStatus::Changed {
                record: short(record),
            },
            HostKeyStatus::Revoked { record } => HostKeyStatus::Revoked {
                record: short(record),
            },
            verdict => verdict,
        }
    }

    #[test]
    fn plain_and_patterns() {
        assert_eq!(verdict(""), HostKeyStatus::New);
        assert_eq!(
            verdict(&format!("web.example.com {A}\n")),
            HostKeyStatus::Known
        );
        assert_eq!(
            verdict(&format!("WEB.example.com\t{A}\n")),
            HostKeyStatus::Known
        );
        assert_eq!(
            verdict(&format!("x,*.example.com  {A} c\n")),
            HostKeyStatus::Known
        );
        assert_eq!(
            verdict(&format!("w?b.example.com {A}\n")),
            HostKeyStatus::Known
        );
        assert_eq!(verdict(&format!("!web.*,*.com {A}\n")), HostKeyStatus::New);
        assert_eq!(
            verdict(&format!("[web.example.com]:22 {A}\n")),
            HostKeyStatus::New
        );
        assert_eq!(verdict("# comment\n\nother garbage\n"), HostKeyStatus::New);
    }

    #[test]
    fn changed_revoked_and_several() {
        let changed = HostKeyStatus::Changed {
            record: "file:2".to_owned(),
        };
        assert_eq!(verdict(&format!("\nweb.example.com {B}\n")), changed);
        let both = format!("web.example.com {B}\nweb.example.com {A}\n");
        assert_eq!(verdict(&both), HostKeyStatus::Known);
        let revoked = format!("web.example.com {A}\n@revoked * {A}\n");
        let expected = HostKeyStatus::Revoked {
            record: "file:2".to_owned(),
        };
        assert_eq!(verdict(&revoked), expected);
        assert_eq!(verdict(&format!("@revoked * {B}\n")), HostKeyStatus::New);
        assert_eq!(
            verdict(&format!("@cert-authority * {A}\n")),
            HostKeyStatus::New
        );
    }

    #[test]
    fn hashed_names() {
        let salt = [7_u8; 20];
        let mut mac = Hmac::<Sha1>::new_from_slice(&salt).unwrap();
        mac.update(b"web.example.com");
        let code = BASE64.encode(&mac.finalize().into_bytes());
        let line = format!("|1|{}|{code} {A}\n", BASE64.encode(&salt));
        assert_eq!(verdict(&line), HostKeyStatus::Known);
        let changed = HostKeyStatus::Changed {
            record: "file:1".to_owned(),
        };
        assert_eq!(verdict(&line.replace(A, B)), changed);
        // As we write them ourselves.
        let line = format!("{} {A}\n", hash("web.example.com"));
        assert_eq!(verdict(&line), HostKeyStatus::Known);
    }

    #[test]
    fn a_broken_line_of_this_host_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        fs::write(&path, "web ssh-ed25519 nonsense\n").unwrap();
        let error = HostFile::new(path).check("web", &key(A)).unwrap_err();
        assert!(error.to_string().contains("line 1: not a public key"));
    }

    #[test]
    fn an_unreadable_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        // A folder in its place cannot be read, not even by root.
        let error = HostFile::new(folder.path().to_owned()).check("web", &key(A));
        assert!(matches!(error, Err(Error::KnownHosts { .. })));
    }

    #[test]
    fn keys_are_added_once_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ssh/known_hosts");
        let first = HostFile::new(path.clone());
        let second = HostFile::new(path.clone());
        assert_eq!(second.check("web", &key(A)).unwrap(), HostKeyStatus::New);
        assert_eq!(
            first.add("web", &key(A), false).unwrap(),
            HostKeyStatus::Known
        );
        // Another process that saw the file before does not write it again, nor another key.
        assert_eq!(
            second.add("web", &key(A), false).unwrap(),
            HostKeyStatus::Known
        );
        let changed = HostKeyStatus::Changed {
            record: format!("{}:1", path.display()),
        };
        assert_eq!(second.add("web", &key(B), false).unwrap(), changed);
        assert_eq!(
            first.add(&host_name("web", 2222), &key(B), false).unwrap(),
            HostKeyStatus::Known
        );
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("web {A}\n[web]:2222 {B}\n"));
    }

    /// Each with its own view of the file, as processes have.
    #[test]
    fn writers_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let hosts = HostFile::new(path.clone());
                scope.spawn(move || {
                    for n in 0..50 {
                        let name = format!("host-{writer}-{n}");
                        hosts.add(&name, &key(A), false).unwrap();
                        // All of them want this one.
                        hosts.add(&format!("all-{n}"), &key(B), false).unwrap();
                    }
                });
            }
        });
        let text = fs::read_to_string(&path).unwrap();
        let mut lines: Vec<&str> = text.lines().collect();
        assert!(
            lines
                .iter()
                .all(|line| line.ends_with(A) || line.ends_with(B))
        );
        assert_eq!(lines.len(), 8 * 50 + 50);
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 8 * 50 + 50);
    }

    #[test]
    fn a_name_cannot_pin_a_key_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = HostFile::new(folder.path().join("known_hosts"));
        for name in ["a\nb", "a,b", "a b", "*", "|1|x"] {
            assert!(hosts.add(name, &key(A), false).is_err(), "{name:?}");
        }
        assert!(!hosts.path().exists());
    }

    #[test]
    fn a_file_without_a_last_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        fs::write(&path, format!("a {A}")).unwrap();
        let hosts = HostFile::new(path.clone());
        hosts.add("b", &key(B), false).unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("a {A}\nb {B}\n")
        );
    }
}

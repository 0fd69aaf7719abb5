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
use tokio::sync::Mutex as AsyncMutex;

use super::names::{HostPatterns, hash};
use crate::{
    core::{
        diagnostic::plain,
        sync::{lock, lock_file},
    },
    project::make_private_folder,
    ssh::{Cause, Error},
};

/// The status of a key that a host presents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKeyStatus {
    /// The key is recorded for the host.
    Known,
    /// No key is recorded for the host.
    New,
    /// Only other keys are recorded for the host.
    Changed {
        /// The place of the first of them: `file:line`.
        record: String,
    },
    /// The key is marked `@revoked`.
    Revoked {
        /// The place of the mark: `file:line`.
        record: String,
    },
}

/// A known_hosts file, which is read when it is first needed.
#[derive(Debug)]
pub(super) struct KnownHostsFile {
    path: PathBuf,
    content: Mutex<Option<Content>>,
    /// Held while a key is recorded. Tasks of this process wait here instead of polling for the lock
    /// of the file.
    writing: AsyncMutex<()>,
}

/// The parsed content of the file.
#[derive(Debug, Default)]
struct Content {
    stamp: Stamp,
    lines: usize,
    entries: Vec<Entry>,
    /// For each requested host, the number of entries that were compared, and those that match.
    /// Hashed names take time to compare, and there may be thousands of hosts.
    matches: HashMap<String, (usize, Vec<usize>)>,
}

impl Content {
    fn new(of: &Metadata, text: &str) -> Self {
        Content {
            stamp: stamp(of),
            lines: text.lines().count(),
            entries: parse(text),
            matches: HashMap::new(),
        }
    }

    /// The entries that match a host.
    fn entries_of(&mut self, name: &str) -> Vec<&Entry> {
        let (compared, matches) = self.matches.entry(name.to_owned()).or_default();
        let new = self.entries.iter().enumerate().skip(*compared);
        matches.extend(new.filter_map(|(at, entry)| entry.hosts.matches(name).then_some(at)));
        *compared = self.entries.len();
        matches
            .iter()
            .filter_map(|at| self.entries.get(*at))
            .collect()
    }
}

/// Tells whether a file was changed: device, inode, size, modification time.
type Stamp = (u64, u64, u64, i64, i64);

fn stamp(of: &Metadata) -> Stamp {
    (of.dev(), of.ino(), of.size(), of.mtime(), of.mtime_nsec())
}

#[derive(Clone, Debug)]
struct Entry {
    line: usize,
    marker: Marker,
    hosts: HostPatterns,
    /// The type and the data of the key. Parsed only if the entry matches: the files can be long.
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

impl KnownHostsFile {
    /// Creates the file at `path`, which need not exist.
    pub fn new(path: PathBuf) -> Self {
        KnownHostsFile {
            path,
            content: Mutex::default(),
            writing: AsyncMutex::default(),
        }
    }

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Checks the key that a host of this name presents.
    pub fn check(&self, name: &str, key: &PublicKey) -> Result<HostKeyStatus, Error> {
        self.with_entries(name, |entries| self.status(entries, key))
    }

    /// The recorded keys of a host; with `authorities`, those of its certificate authorities
    /// instead.
    pub fn keys(&self, name: &str, authorities: bool) -> Result<Vec<PublicKey>, Error> {
        let marker = if authorities {
            Marker::CertAuthority
        } else {
            Marker::None
        };
        self.with_entries(name, |entries| {
            let marked = entries.iter().filter(|entry| entry.marker == marker);
            Ok(marked.filter_map(|entry| entry.key().ok()).collect())
        })
    }

    /// The algorithms of the recorded keys of a host. Invalid keys are skipped; `check` reports them.
    pub fn algorithms(&self, name: &str) -> Result<Vec<Algorithm>, Error> {
        let keys = self.keys(name, false)?;
        Ok(keys.iter().map(PublicKey::algorithm).collect())
    }

    /// Records the key of a new host, with a hashed name if `hashed` is set. Returns the new status:
    /// another process may have recorded another key meanwhile.
    pub async fn add(
        &self,
        name: &str,
        key: &PublicKey,
        hashed: bool,
    ) -> Result<HostKeyStatus, Error> {
        if name.contains(|c: char| c.is_whitespace() || c.is_control() || ",*?!|@#".contains(c)) {
            return Err(self.fail(format!("invalid host name `{name}`")));
        }
        let text = key.to_openssh().map_err(|e| self.fail(e.to_string()))?;
        // Without the comment, which comes from the server.
        let text: Vec<&str> = text.split(' ').take(2).collect();
        let recorded = if hashed { hash(name) } else { name.to_owned() };
        let text = format!("{recorded} {}\n", text.join(" "));
        let failed = |error: std::io::Error| self.fail(plain(error));

        let _writing = self.writing.lock().await;
        let mut file = self.open().map_err(failed)?;
        lock_file(&file).await.map_err(failed)?;
        let mut content = lock(&self.content);
        let now = file.metadata().map_err(failed)?;
        // Reads the file only if another process changed it: thousands of hosts may be added.
        let is_current = content.as_ref().is_some_and(|c| c.stamp == stamp(&now));
        if !is_current {
            let mut before = String::new();
            file.read_to_string(&mut before).map_err(failed)?;
            *content = Some(Content::new(&now, &before));
        }
        let content = content.get_or_insert_default();
        let status = self.status(&content.entries_of(name), key)?;
        if status != HostKeyStatus::New {
            return Ok(status);
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

    /// Opens the file for writing, and creates it if it is missing.
    fn open(&self) -> std::io::Result<fs::File> {
        if let Some(folder) = self.path.parent() {
            make_private_folder(folder)?;
        }
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)
    }

    /// The status of a key, by the entries that match its host.
    fn status(&self, entries: &[&Entry], key: &PublicKey) -> Result<HostKeyStatus, Error> {
        let mut status = HostKeyStatus::New;
        for entry in entries {
            let known = entry
                .key()
                .map_err(|cause| self.fail(format!("line {}: {cause}", entry.line)))?;
            // Without comments.
            let same = known.key_data() == key.key_data();
            let record = || format!("{}:{}", self.path.display(), entry.line);
            match (entry.marker, same) {
                (Marker::Revoked, true) => return Ok(HostKeyStatus::Revoked { record: record() }),
                (Marker::None, true) => status = HostKeyStatus::Known,
                (Marker::None, false) if status == HostKeyStatus::New => {
                    status = HostKeyStatus::Changed { record: record() };
                }
                // Certificate authorities are for certificates, not for plain keys.
                (Marker::Revoked | Marker::None, false) | (Marker::CertAuthority, _) => {}
            }
        }
        Ok(status)
    }

    /// Passes the entries that match a host to `read`. Reads the file if that is the first time.
    fn with_entries<T>(
        &self,
        name: &str,
        read: impl FnOnce(&[&Entry]) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut content = lock(&self.content);
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
        read(&content.get_or_insert_default().entries_of(name))
    }

    fn fail(&self, cause: String) -> Error {
        Error::local(Cause::KnownHosts {
            path: self.path.clone(),
            cause,
        })
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
        hosts: HostPatterns::parse(word),
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

    /// The status of key A of `web.example.com:22` in a file with these lines.
    fn status(lines: &str) -> HostKeyStatus {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        fs::write(&path, lines).unwrap();
        let status =
            KnownHostsFile::new(path.clone()).check(&host_name("Web.example.com", 22), &key(A));
        let short = |record: String| record.replace(path.to_str().unwrap(), "file");
        match status.unwrap() {
            HostKeyStatus::Changed { record } => HostKeyStatus::Changed {
                record: short(record),
            },
            HostKeyStatus::Revoked { record } => HostKeyStatus::Revoked {
                record: short(record),
            },
            status => status,
        }
    }

    #[test]
    fn plain_names_and_patterns() {
        assert_eq!(status(""), HostKeyStatus::New);
        assert_eq!(
            status(&format!("web.example.com {A}\n")),
            HostKeyStatus::Known
        );
        assert_eq!(
            status(&format!("WEB.example.com\t{A}\n")),
            HostKeyStatus::Known
        );
        assert_eq!(
            status(&format!("x,*.example.com  {A} c\n")),
            HostKeyStatus::Known
        );
        assert_eq!(
            status(&format!("w?b.example.com {A}\n")),
            HostKeyStatus::Known
        );
        assert_eq!(status(&format!("!web.*,*.com {A}\n")), HostKeyStatus::New);
        assert_eq!(
            status(&format!("[web.example.com]:22 {A}\n")),
            HostKeyStatus::New
        );
        assert_eq!(status("# comment\n\nother garbage\n"), HostKeyStatus::New);
    }

    #[test]
    fn changed_and_revoked_keys() {
        let changed = HostKeyStatus::Changed {
            record: "file:2".to_owned(),
        };
        assert_eq!(status(&format!("\nweb.example.com {B}\n")), changed);
        let both = format!("web.example.com {B}\nweb.example.com {A}\n");
        assert_eq!(status(&both), HostKeyStatus::Known);
        let revoked = format!("web.example.com {A}\n@revoked * {A}\n");
        let expected = HostKeyStatus::Revoked {
            record: "file:2".to_owned(),
        };
        assert_eq!(status(&revoked), expected);
        assert_eq!(status(&format!("@revoked * {B}\n")), HostKeyStatus::New);
        assert_eq!(
            status(&format!("@cert-authority * {A}\n")),
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
        assert_eq!(status(&line), HostKeyStatus::Known);
        let changed = HostKeyStatus::Changed {
            record: "file:1".to_owned(),
        };
        assert_eq!(status(&line.replace(A, B)), changed);
        // As hitc writes them.
        let line = format!("{} {A}\n", hash("web.example.com"));
        assert_eq!(status(&line), HostKeyStatus::Known);
    }

    #[test]
    fn an_invalid_key_of_the_host_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        fs::write(&path, "web ssh-ed25519 nonsense\n").unwrap();
        let error = KnownHostsFile::new(path).check("web", &key(A)).unwrap_err();
        assert!(error.to_string().contains("line 1: not a public key"));
    }

    #[test]
    fn an_unreadable_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        // A folder cannot be read as a file, not even by root.
        let error = KnownHostsFile::new(folder.path().to_owned()).check("web", &key(A));
        assert!(matches!(error.unwrap_err().cause, Cause::KnownHosts { .. }));
    }

    #[tokio::test]
    async fn keys_are_added_once_and_completely() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ssh/known_hosts");
        let first = KnownHostsFile::new(path.clone());
        let second = KnownHostsFile::new(path.clone());
        assert_eq!(second.check("web", &key(A)).unwrap(), HostKeyStatus::New);
        assert_eq!(
            first.add("web", &key(A), false).await.unwrap(),
            HostKeyStatus::Known
        );
        // Another process that has read the file before adds neither the same key nor another one.
        assert_eq!(
            second.add("web", &key(A), false).await.unwrap(),
            HostKeyStatus::Known
        );
        let changed = HostKeyStatus::Changed {
            record: format!("{}:1", path.display()),
        };
        assert_eq!(second.add("web", &key(B), false).await.unwrap(), changed);
        assert_eq!(
            first
                .add(&host_name("web", 2222), &key(B), false)
                .await
                .unwrap(),
            HostKeyStatus::Known
        );
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("web {A}\n[web]:2222 {B}\n"));
    }

    /// Each writer has its own view of the file, as a process has.
    #[test]
    fn concurrent_writers_lose_no_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let hosts = KnownHostsFile::new(path.clone());
                scope.spawn(move || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_time()
                        .build()
                        .unwrap();
                    runtime.block_on(async {
                        for n in 0..50 {
                            let name = format!("host-{writer}-{n}");
                            hosts.add(&name, &key(A), false).await.unwrap();
                            // All writers add this one.
                            let name = format!("all-{n}");
                            hosts.add(&name, &key(B), false).await.unwrap();
                        }
                    });
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

    #[tokio::test]
    async fn a_name_cannot_add_a_key_for_another_host() {
        let folder = tempfile::tempdir().unwrap();
        let hosts = KnownHostsFile::new(folder.path().join("known_hosts"));
        for name in ["a\nb", "a,b", "a b", "*", "|1|x"] {
            assert!(hosts.add(name, &key(A), false).await.is_err(), "{name:?}");
        }
        assert!(!hosts.path().exists());
    }

    #[tokio::test]
    async fn adds_to_a_file_without_a_trailing_newline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known_hosts");
        fs::write(&path, format!("a {A}")).unwrap();
        let hosts = KnownHostsFile::new(path.clone());
        hosts.add("b", &key(B), false).await.unwrap();
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("a {A}\nb {B}\n")
        );
    }
}

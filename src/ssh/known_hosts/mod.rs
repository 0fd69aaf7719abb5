//! Which host has which key.
//!
//! Our own, because the helpers of the SSH library accept revoked keys, ignore patterns, take an
//! unreadable file for an empty one and compare comments.

mod file;
mod names;

use std::{
    fs,
    path::{Path, PathBuf},
};

use file::HostFile;
pub use file::HostKeyStatus;
use names::host_name;
pub use names::wildcard;
use russh::keys::{Algorithm, PublicKey};

use super::Error;
use crate::core::diagnostic::plain;

/// Where host keys are on record, and what happens to new ones.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Files in the format of known_hosts; they need not exist.
    pub files: Vec<PathBuf>,
    /// The one in which new keys are recorded, if there is one.
    pub own: Option<PathBuf>,
    /// A list of keys that are never accepted (`RevokedHostKeys`).
    pub revoked: Option<PathBuf>,
    /// No host is added (`StrictHostKeyChecking yes`).
    pub strict: bool,
    /// Names are recorded hashed (`HashKnownHosts`).
    pub hash: bool,
}

/// The known_hosts files of a host.
#[derive(Debug)]
pub struct KnownHosts {
    files: Vec<HostFile>,
    own: Option<PathBuf>,
    revoked: Option<PathBuf>,
    /// Whether a host that is not on record is refused.
    pub strict: bool,
    hash: bool,
}

impl KnownHosts {
    /// These files.
    pub fn new(sources: Sources) -> Self {
        KnownHosts {
            files: sources.files.into_iter().map(HostFile::new).collect(),
            own: sources.own,
            revoked: sources.revoked,
            strict: sources.strict,
            hash: sources.hash,
        }
    }

    /// Where the files are.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(HostFile::path)
    }

    /// What the files say about the key that a host shows. A key that is revoked in one file is
    /// revoked; one that is known in one file is known.
    pub fn check(&self, address: &str, port: u16, key: &PublicKey) -> Result<HostKeyStatus, Error> {
        if let Some(path) = &self.revoked
            && let Some(line) = revoked_at(path, key)?
        {
            let record = format!("{}:{line}", path.display());
            return Ok(HostKeyStatus::Revoked { record });
        }
        let name = host_name(address, port);
        let mut verdict = HostKeyStatus::New;
        for file in &self.files {
            match (file.check(&name, key)?, &verdict) {
                (revoked @ HostKeyStatus::Revoked { .. }, _) => return Ok(revoked),
                (HostKeyStatus::Known, _) => verdict = HostKeyStatus::Known,
                (changed @ HostKeyStatus::Changed { .. }, HostKeyStatus::New) => verdict = changed,
                (HostKeyStatus::Changed { .. } | HostKeyStatus::New, _) => {}
            }
        }
        Ok(verdict)
    }

    /// The algorithms of the keys on record for a host: the server should be asked for these
    /// first, or a second key of the same server looks like a changed one.
    pub fn algorithms(&self, address: &str, port: u16) -> Result<Vec<Algorithm>, Error> {
        self.of_all(address, port, HostFile::algorithms)
    }

    /// The keys of the authorities whose certificates count for a host (`@cert-authority`).
    pub fn authorities(&self, address: &str, port: u16) -> Result<Vec<PublicKey>, Error> {
        self.of_all(address, port, |file, name| file.keys(name, true))
    }

    fn of_all<T>(
        &self,
        address: &str,
        port: u16,
        read: impl Fn(&HostFile, &str) -> Result<Vec<T>, Error>,
    ) -> Result<Vec<T>, Error> {
        let name = host_name(address, port);
        let mut all = Vec::new();
        for file in &self.files {
            all.extend(read(file, &name)?);
        }
        Ok(all)
    }

    /// Whether new keys are recorded.
    pub fn records(&self) -> bool {
        self.own.is_some()
    }

    /// Records a key for a host that has none on record, if new keys are recorded. If another
    /// process was faster the file decides, so the verdict is given again.
    pub fn add(&self, address: &str, port: u16, key: &PublicKey) -> Result<HostKeyStatus, Error> {
        let own = self.own.as_deref();
        match self.files.iter().find(|file| Some(file.path()) == own) {
            Some(file) => file.add(&host_name(address, port), key, self.hash),
            None => Ok(HostKeyStatus::Known),
        }
    }
}

/// The line in which a key stands in a list of revoked ones.
fn revoked_at(path: &Path, key: &PublicKey) -> Result<Option<usize>, Error> {
    let fail = |cause: String| Error::KnownHosts {
        path: path.to_owned(),
        cause,
    };
    let bytes = fs::read(path).map_err(|error| fail(plain(error)))?;
    let text = str::from_utf8(&bytes).map_err(|_| {
        fail("a binary list of revoked keys (KRL) is not understood; list the keys".to_owned())
    })?;
    let found = text.lines().position(|line| {
        PublicKey::from_openssh(line.trim()).is_ok_and(|known| known.key_data() == key.key_data())
    });
    Ok(found.map(|at| at + 1))
}

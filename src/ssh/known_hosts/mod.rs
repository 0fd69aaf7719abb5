//! The recorded host keys, in known_hosts files.
//!
//! Not by the helpers of russh, which accept revoked keys, ignore patterns, treat an unreadable file
//! as empty, and compare comments.

mod file;
mod names;

use std::{
    fs,
    path::{Path, PathBuf},
};

pub use file::HostKeyStatus;
use file::KnownHostsFile;
use names::host_name;
pub use names::wildcard;
use russh::keys::{Algorithm, PublicKey};

use super::{Cause, Error};
use crate::core::diagnostic::plain;

/// The settings for host keys, as in ssh_config(5).
#[derive(Clone, Debug, Default)]
pub struct KnownHostsOptions {
    /// The known_hosts files; they need not exist.
    pub files: Vec<PathBuf>,
    /// The file in which new keys are recorded, if any.
    pub record_in: Option<PathBuf>,
    /// A file with keys that are never accepted (`RevokedHostKeys`).
    pub revoked: Option<PathBuf>,
    /// Rejects unknown hosts (`StrictHostKeyChecking yes`).
    pub strict: bool,
    /// Records host names hashed (`HashKnownHosts`).
    pub hash: bool,
}

/// The known_hosts files of a host.
#[derive(Debug)]
pub struct KnownHosts {
    files: Vec<KnownHostsFile>,
    record_in: Option<PathBuf>,
    revoked: Option<PathBuf>,
    /// Whether unknown hosts are rejected.
    pub strict: bool,
    hash: bool,
}

/// Reads a file, and looks a host up in it.
pub fn read_known_hosts(path: &Path) {
    let file = KnownHostsFile::new(path.to_owned());
    for name in ["web", "[127.0.0.1]:2222"] {
        let _ = file.algorithms(name);
        for key in file.keys(name, true).unwrap_or_default() {
            let _ = file.check(name, &key);
        }
    }
}

impl KnownHosts {
    /// Creates the known hosts of these settings. Files are read when they are first needed.
    pub fn new(options: KnownHostsOptions) -> Self {
        KnownHosts {
            files: options.files.into_iter().map(KnownHostsFile::new).collect(),
            record_in: options.record_in,
            revoked: options.revoked,
            strict: options.strict,
            hash: options.hash,
        }
    }

    /// The paths of the files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(KnownHostsFile::path)
    }

    /// Checks the key that a host presents. It is revoked if one file revokes it, and known if one
    /// file has it.
    pub fn check(&self, address: &str, port: u16, key: &PublicKey) -> Result<HostKeyStatus, Error> {
        if let Some(path) = &self.revoked
            && let Some(line) = revoked_at(path, key)?
        {
            let record = format!("{}:{line}", path.display());
            return Ok(HostKeyStatus::Revoked { record });
        }
        let name = host_name(address, port);
        let mut status = HostKeyStatus::New;
        for file in &self.files {
            match (file.check(&name, key)?, &status) {
                (revoked @ HostKeyStatus::Revoked { .. }, _) => return Ok(revoked),
                (HostKeyStatus::Known, _) => status = HostKeyStatus::Known,
                (changed @ HostKeyStatus::Changed { .. }, HostKeyStatus::New) => status = changed,
                (HostKeyStatus::Changed { .. } | HostKeyStatus::New, _) => {}
            }
        }
        Ok(status)
    }

    /// The algorithms of the recorded keys of a host. They must be requested first: another key of
    /// the same server would look like a changed key.
    pub fn algorithms(&self, address: &str, port: u16) -> Result<Vec<Algorithm>, Error> {
        self.collect(address, port, KnownHostsFile::algorithms)
    }

    /// The keys of the certificate authorities of a host (`@cert-authority`).
    pub fn authorities(&self, address: &str, port: u16) -> Result<Vec<PublicKey>, Error> {
        self.collect(address, port, |file, name| file.keys(name, true))
    }

    fn collect<T>(
        &self,
        address: &str,
        port: u16,
        read: impl Fn(&KnownHostsFile, &str) -> Result<Vec<T>, Error>,
    ) -> Result<Vec<T>, Error> {
        let name = host_name(address, port);
        let mut all = Vec::new();
        for file in &self.files {
            all.extend(read(file, &name)?);
        }
        Ok(all)
    }

    /// Whether new keys are recorded.
    pub fn records_new_keys(&self) -> bool {
        self.record_in.is_some()
    }

    /// Records the key of a new host, if new keys are recorded. Returns the new status: another
    /// process may have recorded another key meanwhile.
    pub async fn add(
        &self,
        address: &str,
        port: u16,
        key: &PublicKey,
    ) -> Result<HostKeyStatus, Error> {
        let record_in = self.record_in.as_deref();
        let mut files = self.files.iter();
        match files.find(|file| Some(file.path()) == record_in) {
            Some(file) => file.add(&host_name(address, port), key, self.hash).await,
            None => Ok(HostKeyStatus::Known),
        }
    }
}

/// The line of a key in a list of revoked keys.
fn revoked_at(path: &Path, key: &PublicKey) -> Result<Option<usize>, Error> {
    let fail = |cause: String| {
        Error::local(Cause::KnownHosts {
            path: path.to_owned(),
            cause,
        })
    };
    let bytes = fs::read(path).map_err(|error| fail(plain(error)))?;
    let text = str::from_utf8(&bytes).map_err(|_| {
        fail(
            "binary key revocation lists (KRL) are not supported; list the keys as text".to_owned(),
        )
    })?;
    let found = text.lines().position(|line| {
        PublicKey::from_openssh(line.trim()).is_ok_and(|known| known.key_data() == key.key_data())
    });
    Ok(found.map(|at| at + 1))
}

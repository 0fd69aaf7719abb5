//! Which host has which key.
//!
//! Our own, because the helpers of the SSH library accept revoked keys, ignore patterns, take an
//! unreadable file for an empty one and compare comments.

mod file;

use std::path::PathBuf;

use file::{HostFile, host_name};
pub use file::{Verdict, wildcard};
use russh::keys::{Algorithm, PublicKey};

use super::Error;

/// The known_hosts files of a host. New keys are recorded in the first one.
#[derive(Debug)]
pub struct KnownHosts {
    files: Vec<HostFile>,
    /// Whether a host that is not on record is refused.
    pub strict: bool,
    hash: bool,
}

impl KnownHosts {
    /// These files; they need not exist. With `strict` no host is added (`StrictHostKeyChecking
    /// yes`); with `hash` names are recorded hashed (`HashKnownHosts`).
    pub fn new(files: impl IntoIterator<Item = PathBuf>, strict: bool, hash: bool) -> Self {
        KnownHosts {
            files: files.into_iter().map(HostFile::new).collect(),
            strict,
            hash,
        }
    }

    /// Where the files are.
    pub fn paths(&self) -> impl Iterator<Item = &std::path::Path> {
        self.files.iter().map(HostFile::path)
    }

    /// What the files say about the key that a host shows. A key that is revoked in one file is
    /// revoked; one that is known in one file is known.
    pub fn check(&self, address: &str, port: u16, key: &PublicKey) -> Result<Verdict, Error> {
        let name = host_name(address, port);
        let mut verdict = Verdict::New;
        for file in &self.files {
            match (file.check(&name, key)?, &verdict) {
                (revoked @ Verdict::Revoked { .. }, _) => return Ok(revoked),
                (Verdict::Known, _) => verdict = Verdict::Known,
                (changed @ Verdict::Changed { .. }, Verdict::New) => verdict = changed,
                (Verdict::Changed { .. } | Verdict::New, _) => {}
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

    /// Records a key for a host that has none on record. If another process was faster the file
    /// decides, so the verdict is given again.
    pub fn add(&self, address: &str, port: u16, key: &PublicKey) -> Result<Verdict, Error> {
        match self.files.first() {
            Some(file) => file.add(&host_name(address, port), key, self.hash),
            None => Ok(Verdict::Known),
        }
    }
}

//! The key pair of hitc.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use russh::keys::{self, Algorithm, PrivateKey, ssh_key::LineEnding};

use super::{Cause, Error};
use crate::{core::diagnostic::plain, project::make_private_folder};

/// A private key file and its public key.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The private key file, which only its owner can read.
    pub path: PathBuf,
    /// The public key as a line of `authorized_keys`.
    pub public: String,
}

impl KeyPair {
    /// Reads the key pair at `path`. Generates it if it is missing: Ed25519, no passphrase, mode 0600.
    ///
    /// Processes that generate it at the same time end up with the same key pair.
    pub fn ensure(path: &Path) -> Result<Self, Error> {
        let fail = |cause: String| key_error(path, cause);
        if !path.exists() {
            create(path).map_err(|error| fail(error.to_string()))?;
        }
        let private = load(path)?;
        let public = private
            .public_key()
            .to_openssh()
            .map_err(|error| fail(error.to_string()))?;
        Ok(KeyPair {
            path: path.to_owned(),
            public,
        })
    }
}

/// Writes a new key to a temporary file and links it to `path`, so that the file is always complete
/// and the first of two writers wins.
fn create(path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let folder = path.parent().unwrap_or(Path::new("."));
    make_private_folder(folder)?;
    let mut key = PrivateKey::random(&mut keys::key::safe_rng(), Algorithm::Ed25519)?;
    key.set_comment("hitc");
    let text = key.to_openssh(LineEnding::LF)?;
    let mut file = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Err(error) if error.error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(error.into());
        }
        Ok(_) | Err(_) => {}
    }
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .open(path.with_extension("pub"))?
        .write_all(format!("{}\n", load(path)?.public_key().to_openssh()?).as_bytes())?;
    Ok(())
}

fn load(path: &Path) -> Result<PrivateKey, Error> {
    keys::load_secret_key(path, None).map_err(|error| {
        let cause = match error {
            keys::Error::KeyIsEncrypted => "the key of hitc must not be encrypted".to_owned(),
            keys::Error::IO(error) => plain(error),
            other => format!("not a private key: {other}"),
        };
        key_error(path, cause)
    })
}

fn key_error(path: &Path, cause: String) -> Error {
    Error::local(Cause::Key {
        path: path.to_owned(),
        cause,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn generates_one_private_pair() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/id_ed25519");
        let first = KeyPair::ensure(&path).unwrap();
        let second = KeyPair::ensure(&path).unwrap();
        assert_eq!(first.public, second.public);
        assert!(first.public.starts_with("ssh-ed25519 "));
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_broken_key_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        fs::write(&path, "not a key").unwrap();
        let error = KeyPair::ensure(&path).unwrap_err().to_string();
        assert!(error.contains("not a private key"), "{error}");
    }
}

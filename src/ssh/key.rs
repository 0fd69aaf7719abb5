//! hitc's own key pair.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use russh::keys::{self, Algorithm, PrivateKey, ssh_key::LineEnding};

use super::Error;
use crate::{core::diagnostic::plain, project::make_private_folder};

/// A private key on disk and its public half.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The private key file, readable by its owner only.
    pub path: PathBuf,
    /// The public key as a line of `authorized_keys`.
    pub public: String,
}

impl KeyPair {
    /// The key pair at `path`, made if there is none: Ed25519, without a passphrase, mode 0600.
    ///
    /// Two processes that make it at the same time end up with the same one.
    pub fn ensure(path: &Path) -> Result<Self, Error> {
        let fail = |cause: String| Error::Key {
            path: path.to_owned(),
            cause,
        };
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

/// Writes a new key beside `path` and links it into place, so that the file is never half
/// written and the first of two writers wins.
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
    keys::load_secret_key(path, None).map_err(|error| Error::Key {
        path: path.to_owned(),
        cause: match error {
            keys::Error::KeyIsEncrypted => "hitc's own key is encrypted".to_owned(),
            keys::Error::IO(error) => plain(error),
            other => format!("not a private key: {other}"),
        },
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_pair_is_made_once_and_private() {
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
    fn a_broken_key_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        fs::write(&path, "not a key").unwrap();
        let error = KeyPair::ensure(&path).unwrap_err().to_string();
        assert!(error.contains("not a private key"), "{error}");
    }
}

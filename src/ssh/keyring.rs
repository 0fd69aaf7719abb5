//! The secrets of a run: private keys of files and agents, each read and unlocked once, and the
//! password for sudo.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use russh::keys::{
    self, Certificate, PrivateKey, PublicKey,
    agent::{AgentIdentity, client::AgentClient},
};
use tokio::sync::OnceCell;

use super::{Cause, Error};
use crate::core::{diagnostic::plain, event::Events, sync::lock};

/// A private key file.
#[derive(Clone, Debug)]
pub(super) struct KeyFile {
    pub public: PublicKey,
    /// None until it is decrypted.
    pub private: Option<Arc<PrivateKey>>,
}

type Loaded = Result<KeyFile, String>;
/// The keys of an agent, or why it cannot be used.
type Identities = Arc<Result<Vec<AgentIdentity>, String>>;

/// All secrets of a run.
pub(super) struct Keyring {
    events: Events,
    files: Mutex<HashMap<PathBuf, Loaded>>,
    agents: Mutex<HashMap<PathBuf, Arc<OnceCell<Identities>>>>,
    sudo_password: Option<String>,
    /// Held while the user is asked for a passphrase: one question at a time.
    asking: tokio::sync::Mutex<()>,
}

impl Keyring {
    /// Creates a keyring that asks for passphrases through `events`.
    pub fn new(events: Events, sudo_password: Option<String>) -> Self {
        Keyring {
            events,
            sudo_password,
            files: Mutex::default(),
            agents: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// The password for sudo.
    pub fn sudo_password(&self) -> Option<&str> {
        self.sudo_password.as_deref()
    }

    /// Reads a private key file, once. The error says what is wrong with it.
    pub fn file(&self, path: &Path) -> Loaded {
        lock(&self.files)
            .entry(path.to_owned())
            .or_insert_with(|| read(path))
            .clone()
    }

    /// Queries the keys of the agent at `socket`, once.
    pub async fn agent(&self, socket: &Path) -> Identities {
        let slot = lock(&self.agents)
            .entry(socket.to_owned())
            .or_default()
            .clone();
        let identities = slot.get_or_init(|| async { Arc::new(query_agent(socket).await) });
        identities.await.clone()
    }

    /// Asks the user for the passphrase of a key, once, and decrypts the key.
    pub async fn unlock(&self, path: &Path) -> Result<(), Error> {
        let _asking = self.asking.lock().await;
        if matches!(self.file(path), Ok(key) if key.private.is_some()) {
            // Decrypted for another host meanwhile.
            return Ok(());
        }
        let fail = |cause: String| {
            Error::local(Cause::Key {
                path: path.to_owned(),
                cause,
            })
        };
        let (events, file) = (self.events.clone(), path.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            let question = format!("Passphrase for the key {}: ", file.display());
            let passphrase = events.prompt(&question, true).map_err(|_| {
                "it is encrypted, and there is no terminal to ask for its passphrase; add it to an \
                 agent with `ssh-add`, or use another key with `--identity`"
                    .to_owned()
            })?;
            keys::load_secret_key(&file, Some(&passphrase))
                .map_err(|_| "wrong passphrase".to_owned())
        });
        let key = asked
            .await
            .map_err(|error| fail(error.to_string()))?
            .map_err(fail)?;
        let unlocked = KeyFile {
            public: key.public_key().clone(),
            private: Some(Arc::new(key)),
        };
        lock(&self.files).insert(path.to_owned(), Ok(unlocked));
        Ok(())
    }
}

async fn query_agent(socket: &Path) -> Result<Vec<AgentIdentity>, String> {
    let mut agent = AgentClient::connect_uds(socket)
        .await
        .map_err(|error| format!("agent at {}: {}", socket.display(), reason(&error)))?;
    agent
        .request_identities()
        .await
        .map_err(|error| format!("agent at {}: {}", socket.display(), reason(&error)))
}

fn reason(error: &keys::Error) -> String {
    match error {
        keys::Error::IO(error) => plain(error),
        other => other.to_string(),
    }
}

fn read(path: &Path) -> Loaded {
    let metadata = fs::metadata(path).map_err(plain)?;
    if metadata.is_dir() {
        return Err("is a folder".to_owned());
    }
    let key = match keys::load_secret_key(path, None) {
        Ok(key) => KeyFile {
            public: key.public_key().clone(),
            private: Some(Arc::new(key)),
        },
        Err(keys::Error::KeyIsEncrypted) => KeyFile {
            public: public_key_of_encrypted(path)?,
            private: None,
        },
        Err(keys::Error::IO(error)) => return Err(plain(error)),
        Err(other) => return Err(format!("not a private key: {other}")),
    };
    // As OpenSSH: rejects a key that other users can read, if the current user owns it.
    let is_own = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == metadata.uid());
    if is_own && metadata.mode() & 0o077 != 0 {
        return Err(format!(
            "other users can read it; run `chmod 600 {}`",
            path.display()
        ));
    }
    Ok(key)
}

/// Reads the public key of an encrypted private key: not encrypted in OpenSSH's own format, in a
/// `.pub` file for other formats.
fn public_key_of_encrypted(path: &Path) -> Result<PublicKey, String> {
    if let Ok(key) = PrivateKey::read_openssh_file(path) {
        return Ok(key.public_key().clone());
    }
    let public = with_suffix(path, ".pub");
    keys::load_public_key(&public).map_err(|_| {
        format!(
            "it is encrypted, and its public key is not in {}",
            public.display()
        )
    })
}

/// Reads the public key in a file, or in the file of the same name with `.pub` appended.
pub(super) fn public_key_of(path: &Path) -> Option<PublicKey> {
    let public = with_suffix(path, ".pub");
    keys::load_public_key(path)
        .or_else(|_| keys::load_public_key(public))
        .ok()
}

/// Reads the certificate next to a key file (`NAME-cert.pub`), if it exists.
pub(super) fn adjacent_certificate(path: &Path) -> Result<Option<Certificate>, String> {
    certificate(&with_suffix(path, "-cert.pub"))
}

/// Reads the certificate in a file; none if the file does not exist.
pub(super) fn certificate(path: &Path) -> Result<Option<Certificate>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("{}: {}", path.display(), plain(error))),
    };
    Certificate::from_openssh(&text)
        .map(Some)
        .map_err(|error| format!("{}: not a certificate: {error}", path.display()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// The advice to change permissions is only for private keys.
    #[test]
    fn other_files_are_not_private_keys() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()).unwrap_err(), "is a folder");
        let path = folder.path().join("passwd");
        fs::write(&path, "root:x:0:0\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = read(&path).unwrap_err();
        assert!(error.starts_with("not a private key: "), "{error}");
    }
}

//! The secrets of a run: the keys that we log in with, files and the agent's, each read and
//! unlocked once; and the password for sudo.

use std::{
    collections::HashMap,
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use russh::keys::{
    self, Certificate, PrivateKey, PublicKey,
    agent::{AgentIdentity, client::AgentClient},
};
use tokio::sync::OnceCell;

use super::Error;
use crate::core::{diagnostic::plain, event::Events};

/// A private key file.
#[derive(Clone, Debug)]
pub(super) struct KeyFile {
    pub public: PublicKey,
    /// None while it is encrypted.
    pub private: Option<Arc<PrivateKey>>,
}

type Loaded = Result<KeyFile, String>;
/// What the agent has, or why it cannot be asked.
type Identities = Arc<Result<Vec<AgentIdentity>, String>>;

/// All secrets of a run.
pub(super) struct Keyring {
    events: Events,
    files: Mutex<HashMap<PathBuf, Loaded>>,
    agents: Mutex<HashMap<PathBuf, Arc<OnceCell<Identities>>>>,
    sudo_password: Option<String>,
    /// One question at a time.
    asking: tokio::sync::Mutex<()>,
}

impl Keyring {
    pub fn new(events: Events, sudo_password: Option<String>) -> Self {
        Keyring {
            events,
            sudo_password,
            files: Mutex::default(),
            agents: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
        }
    }

    /// What sudo is told when it asks.
    pub fn sudo_password(&self) -> Option<&str> {
        self.sudo_password.as_deref()
    }

    /// A private key file. The error says what is wrong with it.
    pub fn file(&self, path: &Path) -> Loaded {
        lock(&self.files)
            .entry(path.to_owned())
            .or_insert_with(|| read(path))
            .clone()
    }

    /// What the agent that listens at `socket` has.
    pub async fn agent(&self, socket: &Path) -> Identities {
        let slot = lock(&self.agents)
            .entry(socket.to_owned())
            .or_default()
            .clone();
        let asked = slot.get_or_init(|| async { Arc::new(ask_agent(socket).await) });
        asked.await.clone()
    }

    /// Asks for the passphrase of a key, once, and unlocks it.
    pub async fn unlock(&self, path: &Path) -> Result<(), Error> {
        let _asking = self.asking.lock().await;
        if matches!(self.file(path), Ok(key) if key.private.is_some()) {
            // Another host needed it too.
            return Ok(());
        }
        let fail = |cause: String| Error::Key {
            path: path.to_owned(),
            cause,
        };
        let (events, file) = (self.events.clone(), path.to_owned());
        let asked = tokio::task::spawn_blocking(move || {
            let question = format!("Passphrase for the key {}: ", file.display());
            let passphrase = events.prompt(&question, true).map_err(|_| {
                "it is encrypted, and nobody is there to type its passphrase; add it to an agent \
                 (`ssh-add`) or name another with `--identity`"
                    .to_owned()
            })?;
            keys::load_secret_key(&file, Some(&passphrase))
                .map_err(|_| "the passphrase is wrong".to_owned())
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

async fn ask_agent(socket: &Path) -> Result<Vec<AgentIdentity>, String> {
    let mut agent = AgentClient::connect_uds(socket)
        .await
        .map_err(|error| format!("the agent at {}: {}", socket.display(), reason(&error)))?;
    agent
        .request_identities()
        .await
        .map_err(|error| format!("the agent at {}: {}", socket.display(), reason(&error)))
}

fn reason(error: &keys::Error) -> String {
    match error {
        keys::Error::IO(error) => plain(error),
        other => other.to_string(),
    }
}

fn read(path: &Path) -> Loaded {
    let metadata = fs::metadata(path).map_err(plain)?;
    // As OpenSSH: a key that others can read is not used. What is not ours is not our mistake.
    let is_ours = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == metadata.uid());
    if is_ours && metadata.mode() & 0o077 != 0 {
        return Err(format!(
            "others can read it; take that from them with `chmod 600 {}`",
            path.display()
        ));
    }
    match keys::load_secret_key(path, None) {
        Ok(key) => Ok(KeyFile {
            public: key.public_key().clone(),
            private: Some(Arc::new(key)),
        }),
        Err(keys::Error::KeyIsEncrypted) => Ok(KeyFile {
            public: public_half(path)?,
            private: None,
        }),
        Err(keys::Error::IO(error)) => Err(plain(error)),
        Err(other) => Err(format!("not a private key: {other}")),
    }
}

/// The public half of an encrypted key: it stands in clear in OpenSSH's own format, and beside
/// keys of other formats.
fn public_half(path: &Path) -> Result<PublicKey, String> {
    if let Ok(key) = PrivateKey::read_openssh_file(path) {
        return Ok(key.public_key().clone());
    }
    let beside = with_ending(path, ".pub");
    keys::load_public_key(&beside).map_err(|_| {
        format!(
            "it is encrypted, and its public half is not in {}",
            beside.display()
        )
    })
}

/// The public key in a file, or in the one with `.pub` beside it.
pub(super) fn public_of(path: &Path) -> Option<PublicKey> {
    let beside = with_ending(path, ".pub");
    keys::load_public_key(path)
        .or_else(|_| keys::load_public_key(beside))
        .ok()
}

/// The certificate that stands beside a key file, if there is one.
pub(super) fn certificate_beside(path: &Path) -> Result<Option<Certificate>, String> {
    certificate(&with_ending(path, "-cert.pub"))
}

/// The certificate in a file; none if it is not there.
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

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// A thread that died with the lock held has left a sound map behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

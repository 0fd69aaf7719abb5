//! One authenticated connection to a server.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use russh::{
    ChannelOpenFailure,
    client::{self, Handle, Handler},
    keys::{Algorithm, HashAlg, PrivateKeyWithHashAlg, PublicKey, PublicKeyOrCertificate},
};
use tokio::{
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, sleep, timeout},
};

use super::{
    Dialect, Error, HostKey, Target, Verdict,
    channel::{Drained, Stream},
    key,
};
use crate::diagnostic::plain;

/// sshd serves ten sessions on a connection (`MaxSessions` in sshd_config(5)); we keep below.
const SESSIONS: usize = 8;

/// How long to wait for a session where the server admits no more, and how often to ask.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
const SESSION_RETRY: Duration = Duration::from_millis(50);

/// After this long without a word from the server it is asked for one, three times; then the
/// connection counts as lost.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How many bytes a channel may send before we say that we have read them. Large, because every
/// channel is drained at once and a small window costs round trips.
const WINDOW: u32 = 8 * 1024 * 1024;

/// An authenticated connection. Channels on it are independent and may be used at once.
pub struct Connection {
    target: Target,
    handle: Arc<Handle<Checker>>,
    sessions: Arc<Semaphore>,
    learned: Learned,
}

/// The fingerprint of a host key that was not on record, until somebody is told.
type Learned = Arc<Mutex<Option<String>>>;

impl Connection {
    /// Connects, checks the host key, and logs in.
    pub async fn open(target: &Target) -> Result<Self, Error> {
        let limit = target.connect_timeout;
        let learned = Learned::default();
        let handle = timeout(limit, dial(target, learned.clone()))
            .await
            .map_err(|_| Error::NoAnswer {
                host: target.name.clone(),
                address: target.endpoint(),
                seconds: limit.as_secs(),
            })??;
        Ok(Connection {
            target: target.clone(),
            handle: Arc::new(handle),
            sessions: Arc::new(Semaphore::new(SESSIONS)),
            learned,
        })
    }

    /// Where it leads.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The fingerprint of the host key, if it was seen for the first time; once.
    pub fn take_learned(&self) -> Option<String> {
        lock(&self.learned).take()
    }

    /// Whether it has broken.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Opens a session channel; waits while as many are open as the server allows.
    pub(super) async fn session(&self) -> Result<Drained, Error> {
        let end = Instant::now() + SESSION_TIMEOUT;
        loop {
            let permit = self.sessions.clone().acquire_owned().await;
            let permit = permit.map_err(|_| self.lost("opening a channel"))?;
            let handle = self.handle.clone();
            // On its own: if nobody waits for it any more, the channel is closed and not lost.
            let opening = tokio::spawn(async move {
                let channel = handle.channel_open_session().await?;
                Ok(Drained::new(channel, Some(permit)))
            });
            match opening.await.map_err(|_| self.lost("opening a channel"))? {
                Ok(channel) => return Ok(channel),
                // A command that was given up may hold its session until it ends.
                Err(russh::Error::ChannelOpenFailure(_)) if Instant::now() < end => {
                    sleep(SESSION_RETRY).await;
                }
                Err(error) => return Err(self.not_opened(error, "a session")),
            }
        }
    }

    /// Opens a byte stream to something on the server.
    pub async fn stream(&self, to: &Dialect) -> Result<Stream, Error> {
        match to {
            Dialect::Socket(path) => {
                let channel = self
                    .handle
                    .channel_open_direct_streamlocal(path.clone())
                    .await
                    .map_err(|error| self.not_opened(error, &format!("the socket `{path}`")))?;
                Ok(Stream::new(Drained::new(channel, None), false))
            }
            Dialect::Command(command) => {
                let channel = self.session().await?;
                channel
                    .write
                    .exec(true, command.as_bytes())
                    .await
                    .map_err(|_| self.lost(command))?;
                Ok(Stream::new(channel, true))
            }
        }
    }

    /// Opens a TCP connection from the server to `address:port`.
    pub async fn dial(&self, address: &str, port: u16) -> Result<Stream, Error> {
        let channel = self
            .handle
            .channel_open_direct_tcpip(address, u32::from(port), "127.0.0.1", 0)
            .await
            .map_err(|error| self.not_opened(error, &format!("{address}:{port}")))?;
        Ok(Stream::new(Drained::new(channel, None), false))
    }

    /// The error for a connection that broke while `doing` something.
    pub fn lost(&self, doing: &str) -> Error {
        Error::Lost {
            host: self.target.name.clone(),
            doing: doing.to_owned(),
        }
    }

    fn not_opened(&self, error: russh::Error, what: &str) -> Error {
        match error {
            russh::Error::ChannelOpenFailure(reason) => Error::Refused {
                host: self.target.name.clone(),
                forbidden: matches!(reason, ChannelOpenFailure::AdministrativelyProhibited),
                what: match reason {
                    ChannelOpenFailure::AdministrativelyProhibited => {
                        format!("{what} (its configuration forbids it)")
                    }
                    ChannelOpenFailure::ResourceShortage => format!("{what} (too many are open)"),
                    _ => what.to_owned(),
                },
            },
            _ => self.lost(&format!("opening {what}")),
        }
    }
}

async fn dial(target: &Target, learned: Learned) -> Result<Handle<Checker>, Error> {
    let connect = |cause: String| Error::Connect {
        host: target.name.clone(),
        address: target.endpoint(),
        cause,
    };
    let addresses: Vec<_> = tokio::net::lookup_host((target.address.as_str(), target.port))
        .await
        .map_err(|error| Error::Resolve {
            host: target.name.clone(),
            address: target.address.clone(),
            cause: plain(&error),
        })?
        .collect();
    let socket = TcpStream::connect(addresses.as_slice())
        .await
        .map_err(|error| connect(plain(&error)))?;
    socket
        .set_nodelay(true)
        .map_err(|error| connect(plain(&error)))?;

    let mut config = client::Config {
        keepalive_interval: Some(KEEPALIVE),
        window_size: WINDOW,
        ..client::Config::default()
    };
    prefer_known_algorithms(&mut config, target)?;
    let checker = Checker(target.clone(), learned);
    let mut handle = client::connect_stream(Arc::new(config), socket, checker)
        .await
        .map_err(|refusal| match refusal {
            Refusal::HostKey(error) => *error,
            Refusal::Protocol(error) => connect(protocol(&error)),
        })?;
    log_in(&mut handle, target).await?;
    Ok(handle)
}

/// Puts the algorithms of the key on record first, so that the server shows that key.
fn prefer_known_algorithms(config: &mut client::Config, target: &Target) -> Result<(), Error> {
    let known = match &target.host_key {
        HostKey::Pinned(key) => vec![key.algorithm()],
        HostKey::KnownHosts(hosts) => hosts.algorithms(&target.address, target.port)?,
    };
    let rsa = |algorithm: &Algorithm| matches!(algorithm, Algorithm::Rsa { .. });
    let mut order = config.preferred.key.to_vec();
    // A stable sort: `rsa-sha2-512` and `rsa-sha2-256` keep their order.
    order.sort_by_key(|algorithm| {
        !known
            .iter()
            .any(|k| k == algorithm || (rsa(k) && rsa(algorithm)))
    });
    config.preferred.key = order.into();
    Ok(())
}

async fn log_in(handle: &mut Handle<Checker>, target: &Target) -> Result<(), Error> {
    let mut tried = Vec::new();
    for path in &target.identities {
        let key = key::load(path)?;
        let lost = |_| Error::Lost {
            host: target.name.clone(),
            doing: "logging in".to_owned(),
        };
        let hash = if key.algorithm().is_rsa() {
            handle
                .best_supported_rsa_hash()
                .await
                .map_err(lost)?
                .flatten()
        } else {
            None
        };
        let key = PrivateKeyWithHashAlg::new(key, hash);
        tried.push(path.display().to_string());
        let answer = handle
            .authenticate_publickey(&target.user, key)
            .await
            .map_err(lost)?;
        if answer.success() {
            return Ok(());
        }
    }
    Err(Error::Auth {
        host: target.name.clone(),
        user: target.user.clone(),
        address: target.endpoint(),
        tried: if tried.is_empty() {
            "there is none".to_owned()
        } else {
            tried.join(", ")
        },
    })
}

/// Checks the server's key while the connection is made.
struct Checker(Target, Learned);

/// A thread that died with the lock held has left a sound value behind.
fn lock(learned: &Learned) -> MutexGuard<'_, Option<String>> {
    learned.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Refusal {
    HostKey(Box<Error>),
    Protocol(russh::Error),
}

impl std::fmt::Debug for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::HostKey(error) => write!(f, "{error}"),
            Refusal::Protocol(error) => write!(f, "{error}"),
        }
    }
}

impl From<russh::Error> for Refusal {
    fn from(error: russh::Error) -> Self {
        Refusal::Protocol(error)
    }
}

impl Handler for Checker {
    type Error = Refusal;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, Refusal> {
        match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } => self
                .judge(key)
                .map(|()| true)
                .map_err(|error| Refusal::HostKey(Box::new(error))),
            // Never asked for, so never to be believed.
            PublicKeyOrCertificate::Certificate(_) => Ok(false),
        }
    }
}

impl Checker {
    fn judge(&self, key: &PublicKey) -> Result<(), Error> {
        let target = &self.0;
        let changed = |record: String| Error::HostKeyChanged {
            host: target.name.clone(),
            address: target.endpoint(),
            fingerprint: key.fingerprint(HashAlg::Sha256).to_string(),
            record,
        };
        match &target.host_key {
            HostKey::Pinned(known) if known.key_data() == key.key_data() => Ok(()),
            HostKey::Pinned(_) => Err(changed("the provider says so".to_owned())),
            HostKey::KnownHosts(hosts) => {
                let mut verdict = hosts.check(&target.address, target.port, key)?;
                if verdict == Verdict::New {
                    verdict = hosts.add(&target.address, target.port, key)?;
                    *lock(&self.1) = Some(key.fingerprint(HashAlg::Sha256).to_string());
                }
                let record = |line: usize| format!("{}:{line}", hosts.path().display());
                match verdict {
                    Verdict::Known | Verdict::New => Ok(()),
                    Verdict::Changed { line } => Err(changed(record(line))),
                    Verdict::Revoked { line } => Err(Error::HostKeyRevoked {
                        host: target.name.clone(),
                        address: target.endpoint(),
                        record: record(line),
                    }),
                }
            }
        }
    }
}

fn protocol(error: &russh::Error) -> String {
    match error {
        russh::Error::IO(error) => plain(error),
        russh::Error::HUP | russh::Error::Disconnect => {
            "the server hung up during the handshake".to_owned()
        }
        russh::Error::Version => "what answers does not speak SSH".to_owned(),
        other => other.to_string(),
    }
}

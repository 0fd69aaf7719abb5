//! One authenticated connection to a server.

use std::{
    future::Future,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use russh::{
    ChannelOpenFailure,
    client::{self, Handle},
    keys::Algorithm,
};
use tokio::{
    sync::Semaphore,
    task::JoinHandle,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    Error, HostKey, StreamTarget, Target,
    channel::{Drained, Stream},
    client::{Client, Refusal, protocol},
    dial::dial,
    early::{Early, EarlyChannel},
    host_key::NewHostKey,
    keyring::Keyring,
    login::{LoggedIn, log_in},
};
use crate::ssh::{server_facts::Noted, terminate::Terminations};

/// sshd serves ten sessions on a connection (`MaxSessions` in sshd_config(5)); we keep below.
const SESSIONS: usize = 8;

/// How long to wait for a session where the server admits no more, and how often to ask.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
const SESSION_RETRY: Duration = Duration::from_millis(50);

/// How long an early command may take to be sent after we were let in; the server says at once
/// what is waited for.
const EARLY: Duration = Duration::from_millis(100);

/// How many bytes a channel may send before we say that we have read them. Large, because every
/// channel is drained at once and a small window costs round trips.
const WINDOW: u32 = 8 * 1024 * 1024;

/// An authenticated connection. Channels on it are independent and may be used at once.
pub struct Connection {
    target: Target,
    pub(super) handle: Arc<Handle<Client>>,
    sessions: Arc<Semaphore>,
    pub(super) noted: Arc<Noted>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) endings: Terminations,
    /// A session that is opened before it is needed: the next command then takes one round trip
    /// instead of two.
    spare: Mutex<Option<JoinHandle<Option<Drained>>>>,
    /// How many commands it has run.
    commands: AtomicUsize,
    /// The server has no session to spare.
    without_spare: Arc<AtomicBool>,
    early: Mutex<Option<(String, Drained)>>,
}

/// How a try to connect ended that did not fail.
pub(super) enum Opened {
    Connection(Box<Connection>),
    /// The server wants this key, which is still encrypted.
    Locked(PathBuf),
}

impl Connection {
    /// Connects, checks the host key, and logs in. A command that reads nothing can be sent along;
    /// whoever runs the same line then finds it running.
    pub(super) async fn open(
        target: &Target,
        jump: Option<Arc<Connection>>,
        keyring: Arc<Keyring>,
        endings: Terminations,
        line: Option<&str>,
    ) -> Result<Opened, Error> {
        let noted = Arc::new(Noted::default());
        let (early, channel) = line.map(|line| Early::new(line.to_owned())).unzip();
        let opening = async {
            let mut handle = shake_hands(target, jump, &noted, early).await?;
            match log_in(&mut handle, target, &keyring).await? {
                LoggedIn::Yes => Ok((handle, None)),
                LoggedIn::Locked(path) => Ok((handle, Some(path))),
            }
        };
        let (handle, locked) = while_heard(&noted, target.connect_timeout, opening)
            .await
            .map_err(|waited| Error::NoAnswer {
                host: target.name.clone(),
                address: target.endpoint(),
                seconds: waited.as_secs(),
            })?
            .map_err(|error| with_reason(error, &noted))?;
        if let Some(path) = locked {
            return Ok(Opened::Locked(path));
        }
        let sessions = Arc::new(Semaphore::new(SESSIONS));
        let early = match (line, channel) {
            (Some(line), Some(channel)) => taken_up(channel, &sessions)
                .await
                .map(|channel| (line.to_owned(), channel)),
            _ => None,
        };
        Ok(Opened::Connection(Box::new(Connection {
            target: target.clone(),
            handle: Arc::new(handle),
            sessions,
            noted,
            keyring,
            endings,
            spare: Mutex::default(),
            commands: AtomicUsize::new(0),
            without_spare: Arc::default(),
            early: Mutex::new(early),
        })))
    }

    /// Where it leads.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The host key, if it was seen for the first time; once.
    pub fn take_new_host_key(&self) -> Option<NewHostKey> {
        self.noted.take_new_host_key()
    }

    /// Whether it has broken.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Resolves when it has broken.
    pub async fn closed(&self) {
        self.noted.gone().await;
    }

    /// The channel of a command that was sent along when the connection was made.
    pub(super) fn take_early(&self, line: &str) -> Option<Drained> {
        let mut early = lock(&self.early);
        if early.as_ref().is_some_and(|(sent, _)| sent == line) {
            early.take().map(|(_, channel)| channel)
        } else {
            None
        }
    }

    /// Opens a session channel; waits while as many are open as the server allows.
    pub(super) async fn session(&self) -> Result<Drained, Error> {
        let spare = lock(&self.spare).take();
        if let Some(spare) = spare
            && let Ok(Some(channel)) = spare.await
        {
            return Ok(channel);
        }
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

    /// Opens a session for the next command, if none is and the server has one to spare. Who has
    /// run one command only may need no other.
    pub(super) fn prepare_session(&self) {
        if self.commands.fetch_add(1, Ordering::Relaxed) == 0 {
            return;
        }
        let mut spare = lock(&self.spare);
        if spare.is_some() || self.without_spare.load(Ordering::Relaxed) || self.is_closed() {
            return;
        }
        let Ok(permit) = self.sessions.clone().try_acquire_owned() else {
            return;
        };
        let (handle, without) = (self.handle.clone(), self.without_spare.clone());
        *spare = Some(tokio::spawn(async move {
            match handle.channel_open_session().await {
                Ok(channel) => Some(Drained::new(channel, Some(permit))),
                Err(_) => {
                    without.store(true, Ordering::Relaxed);
                    None
                }
            }
        }));
    }

    /// Opens a byte stream to something on the server.
    pub async fn stream(&self, to: &StreamTarget) -> Result<Stream, Error> {
        match to {
            StreamTarget::Socket(path) => {
                let channel = self
                    .handle
                    .channel_open_direct_streamlocal(path.clone())
                    .await
                    .map_err(|error| self.not_opened(error, &format!("the socket `{path}`")))?;
                Ok(Stream::new(Drained::new(channel, None), false))
            }
            StreamTarget::Command(command) => Ok(Stream::new(self.begin(command).await?, true)),
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
        let error = Error::Lost {
            host: self.target.name.clone(),
            doing: doing.to_owned(),
        };
        with_reason(error, &self.noted)
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

/// The channel of the early command, if it was sent.
async fn taken_up(mut channel: EarlyChannel, sessions: &Arc<Semaphore>) -> Option<Drained> {
    match timeout(EARLY, &mut channel.begun).await {
        Ok(begun) => begun.ok()?,
        Err(_) => {
            channel.begun.close();
            // It may have been sent in this very moment.
            channel.begun.try_recv().ok()?;
        }
    }
    let permit = sessions.clone().try_acquire_owned().ok();
    Some(Drained::early(channel.messages, permit))
}

/// Waits for something that the other side takes part in, until nothing has come from there for
/// `limit`, or for six times that in all; gives how long that was. Where hundreds of servers share
/// a machine all of them are slow, and none is dead.
async fn while_heard<T>(
    noted: &Noted,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Result<T, Duration> {
    let begun = Instant::now();
    let mut future = pin!(future);
    loop {
        let end = noted.heard().unwrap_or(begun).min(begun + 5 * limit) + limit;
        if end <= Instant::now() {
            return Err(end - begun);
        }
        if let Ok(done) = timeout_at(end, &mut future).await {
            return Ok(done);
        }
    }
}

async fn shake_hands(
    target: &Target,
    jump: Option<Arc<Connection>>,
    noted: &Arc<Noted>,
    early: Option<Early>,
) -> Result<Handle<Client>, Error> {
    let wire = dial(target, jump, noted).await?;
    let mut config = client::Config {
        keepalive_interval: Some(target.keepalive),
        window_size: WINDOW,
        ..client::Config::default()
    };
    prefer_fast_ciphers(&mut config);
    prefer_known_algorithms(&mut config, target)?;
    let client = Client::new(target, noted.clone(), early);
    client::connect_stream(Arc::new(config), wire, client)
        .await
        .map_err(|refusal| match refusal {
            Refusal::HostKey(error) => *error,
            Refusal::Protocol(error) => Error::HungUp {
                host: target.name.clone(),
                address: target.endpoint(),
                cause: format!("{} during the handshake", protocol(&error)),
            },
        })
}

/// Puts AES with GCM first, which processors of today have instructions for: large files go faster
/// than with ChaCha20, which stays for servers that have nothing else.
fn prefer_fast_ciphers(config: &mut client::Config) {
    let mut order = config.preferred.cipher.to_vec();
    order.sort_by_key(|cipher| !cipher.as_ref().contains("gcm"));
    config.preferred.cipher = order.into();
}

/// Says why, if something on the way said so.
fn with_reason(error: Error, noted: &Noted) -> Error {
    match error {
        Error::HungUp {
            host,
            address,
            cause,
        } => Error::HungUp {
            host,
            address,
            cause: match noted.complaint() {
                Some(line) => format!("{cause}; ProxyCommand said: {line}"),
                None => cause,
            },
        },
        Error::Lost { host, doing } => Error::Lost {
            host,
            doing: match noted.reason() {
                Some(reason) if !reason.is_empty() => format!("{doing}: {reason}"),
                _ => doing,
            },
        },
        other => other,
    }
}

/// Puts the algorithms of the key on record first, so that the server shows that key. Where an
/// authority is on record, the server's certificate is asked for.
fn prefer_known_algorithms(config: &mut client::Config, target: &Target) -> Result<(), Error> {
    let (name, port) = target.host_name();
    let known = match &target.host_key {
        HostKey::Pinned(key) => vec![key.algorithm()],
        HostKey::KnownHosts { hosts, .. } => {
            if !hosts.authorities(name, port)?.is_empty() {
                config.preferred.host_key_certificates = config.preferred.key.clone();
            }
            hosts.algorithms(name, port)?
        }
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

/// A thread that died with the lock held has left a sound value behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

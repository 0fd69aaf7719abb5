//! One authenticated connection to a server, and its channels.

use std::{
    future::Future,
    path::PathBuf,
    pin::pin,
    sync::{
        Arc, Mutex,
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
    Cause, Endpoint, Error, HostKey, Target,
    channel::SpooledChannel,
    client::{ClientError, ClientHandler, describe},
    connection_state::ConnectionState,
    dial::dial,
    early_command::{EarlyChannel, EarlyCommand},
    host_key::NewHostKey,
    keyring::Keyring,
    login::{LoginOutcome, log_in},
    stream::Stream,
    target::Route,
    terminations::Terminations,
};
use crate::core::sync::lock;

/// How many sessions are open at the same time. sshd allows ten per connection (`MaxSessions` in
/// sshd_config(5)); two are left for sessions that the server has not closed yet.
const SESSIONS: usize = 8;

/// How long to wait for a session if the server allows fewer, and how often to try.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);
const SESSION_RETRY: Duration = Duration::from_millis(50);

/// How long to wait, after the login, until the early command is sent. OpenSSH announces its host
/// keys immediately, so a longer wait means that it does not.
const EARLY_TIMEOUT: Duration = Duration::from_millis(100);

/// The receive window of a channel, in bytes. Large, because the messages of every channel are
/// received immediately, and each window adjustment costs a round trip.
const WINDOW: u32 = 8 * 1024 * 1024;

/// An authenticated connection. Its channels are independent and can be used at the same time.
pub struct Connection {
    target: Target,
    pub(super) handle: Arc<Handle<ClientHandler>>,
    sessions: Arc<Semaphore>,
    pub(super) state: Arc<ConnectionState>,
    pub(super) keyring: Arc<Keyring>,
    pub(super) terminations: Terminations,
    /// A session that is opened in advance, so that the next command takes one round trip instead
    /// of two.
    spare: Mutex<Option<JoinHandle<Option<SpooledChannel>>>>,
    /// How many commands were run.
    commands: AtomicUsize,
    /// The server refused a spare session.
    spare_refused: Arc<AtomicBool>,
    /// The line and the channel of the early command.
    early: Mutex<Option<(String, SpooledChannel)>>,
    /// The connection to the jump host, which must stay open.
    _jump: Option<Arc<Connection>>,
}

/// The result of an attempt to connect that did not fail.
pub(super) enum OpenOutcome {
    Connected(Box<Connection>),
    /// The server accepts this private key, which is still encrypted.
    KeyLocked(PathBuf),
}

impl Connection {
    /// Connects, verifies the host key, and logs in.
    ///
    /// An `early_line` is a command without input that is sent in the moment in which the server
    /// accepts the login. [`Connection::take_early`] then returns its channel.
    pub(super) async fn open(
        target: &Target,
        jump: Option<Arc<Connection>>,
        keyring: Arc<Keyring>,
        terminations: Terminations,
        early_line: Option<&str>,
    ) -> Result<OpenOutcome, Error> {
        let state = Arc::new(ConnectionState::default());
        let (early, channel) = early_line
            .map(|line| EarlyCommand::new(line.to_owned()))
            .unzip();
        let opening = async {
            let mut handle = handshake(target, jump.as_deref(), &state, early).await?;
            match log_in(&mut handle, target, &keyring).await? {
                LoginOutcome::LoggedIn => Ok((handle, None)),
                LoginOutcome::KeyLocked(path) => Ok((handle, Some(path))),
            }
        };
        let opened = timeout_if_silent(&state, target.connect_timeout, opening)
            .await
            .map_err(|waited| {
                target.error(Cause::NoAnswer {
                    address: target.endpoint(),
                    seconds: waited.as_secs(),
                })
            })?;
        let (handle, locked) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                if let Route::ProxyCommand(_) = target.route {
                    state.wait_for_proxy_error().await;
                }
                return Err(add_reason(error, &state));
            }
        };
        if let Some(path) = locked {
            return Ok(OpenOutcome::KeyLocked(path));
        }
        let sessions = Arc::new(Semaphore::new(SESSIONS));
        let early = match (early_line, channel) {
            (Some(line), Some(channel)) => early_session(channel, &sessions)
                .await
                .map(|channel| (line.to_owned(), channel)),
            _ => None,
        };
        Ok(OpenOutcome::Connected(Box::new(Connection {
            target: target.clone(),
            handle: Arc::new(handle),
            sessions,
            state,
            keyring,
            terminations,
            spare: Mutex::default(),
            commands: AtomicUsize::new(0),
            spare_refused: Arc::default(),
            early: Mutex::new(early),
            _jump: jump,
        })))
    }

    /// The server and how it was reached.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Takes the host key if it was seen for the first time, so that it is reported only once.
    pub fn take_new_host_key(&self) -> Option<NewHostKey> {
        self.state.take_new_host_key()
    }

    /// Whether the connection is closed.
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Resolves when the connection is closed.
    pub async fn closed(&self) {
        self.state.closed().await;
    }

    /// Takes the channel of the early command, if this line was sent as one.
    pub(super) fn take_early(&self, line: &str) -> Option<SpooledChannel> {
        let mut early = lock(&self.early);
        if early.as_ref().is_some_and(|(sent, _)| sent == line) {
            early.take().map(|(_, channel)| channel)
        } else {
            None
        }
    }

    /// Opens a session channel. Waits while as many are open as the server allows.
    pub(super) async fn open_session(&self) -> Result<SpooledChannel, Error> {
        let spare = lock(&self.spare).take();
        if let Some(spare) = spare
            && let Ok(Some(channel)) = spare.await
        {
            return Ok(channel.begin());
        }
        let end = Instant::now() + SESSION_TIMEOUT;
        loop {
            let permit = self.sessions.clone().acquire_owned().await;
            let permit = permit.map_err(|_| self.lost("opening a channel"))?;
            let handle = self.handle.clone();
            // In a task of its own: if this future is dropped, the channel is still closed.
            let opening = tokio::spawn(async move {
                let channel = handle.channel_open_session().await?;
                Ok(SpooledChannel::new(channel, Some(permit)))
            });
            match opening.await.map_err(|_| self.lost("opening a channel"))? {
                Ok(channel) => return Ok(channel),
                // An abandoned command keeps its session until it ends.
                Err(russh::Error::ChannelOpenFailure(_)) if Instant::now() < end => {
                    sleep(SESSION_RETRY).await;
                }
                Err(error) => return Err(self.channel_error(error, "a session")),
            }
        }
    }

    /// Opens a spare session for the next command, unless there is one or the server refuses it.
    /// Does nothing after the first command, which may be the only one.
    pub(super) fn open_spare_session(&self) {
        if self.commands.fetch_add(1, Ordering::Relaxed) == 0 {
            return;
        }
        let mut spare = lock(&self.spare);
        if spare.is_some() || self.spare_refused.load(Ordering::Relaxed) || self.is_closed() {
            return;
        }
        let Ok(permit) = self.sessions.clone().try_acquire_owned() else {
            return;
        };
        let (handle, refused) = (self.handle.clone(), self.spare_refused.clone());
        *spare = Some(tokio::spawn(async move {
            match handle.channel_open_session().await {
                Ok(channel) => Some(SpooledChannel::unused(channel, permit)),
                Err(_) => {
                    refused.store(true, Ordering::Relaxed);
                    None
                }
            }
        }));
    }

    /// Opens a TCP connection from the server, or a connection to a Unix socket on it.
    pub async fn dial(&self, to: &Endpoint) -> Result<Stream, Error> {
        let handle = &self.handle;
        let channel = match to {
            Endpoint::Tcp(host, port) => {
                handle
                    .channel_open_direct_tcpip(host, u32::from(*port), "127.0.0.1", 0)
                    .await
            }
            Endpoint::Unix(path) => handle.channel_open_direct_streamlocal(path).await,
        };
        let channel = channel.map_err(|error| {
            let what = match to {
                Endpoint::Tcp(..) => to.to_string(),
                Endpoint::Unix(path) => format!("the socket `{path}`"),
            };
            self.channel_error(error, &what)
        })?;
        Ok(Stream::of_socket(SpooledChannel::new(channel, None)))
    }

    /// Creates the error for a connection that broke while `doing` something.
    pub fn lost(&self, doing: &str) -> Error {
        let doing = doing.to_owned();
        add_reason(self.target.error(Cause::Lost { doing }), &self.state)
    }

    fn channel_error(&self, error: russh::Error, what: &str) -> Error {
        match error {
            russh::Error::ChannelOpenFailure(reason) => self.target.error(Cause::Refused {
                is_forbidden: matches!(reason, ChannelOpenFailure::AdministrativelyProhibited),
                what: match reason {
                    ChannelOpenFailure::AdministrativelyProhibited => {
                        format!("{what} (forbidden by its configuration)")
                    }
                    ChannelOpenFailure::ResourceShortage => {
                        format!("{what} (too many channels are open)")
                    }
                    _ => what.to_owned(),
                },
            }),
            _ => self.lost(&format!("opening {what}")),
        }
    }
}

/// Returns the channel of the early command if the command was sent.
async fn early_session(
    mut channel: EarlyChannel,
    sessions: &Arc<Semaphore>,
) -> Option<SpooledChannel> {
    match timeout(EARLY_TIMEOUT, &mut channel.sent).await {
        Ok(sent) => sent.ok()?,
        Err(_) => {
            channel.sent.close();
            // It may have been sent between the timeout and the closing.
            channel.sent.try_recv().ok()?;
        }
    }
    let permit = sessions.clone().try_acquire_owned().ok();
    Some(SpooledChannel::read_only(channel.messages, permit))
}

/// Waits for a future, until the server was silent for `limit`, or for six times `limit` in total.
/// Returns the time that it waited if that is exceeded.
///
/// Silence distinguishes a dead server from a slow one: if hundreds of servers share a machine, all
/// of them are slow.
async fn timeout_if_silent<T>(
    state: &ConnectionState,
    limit: Duration,
    future: impl Future<Output = T>,
) -> Result<T, Duration> {
    let started = Instant::now();
    let mut future = pin!(future);
    loop {
        let last_activity = state.last_activity().unwrap_or(started);
        let end = last_activity.min(started + 5 * limit) + limit;
        if end <= Instant::now() {
            return Err(end - started);
        }
        if let Ok(done) = timeout_at(end, &mut future).await {
            return Ok(done);
        }
    }
}

/// Opens the transport, and exchanges keys.
async fn handshake(
    target: &Target,
    jump: Option<&Connection>,
    state: &Arc<ConnectionState>,
    early: Option<EarlyCommand>,
) -> Result<Handle<ClientHandler>, Error> {
    let tunnel = match jump {
        Some(jump) => {
            let server = Endpoint::Tcp(target.address.clone(), target.port);
            let stream = jump.dial(&server).await;
            Some(stream.map_err(|error| {
                let jump = &jump.target.name;
                target.error(Cause::Connect {
                    address: target.endpoint(),
                    cause: format!("not reachable through `{jump}`: {error}"),
                })
            })?)
        }
        None => None,
    };
    let transport = dial(target, tunnel, state).await?;
    let mut config = client::Config {
        keepalive_interval: Some(target.keepalive),
        window_size: WINDOW,
        ..client::Config::default()
    };
    prefer_fast_ciphers(&mut config);
    prefer_known_algorithms(&mut config, target)?;
    let handler = ClientHandler::new(target, state.clone(), early);
    client::connect_stream(Arc::new(config), transport, handler)
        .await
        .map_err(|error| match error {
            ClientError::HostKey(error) => *error,
            ClientError::Protocol(error) => target.error(Cause::Handshake {
                address: target.endpoint(),
                cause: format!("{} during the handshake", describe(&error)),
            }),
        })
}

/// Prefers AES-GCM, which current processors have instructions for: large files transfer faster than
/// with ChaCha20, which remains for servers without AES-GCM.
fn prefer_fast_ciphers(config: &mut client::Config) {
    let mut order = config.preferred.cipher.to_vec();
    order.sort_by_key(|cipher| !cipher.as_ref().contains("gcm"));
    config.preferred.cipher = order.into();
}

/// Adds the reason to an error, if the server or a ProxyCommand gave one.
fn add_reason(mut error: Error, state: &ConnectionState) -> Error {
    match &mut error.cause {
        Cause::Handshake { cause, .. } => {
            if let Some(line) = state.proxy_error() {
                *cause = format!("{cause}; ProxyCommand said: {line}");
            }
        }
        Cause::Lost { doing } => {
            let reason = state.disconnect_reason();
            if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
                *doing = format!("{doing}: {reason}");
            }
        }
        _ => {}
    }
    error
}

/// Prefers the algorithms of the recorded host keys, so that the server presents a recorded key.
/// Requests a certificate if a certificate authority is recorded for the host.
fn prefer_known_algorithms(config: &mut client::Config, target: &Target) -> Result<(), Error> {
    let (name, port) = target.known_hosts_name();
    let known = match &target.host_key {
        HostKey::Pinned(key) => vec![key.algorithm()],
        HostKey::KnownHosts { hosts, .. } => {
            if !hosts.authorities(name, port)?.is_empty() {
                config.preferred.host_key_certificates = config.preferred.key.clone();
            }
            hosts.algorithms(name, port)?
        }
    };
    let is_rsa = |algorithm: &Algorithm| matches!(algorithm, Algorithm::Rsa { .. });
    let mut order = config.preferred.key.to_vec();
    // The sort is stable: `rsa-sha2-512` stays before `rsa-sha2-256`.
    order.sort_by_key(|algorithm| {
        !known
            .iter()
            .any(|k| k == algorithm || (is_rsa(k) && is_rsa(algorithm)))
    });
    config.preferred.key = order.into();
    Ok(())
}

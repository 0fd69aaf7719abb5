//! Our side of a connection: what is done when the server says something by itself.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use russh::{
    Channel, ChannelId, ChannelMsg, ChannelOpenFailure, Sig,
    client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session},
    keys::{
        Certificate, HashAlg, PublicKey, PublicKeyOrCertificate, ssh_key::certificate::CertType,
    },
};
use tokio::{
    net::UnixStream,
    sync::{mpsc, oneshot},
};

use super::{
    Error, HostKey, Target, Verdict,
    channel::{Drained, Stream},
};
use crate::diagnostic::plain;

/// How OpenSSH introduces itself. Its first channel has the number 0, so that it can be used
/// before the server has said so.
const OPENSSH: &[u8] = b"SSH-2.0-OpenSSH_";

/// How many messages of the early channel wait before the connection does; they are taken at
/// once.
const EARLY_MESSAGES: usize = 100;

/// What the connection learns while it lasts.
#[derive(Default)]
pub(super) struct Noted {
    /// The fingerprint of a host key that was not on record, until somebody is told.
    learned: Mutex<Option<String>>,
    /// The key that the server has shown, and that was accepted.
    shown: Mutex<Option<PublicKey>>,
    /// Why the server hung up.
    reason: Mutex<Option<String>>,
    /// Who is given the connections to a forwarded address.
    forwards: Mutex<HashMap<String, mpsc::UnboundedSender<Channel<Msg>>>>,
}

impl Noted {
    pub fn take_learned(&self) -> Option<String> {
        lock(&self.learned).take()
    }

    pub fn shown(&self) -> Option<PublicKey> {
        lock(&self.shown).clone()
    }

    pub fn reason(&self) -> Option<String> {
        lock(&self.reason).clone()
    }

    /// From now on, connections to this address of the server come out of the receiver.
    pub fn forward(&self, address: &str) -> mpsc::UnboundedReceiver<Channel<Msg>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        lock(&self.forwards).insert(address.to_owned(), sender);
        receiver
    }
}

/// A command that is sent along with the opening of its channel, in the moment in which we are
/// let in: a round trip is saved.
pub(super) struct Early {
    line: String,
    begun: oneshot::Sender<()>,
    messages: mpsc::Sender<ChannelMsg>,
}

/// The other side of [`Early`].
pub(super) struct EarlyChannel {
    /// Resolves when the command was sent.
    pub begun: oneshot::Receiver<()>,
    pub messages: mpsc::Receiver<ChannelMsg>,
}

impl Early {
    pub fn new(line: String) -> (Self, EarlyChannel) {
        let (begun, when_begun) = oneshot::channel();
        let (sender, messages) = mpsc::channel(EARLY_MESSAGES);
        let early = Early {
            line,
            begun,
            messages: sender,
        };
        let channel = EarlyChannel {
            begun: when_begun,
            messages,
        };
        (early, channel)
    }
}

pub(super) struct Client {
    target: Target,
    noted: std::sync::Arc<Noted>,
    agent: Option<PathBuf>,
    waiting: Option<Early>,
    early: Option<(ChannelId, mpsc::Sender<ChannelMsg>)>,
}

/// Why a connection is not made, or ends.
pub(super) enum Refusal {
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

impl Client {
    pub fn new(target: &Target, noted: std::sync::Arc<Noted>, early: Option<Early>) -> Self {
        Client {
            target: target.clone(),
            noted,
            agent: target.agent.clone().filter(|_| target.forward_agent),
            waiting: early,
            early: None,
        }
    }

    fn judge(&self, key: &PublicKey) -> Result<(), Error> {
        let target = &self.target;
        let fingerprint = || key.fingerprint(HashAlg::Sha256).to_string();
        let changed = |record: String| Error::HostKeyChanged {
            host: target.name.clone(),
            address: target.known_as(),
            fingerprint: fingerprint(),
            record,
        };
        match &target.host_key {
            HostKey::Pinned(known) if known.key_data() == key.key_data() => Ok(()),
            HostKey::Pinned(_) => Err(changed("the provider says so".to_owned())),
            HostKey::KnownHosts { hosts, .. } => {
                let (name, port) = target.host_name();
                let mut verdict = hosts.check(name, port, key)?;
                if verdict == Verdict::New {
                    if hosts.strict {
                        return Err(Error::HostKeyUnknown {
                            host: target.name.clone(),
                            address: target.known_as(),
                            fingerprint: fingerprint(),
                        });
                    }
                    verdict = hosts.add(name, port, key)?;
                    *lock(&self.noted.learned) = Some(fingerprint());
                }
                match verdict {
                    Verdict::Known | Verdict::New => Ok(()),
                    Verdict::Changed { record } => Err(changed(record)),
                    Verdict::Revoked { record } => Err(Error::HostKeyRevoked {
                        host: target.name.clone(),
                        address: target.known_as(),
                        record,
                    }),
                }
            }
        }
    }

    /// A host's certificate counts if an authority on record signed it for this name, and it is
    /// in force.
    fn judge_certificate(&self, certificate: &Certificate) -> Result<(), Error> {
        let target = &self.target;
        let fail = |cause: &str| Error::Connect {
            host: target.name.clone(),
            address: target.endpoint(),
            cause: format!("its host certificate does not count: {cause}"),
        };
        let HostKey::KnownHosts { hosts, .. } = &target.host_key else {
            return Err(fail("nobody asked for one"));
        };
        let (name, port) = target.host_name();
        let authorities = hosts.authorities(name, port)?;
        let fingerprints: Vec<_> = authorities
            .iter()
            .map(|key| key.fingerprint(HashAlg::Sha256))
            .collect();
        // The authority itself may be revoked, and so may the key.
        for key in [certificate.signature_key(), certificate.public_key()] {
            let key = PublicKey::from(key.clone());
            if let Verdict::Revoked { record } = hosts.check(name, port, &key)? {
                return Err(Error::HostKeyRevoked {
                    host: target.name.clone(),
                    address: target.known_as(),
                    record,
                });
            }
        }
        if certificate.cert_type() != CertType::Host {
            return Err(fail("it is a user's"));
        }
        if !certificate.critical_options().is_empty() {
            return Err(fail("it has options that are not understood"));
        }
        let is_ours = |principal: &String| principal.eq_ignore_ascii_case(name);
        if !certificate.valid_principals().iter().any(is_ours) {
            return Err(fail(&format!("it is not for `{name}`")));
        }
        certificate
            .validate(&fingerprints)
            .map_err(|error| fail(&error.to_string()))
    }

    async fn pass_on(&self, channel: ChannelId, message: ChannelMsg) {
        if let Some((id, messages)) = &self.early
            && *id == channel
        {
            // Whoever does not listen any more has no use for it.
            let _ = messages.send(message).await;
        }
    }

    async fn hand_over(&self, address: &str, channel: Channel<Msg>, reply: ChannelOpenHandle) {
        let listener = lock(&self.noted.forwards).get(address).cloned();
        match listener {
            Some(listener) if !listener.is_closed() => {
                reply.accept().await;
                let _ = listener.send(channel);
            }
            _ => refuse(reply).await,
        }
    }
}

/// Nobody asked for such a channel.
async fn refuse(reply: ChannelOpenHandle) {
    reply
        .reject(ChannelOpenFailure::AdministrativelyProhibited)
        .await;
}

impl Handler for Client {
    type Error = Refusal;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, Refusal> {
        match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } => self.judge(key).inspect(|()| {
                *lock(&self.noted.shown) = Some(key.clone());
            }),
            PublicKeyOrCertificate::Certificate(certificate) => self.judge_certificate(certificate),
        }
        .map(|()| true)
        .map_err(|error| Refusal::HostKey(Box::new(error)))
    }

    /// OpenSSH announces its keys as soon as it has let us in.
    async fn openssh_ext_host_keys_announced(
        &mut self,
        _: Vec<PublicKey>,
        session: &mut Session,
    ) -> Result<(), Refusal> {
        let Some(early) = self.waiting.take() else {
            return Ok(());
        };
        // Whoever waits no longer sends it by itself.
        if !session.remote_sshid().starts_with(OPENSSH) || early.begun.send(()).is_err() {
            return Ok(());
        }
        let id = session.channel_open_session()?;
        if self.agent.is_some() {
            session.agent_forward(id, false)?;
        }
        session.exec(id, true, early.line.as_bytes())?;
        session.eof(id)?;
        self.early = Some((id, early.messages));
        Ok(())
    }

    async fn channel_open_failure(
        &mut self,
        channel: ChannelId,
        reason: ChannelOpenFailure,
        _: &str,
        _: &str,
        _: &mut Session,
    ) -> Result<(), Refusal> {
        self.pass_on(channel, ChannelMsg::OpenFailure(reason)).await;
        Ok(())
    }

    async fn channel_failure(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), Refusal> {
        self.pass_on(channel, ChannelMsg::Failure).await;
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), Refusal> {
        if self.early.is_some() {
            let data = data.to_vec().into();
            self.pass_on(channel, ChannelMsg::Data { data }).await;
        }
        Ok(())
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        ext: u32,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), Refusal> {
        if self.early.is_some() {
            let data = data.to_vec().into();
            self.pass_on(channel, ChannelMsg::ExtendedData { data, ext })
                .await;
        }
        Ok(())
    }

    async fn exit_status(
        &mut self,
        channel: ChannelId,
        exit_status: u32,
        _: &mut Session,
    ) -> Result<(), Refusal> {
        self.pass_on(channel, ChannelMsg::ExitStatus { exit_status })
            .await;
        Ok(())
    }

    async fn exit_signal(
        &mut self,
        channel: ChannelId,
        signal_name: Sig,
        core_dumped: bool,
        error_message: &str,
        lang_tag: &str,
        _: &mut Session,
    ) -> Result<(), Refusal> {
        let message = ChannelMsg::ExitSignal {
            signal_name,
            core_dumped,
            error_message: error_message.to_owned(),
            lang_tag: lang_tag.to_owned(),
        };
        self.pass_on(channel, message).await;
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _: &mut Session) -> Result<(), Refusal> {
        if matches!(&self.early, Some((id, _)) if *id == channel) {
            self.early = None;
        }
        Ok(())
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        connected_address: &str,
        connected_port: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Refusal> {
        let address = format!("{connected_address}:{connected_port}");
        self.hand_over(&address, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        socket_path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Refusal> {
        self.hand_over(socket_path, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Refusal> {
        let Some(socket) = self.agent.clone() else {
            refuse(reply).await;
            return Ok(());
        };
        match UnixStream::connect(socket).await {
            Ok(mut agent) => {
                reply.accept().await;
                tokio::spawn(async move {
                    let mut stream = Stream::new(Drained::new(channel, None), false);
                    // Either side may hang up at any time.
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut agent).await;
                });
            }
            Err(_) => refuse(reply).await,
        }
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Refusal> {
        refuse(reply).await;
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Refusal> {
        refuse(reply).await;
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Refusal> {
        refuse(reply).await;
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Refusal> {
        refuse(reply).await;
        Ok(())
    }

    async fn disconnected(&mut self, reason: DisconnectReason<Refusal>) -> Result<(), Refusal> {
        // Nobody hears of the rest of the early command.
        self.early = None;
        self.waiting = None;
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                *lock(&self.noted.reason) = Some(info.message);
                Ok(())
            }
            DisconnectReason::Error(error) => {
                if let Refusal::Protocol(error) = &error {
                    *lock(&self.noted.reason) = Some(protocol(error));
                }
                Err(error)
            }
        }
    }
}

/// What the SSH library says, in words.
pub(super) fn protocol(error: &russh::Error) -> String {
    match error {
        russh::Error::IO(error) => plain(error),
        russh::Error::HUP | russh::Error::Disconnect => "the server hung up".to_owned(),
        russh::Error::Version => "what answers does not speak SSH".to_owned(),
        russh::Error::KeepaliveTimeout => "the server does not answer any more".to_owned(),
        other => other.to_string(),
    }
}

/// A thread that died with the lock held has left a sound value behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

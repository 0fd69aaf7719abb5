//! Our side of a connection: what is done when the server says something by itself.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use russh::{
    Channel, ChannelId, ChannelMsg, ChannelOpenFailure, Sig,
    client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session},
    keys::{PublicKey, PublicKeyOrCertificate},
};
use tokio::{net::UnixStream, sync::mpsc, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Error, Target,
    channel::{Drained, Stream},
    early::Early,
    host_key::{Learned, judge, judge_certificate},
};
use crate::diagnostic::plain;

/// How OpenSSH introduces itself. Its first channel has the number 0, so that it can be used
/// before the server has said so.
const OPENSSH: &[u8] = b"SSH-2.0-OpenSSH_";

/// What the connection learns while it lasts.
#[derive(Default)]
pub(super) struct Noted {
    /// A host key that was not on record, until somebody is told.
    learned: Mutex<Option<Learned>>,
    /// The key that the server has shown, and that was accepted.
    shown: Mutex<Option<PublicKey>>,
    /// Cancelled when the connection is gone.
    gone: CancellationToken,
    /// Why the server hung up.
    reason: Mutex<Option<String>>,
    /// When something last came from there.
    heard: Mutex<Option<Instant>>,
    /// The last line that a proxy command complained with.
    complaint: Mutex<Option<String>>,
    /// Who is given the connections to a forwarded address.
    forwards: Mutex<HashMap<String, mpsc::UnboundedSender<Channel<Msg>>>>,
}

impl Noted {
    pub fn take_learned(&self) -> Option<Learned> {
        lock(&self.learned).take()
    }

    pub fn shown(&self) -> Option<PublicKey> {
        lock(&self.shown).clone()
    }

    /// Resolves when the connection is gone.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }

    pub fn reason(&self) -> Option<String> {
        lock(&self.reason).clone()
    }

    /// When something last came from there, if it did.
    pub fn heard(&self) -> Option<Instant> {
        *lock(&self.heard)
    }

    pub fn hear(&self) {
        *lock(&self.heard) = Some(Instant::now());
    }

    pub fn complaint(&self) -> Option<String> {
        lock(&self.complaint).clone()
    }

    pub fn complain(&self, line: String) {
        *lock(&self.complaint) = Some(line);
    }

    /// From now on, connections to this address of the server come out of the receiver.
    pub fn forward(&self, address: &str) -> mpsc::UnboundedReceiver<Channel<Msg>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        lock(&self.forwards).insert(address.to_owned(), sender);
        receiver
    }
}

pub(super) struct Client {
    target: Target,
    noted: Arc<Noted>,
    agent: Option<PathBuf>,
    waiting: Option<Early>,
    early: Option<(ChannelId, mpsc::Sender<ChannelMsg>)>,
    /// It lives as long as the connection.
    _gone: DropGuard,
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
    pub fn new(target: &Target, noted: Arc<Noted>, early: Option<Early>) -> Self {
        Client {
            target: target.clone(),
            _gone: noted.gone.clone().drop_guard(),
            noted,
            agent: target.agent.clone().filter(|_| target.forward_agent),
            waiting: early,
            early: None,
        }
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
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                judge(&self.target, key).map(|learned| {
                    *lock(&self.noted.learned) = learned;
                    *lock(&self.noted.shown) = Some(key.clone());
                })
            }
            PublicKeyOrCertificate::Certificate(certificate) => {
                judge_certificate(&self.target, certificate)
            }
        }
        .map(|()| true)
        .map_err(|error| Refusal::HostKey(Box::new(error)))
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        _: &russh::Names,
        session: &mut Session,
    ) -> Result<(), Refusal> {
        // Nobody else says when we are let in; whoever waits for that need not.
        if !session.remote_sshid().starts_with(OPENSSH) {
            self.waiting = None;
        }
        Ok(())
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
        if early.begun.send(()).is_err() {
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

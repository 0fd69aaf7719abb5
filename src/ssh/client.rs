//! Our side of a connection: what is done when the server says something by itself.

use std::{path::PathBuf, sync::Arc};

use russh::{
    Channel, ChannelId, ChannelMsg, ChannelOpenFailure, Sig,
    client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session},
    keys::{PublicKey, PublicKeyOrCertificate},
};
use tokio::{net::UnixStream, sync::mpsc};
use tokio_util::sync::DropGuard;

use super::{
    Error, Target,
    channel::{Drained, Stream},
    early::Early,
    host_key::{judge, judge_certificate},
};
use crate::{core::diagnostic::plain, ssh::server_facts::Noted};

/// How OpenSSH introduces itself. Its first channel has the number 0, so that it can be used
/// before the server has said so.
const OPENSSH: &[u8] = b"SSH-2.0-OpenSSH_";

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
            _gone: noted.gone_guard(),
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
        let listener = self.noted.listener(address);
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
                judge(&self.target, key).map(|learned| self.noted.accept(key, learned))
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
                self.noted.hung_up(info.message);
                Ok(())
            }
            DisconnectReason::Error(error) => {
                if let Refusal::Protocol(error) = &error {
                    self.noted.hung_up(protocol(error));
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

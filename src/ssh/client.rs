//! The client side of a connection: russh calls this handler when the server sends something that was
//! not requested, such as its host key or a forwarded connection.

use std::{path::PathBuf, sync::Arc};

use russh::{
    Channel, ChannelId, ChannelMsg, ChannelOpenFailure, Sig,
    client::{ChannelOpenHandle, DisconnectReason, Handler, Msg, Session},
    keys::{PublicKey, PublicKeyOrCertificate},
};
use tokio::{
    net::UnixStream,
    sync::{Semaphore, mpsc},
};
use tokio_util::sync::DropGuard;

use super::{
    Error, Target,
    channel::SpooledChannel,
    connection_state::ConnectionState,
    early_command::EarlyCommand,
    host_key::{verify, verify_certificate},
    stream::Stream,
};
use crate::core::{diagnostic::plain, value::shorten};

/// The version string of OpenSSH. Its first channel has the number 0, so the channel can be used
/// before the server confirms it.
const OPENSSH: &[u8] = b"SSH-2.0-OpenSSH_";

/// How many channels the server may have open at the same time. Each holds a task, and a connection to
/// the agent or to the target of a forward.
const SERVER_CHANNELS: usize = 128;

pub(super) struct ClientHandler {
    target: Target,
    state: Arc<ConnectionState>,
    /// The socket of the local agent, if the server may use it.
    agent: Option<PathBuf>,
    /// The early command, until it is sent.
    pending: Option<EarlyCommand>,
    /// The channel of the early command, and where its messages go.
    early: Option<(ChannelId, mpsc::Sender<ChannelMsg>)>,
    /// A permit for each channel that the server has opened.
    server_channels: Arc<Semaphore>,
    /// Marks the connection as closed when russh drops the handler.
    _close_guard: DropGuard,
}

/// Why a connection is refused or closed.
pub(super) enum ClientError {
    HostKey(Box<Error>),
    Protocol(russh::Error),
}

impl std::fmt::Debug for ClientError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ClientError::HostKey(error) => write!(f, "{error}"),
            ClientError::Protocol(error) => write!(f, "{error}"),
        }
    }
}

impl From<russh::Error> for ClientError {
    fn from(error: russh::Error) -> Self {
        ClientError::Protocol(error)
    }
}

impl ClientHandler {
    pub fn new(
        target: &Target,
        state: Arc<ConnectionState>,
        early_command: Option<EarlyCommand>,
    ) -> Self {
        ClientHandler {
            target: target.clone(),
            _close_guard: state.close_guard(),
            state,
            agent: target.agent.clone().filter(|_| target.forward_agent),
            pending: early_command,
            early: None,
            server_channels: Arc::new(Semaphore::new(SERVER_CHANNELS)),
        }
    }

    /// Forwards a message if it is for the channel of the early command.
    async fn forward_early(&self, channel: ChannelId, message: ChannelMsg) {
        if let Some((id, messages)) = &self.early
            && *id == channel
        {
            // Fails if the reader is gone, which then needs no more messages.
            let _ = messages.send(message).await;
        }
    }

    /// Gives a channel that the server opened to the forward of this address, or rejects it.
    async fn accept_forwarded(
        &self,
        address: &str,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
    ) {
        let permit = self.server_channels.clone().try_acquire_owned();
        match (self.state.forward(address), permit) {
            (Some(receiver), Ok(permit)) if !receiver.is_closed() => {
                reply.accept().await;
                let _ = receiver.send((channel, permit));
            }
            _ => reject(reply).await,
        }
    }
}

/// Rejects a channel that was not requested.
async fn reject(reply: ChannelOpenHandle) {
    reply
        .reject(ChannelOpenFailure::AdministrativelyProhibited)
        .await;
}

impl Handler for ClientHandler {
    type Error = ClientError;

    async fn check_server_key(
        &mut self,
        offered: &PublicKeyOrCertificate,
    ) -> Result<bool, ClientError> {
        match offered {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                let new = verify(&self.target, key).await;
                new.map(|new| self.state.set_host_key(key, new))
            }
            PublicKeyOrCertificate::Certificate(certificate) => {
                verify_certificate(&self.target, certificate)
            }
        }
        .map(|()| true)
        .map_err(|error| ClientError::HostKey(Box::new(error)))
    }

    async fn kex_done(
        &mut self,
        _: Option<&[u8]>,
        _: &russh::Names,
        session: &mut Session,
    ) -> Result<(), ClientError> {
        // Other servers do not tell the handler that the login succeeded. Dropping the early command
        // releases the connection, which then sends the command itself.
        if !session.remote_sshid().starts_with(OPENSSH) {
            self.pending = None;
        }
        Ok(())
    }

    /// OpenSSH announces its host keys as soon as it accepted the login (`hostkeys-00@openssh.com`,
    /// section 2.5 of OpenSSH's PROTOCOL).
    async fn openssh_ext_host_keys_announced(
        &mut self,
        _: Vec<PublicKey>,
        session: &mut Session,
    ) -> Result<(), ClientError> {
        let Some(early) = self.pending.take() else {
            return Ok(());
        };
        // If the connection no longer waits, it sends the command itself.
        if early.sent.send(()).is_err() {
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
    ) -> Result<(), ClientError> {
        self.forward_early(channel, ChannelMsg::OpenFailure(reason))
            .await;
        Ok(())
    }

    async fn channel_failure(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        self.forward_early(channel, ChannelMsg::Failure).await;
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), ClientError> {
        if self.early.is_some() {
            let data = data.to_vec().into();
            self.forward_early(channel, ChannelMsg::Data { data }).await;
        }
        Ok(())
    }

    async fn extended_data(
        &mut self,
        channel: ChannelId,
        ext: u32,
        data: &[u8],
        _: &mut Session,
    ) -> Result<(), ClientError> {
        if self.early.is_some() {
            let data = data.to_vec().into();
            self.forward_early(channel, ChannelMsg::ExtendedData { data, ext })
                .await;
        }
        Ok(())
    }

    async fn exit_status(
        &mut self,
        channel: ChannelId,
        exit_status: u32,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        self.forward_early(channel, ChannelMsg::ExitStatus { exit_status })
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
    ) -> Result<(), ClientError> {
        let message = ChannelMsg::ExitSignal {
            signal_name,
            core_dumped,
            error_message: error_message.to_owned(),
            lang_tag: lang_tag.to_owned(),
        };
        self.forward_early(channel, message).await;
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _: &mut Session,
    ) -> Result<(), ClientError> {
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
    ) -> Result<(), ClientError> {
        let address = format!("{connected_address}:{connected_port}");
        self.accept_forwarded(&address, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        socket_path: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        self.accept_forwarded(socket_path, channel, reply).await;
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        let permit = self.server_channels.clone().try_acquire_owned();
        let (Some(socket), Ok(permit)) = (self.agent.clone(), permit) else {
            reject(reply).await;
            return Ok(());
        };
        match UnixStream::connect(socket).await {
            Ok(mut agent) => {
                reply.accept().await;
                tokio::spawn(async move {
                    let mut stream = Stream::of_socket(SpooledChannel::new(channel, Some(permit)));
                    // Either side may close at any time.
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut agent).await;
                });
            }
            Err(_) => reject(reply).await,
        }
        Ok(())
    }

    async fn server_channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        reject(reply).await;
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
    ) -> Result<(), ClientError> {
        reject(reply).await;
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        reject(reply).await;
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _: Channel<Msg>,
        _: &str,
        _: u32,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        reject(reply).await;
        Ok(())
    }

    /// Has [`ClientHandler::server_channel_open_unknown`] called. Otherwise russh rejects the channel twice.
    async fn should_accept_unknown_server_channel(&mut self, _: ChannelId, _: &str) -> bool {
        true
    }

    async fn server_channel_open_unknown(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), ClientError> {
        reply.reject(ChannelOpenFailure::UnknownChannelType).await;
        Ok(())
    }

    async fn disconnected(
        &mut self,
        reason: DisconnectReason<ClientError>,
    ) -> Result<(), ClientError> {
        // Ends the output of the early command.
        self.early = None;
        self.pending = None;
        match reason {
            DisconnectReason::ReceivedDisconnect(info) => {
                // The server chooses its length, up to that of a packet.
                self.state.set_disconnect_reason(shorten(&info.message));
                Ok(())
            }
            DisconnectReason::Error(error) => {
                if let ClientError::Protocol(error) = &error {
                    self.state.set_disconnect_reason(describe(error));
                }
                Err(error)
            }
        }
    }
}

/// Describes an error of the SSH library.
pub(super) fn describe(error: &russh::Error) -> String {
    match error {
        russh::Error::IO(error) => plain(error),
        russh::Error::HUP | russh::Error::Disconnect => {
            "the server closed the connection".to_owned()
        }
        russh::Error::Version => "the server does not speak SSH".to_owned(),
        russh::Error::KeepaliveTimeout => "the server stopped responding".to_owned(),
        other => other.to_string(),
    }
}

//! A mock SSH server for thousands of hosts. Uses less CPU time than the programs that are measured
//! against it. Accepts every login, and answers every command.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use russh::{
    Channel, ChannelId,
    keys::{Algorithm, PrivateKey},
    server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Server, Session, VerifiedPublicKey},
};
use tokio::net::TcpListener;

/// Accepts every key, and answers every command with `played`.
#[derive(Clone)]
struct MockServer;

impl Server for MockServer {
    type Handler = Self;

    fn new_client(&mut self, _: Option<SocketAddr>) -> Self {
        self.clone()
    }
}

impl Handler for MockServer {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        _: &str,
        _: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        session.channel_success(channel)?;
        session.data(channel, &b"played\n"[..])?;
        session.exit_status_request(channel, 0)?;
        session.eof(channel)?;
        session.close(channel)
    }
}

/// Serves all connections of a listener.
pub async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let mut random = russh::keys::key::safe_rng();
    let key = PrivateKey::random(&mut random, Algorithm::Ed25519);
    let config = Config {
        keys: vec![key.map_err(std::io::Error::other)?],
        // As sshd: the first request of a client, with the method `none`, is rejected without delay.
        auth_rejection_time_initial: Some(Duration::ZERO),
        ..Config::default()
    };
    MockServer.run_on_socket(Arc::new(config), &listener).await
}

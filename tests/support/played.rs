//! An SSH server in this process, for more hosts than a real one could play. What it does is
//! checked against a real sshd in `live/ssh.rs`: whoever logs in gets an answer to a command.

use std::{net::SocketAddr, sync::Arc};

use russh::{
    Channel, ChannelId,
    keys::{Algorithm, PrivateKey},
    server::{Auth, ChannelOpenHandle, Config, Handler, Msg, Server, Session, VerifiedPublicKey},
};
use tokio::net::TcpListener;

/// Lets everybody in, and answers every command with `played`.
#[derive(Clone)]
struct Everybody;

impl Server for Everybody {
    type Handler = Self;

    fn new_client(&mut self, _: Option<SocketAddr>) -> Self {
        self.clone()
    }
}

impl Handler for Everybody {
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

/// Starts the server on a free port of all addresses of this machine, in a thread of its own that
/// lasts as long as the tests, and gives the port.
pub fn start() -> u16 {
    let (sender, port) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let mut random = russh::keys::key::safe_rng();
            let config = Config {
                keys: vec![PrivateKey::random(&mut random, Algorithm::Ed25519).unwrap()],
                ..Config::default()
            };
            let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
            sender.send(listener.local_addr().unwrap().port()).unwrap();
            Everybody
                .run_on_socket(Arc::new(config), &listener)
                .await
                .unwrap();
        });
    });
    port.recv().unwrap()
}

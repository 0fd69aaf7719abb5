//! An SSH server that accepts every login, and then attacks the client. The user name chooses the attack.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use russh::{
    Channel, ChannelId, Disconnect, Sig,
    keys::{Algorithm, PrivateKey},
    server::{
        Auth, ChannelOpenHandle, Config, Handle, Handler, Msg, Server, Session, VerifiedPublicKey,
    },
};
use tokio::{net::TcpListener, time::sleep};

use super::hostile_engine;

/// Lines that try to pass for another host's, or to control the terminal: carriage return, escape
/// sequences, the clipboard (OSC 52), C1 controls, reversed text, line separators.
pub const FORGED: &str = "\r[web-2] ok\n[web-2] ok\nweb-2:\n\x1b[2J\x1b[31mred\n\
                          \x1b]52;c;ZXZpbA==\x07\n\u{9b}31m\u{90}x\u{9c}\n\u{202e}ko ]2-bew[\u{2066}\n\
                          a\u{2028}[web-2] ok\u{2029}\u{85}[web-2] ok\x0b\x0c\x08\x08\x7f\x00\n\
                          2 hosts: evil, web-2\nhost   result  time\nweb-2  ok      0.1 s\n";

/// A part of an endless output.
const PART: usize = 32 * 1024;

#[derive(Clone, Default)]
struct Hostile {
    attack: String,
    /// The channels on which a command was requested.
    used: Arc<Mutex<HashSet<ChannelId>>>,
}

impl Server for Hostile {
    type Handler = Self;

    fn new_client(&mut self, _: Option<SocketAddr>) -> Self {
        Hostile::default()
    }
}

impl Hostile {
    fn is_used(&self, channel: ChannelId) -> bool {
        self.used.lock().unwrap().contains(&channel)
    }

    /// Answers as a server should.
    fn answer(channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        session.data(channel, &b"played\n"[..])?;
        session.exit_status_request(channel, 0)?;
        session.eof(channel)?;
        session.close(channel)
    }

    fn attack(&self, channel: ChannelId, session: &mut Session) -> Result<(), russh::Error> {
        let endless = |part: Vec<u8>, ext: Option<u32>| {
            let handle = session.handle();
            tokio::spawn(flood(handle, channel, part, ext, || false));
        };
        match self.attack.as_str() {
            "lines" => endless("endless\n".repeat(PART / 8).into_bytes(), None),
            "one-line" => endless(vec![b'x'; PART], None),
            "stderr" => endless(vec![b'e'; PART], Some(1)),
            "binary" => endless(vec![0xff; PART], None),
            "bytes" => endless(b"x".to_vec(), None),
            "unknown-stream" => endless(vec![b'u'; PART], Some(77)),
            "silent" | "no-window" => {}
            "forged" => {
                session.data(channel, FORGED.as_bytes().to_vec())?;
                session.extended_data(channel, 1, FORGED.as_bytes().to_vec())?;
                session.exit_status_request(channel, 3)?;
                session.close(channel)?;
            }
            "forged-goodbye" => {
                session.disconnect(Disconnect::ByApplication, FORGED, "")?;
            }
            "streams" => {
                for ext in [0, 2, 77, u32::MAX] {
                    session.extended_data(channel, ext, FORGED.as_bytes().to_vec())?;
                }
                Hostile::answer(channel, session)?;
            }
            "debug" => {
                for _ in 0..10_000 {
                    session.debug(true, FORGED, "")?;
                }
                Hostile::answer(channel, session)?;
            }
            "huge-packet" => session.debug(true, &"x".repeat(64 * 1024 * 1024), "")?,
            "huge-signal" => {
                for _ in 0..500 {
                    let name = Sig::Custom("S".repeat(100 * 1024));
                    session.exit_signal_request(
                        channel,
                        name,
                        true,
                        &"m".repeat(100 * 1024),
                        "",
                    )?;
                }
                session.close(channel)?;
            }
            "requests" => {
                // A client knows none of them.
                for n in 0..5000 {
                    session.tcpip_forward("0.0.0.0", n, None)?;
                    session.cancel_tcpip_forward("0.0.0.0", n, None)?;
                    session.keepalive_request()?;
                    session.xon_xoff_request(channel, true)?;
                }
                Hostile::answer(channel, session)?;
            }
            "opens" => {
                for _ in 0..1000 {
                    session.channel_open_forwarded_tcpip("127.0.0.1", 22, "127.0.0.1", 1)?;
                    session.channel_open_forwarded_streamlocal("/x")?;
                    session.channel_open_x11("127.0.0.1", 1)?;
                    session.channel_open_agent()?;
                    session.channel_open_session()?;
                    session.channel_open_direct_tcpip("127.0.0.1", 22, "127.0.0.1", 1)?;
                    session.channel_open_direct_streamlocal("/var/run/docker.sock")?;
                }
                Hostile::answer(channel, session)?;
            }
            "two-ends" => {
                for status in [0, 7, 0, 7] {
                    session.exit_status_request(channel, status)?;
                    session.eof(channel)?;
                }
                session.data(channel, &b"late\n"[..])?;
                session.close(channel)?;
                let _ = session.data(channel, &b"later\n"[..]);
            }
            "no-end" => session.close(channel)?,
            "no-close" => session.exit_status_request(channel, 0)?,
            "refused" => session.channel_failure(channel)?,
            "goodbye" => session.disconnect(Disconnect::ByApplication, "", "")?,
            _ => Hostile::answer(channel, session)?,
        }
        Ok(())
    }
}

/// Sends without end, until the client is gone or `is_over`.
async fn flood(
    handle: Handle,
    channel: ChannelId,
    part: Vec<u8>,
    ext: Option<u32>,
    is_over: impl Fn() -> bool,
) {
    let part = bytes::Bytes::from(part);
    while !is_over() {
        let sent = match ext {
            None => handle.data(channel, part.clone()).await.is_ok(),
            Some(ext) => handle
                .extended_data(channel, ext, part.clone())
                .await
                .is_ok(),
        };
        if !sent {
            return;
        }
    }
}

impl Handler for Hostile {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        user: &str,
        _: VerifiedPublicKey<'_>,
    ) -> Result<Auth, russh::Error> {
        user.clone_into(&mut self.attack);
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.attack == "closed" {
            return Ok(());
        }
        let id = channel.id();
        reply.accept().await;
        if self.attack == "unread" {
            // Until a command is requested on the channel, nobody reads it.
            let (this, handle) = (self.clone(), session.handle());
            let is_over = move || this.is_used(id);
            tokio::spawn(flood(handle, id, vec![b'!'; PART], None, is_over));
        }
        Ok(())
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        channel: Channel<Msg>,
        _: &str,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), russh::Error> {
        if let Some(attack) = self.attack.strip_prefix("engine-") {
            reply.accept().await;
            let attack = attack.to_owned();
            tokio::spawn(async move {
                hostile_engine::treat(channel.into_stream(), &attack).await;
            });
        }
        Ok(())
    }

    async fn data(&mut self, _: ChannelId, _: &[u8], _: &mut Session) -> Result<(), russh::Error> {
        if self.attack == "no-window" {
            // Nothing is read from the client any more.
            sleep(Duration::from_hours(1)).await;
        }
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        line: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        self.used.lock().unwrap().insert(channel);
        if self.attack != "refused" {
            session.channel_success(channel)?;
        }
        // The command that ends an abandoned one, which two attacks do not answer either.
        let is_ending = String::from_utf8_lossy(line).contains("/proc/self/environ");
        if is_ending && !["silent", "lines"].contains(&self.attack.as_str()) {
            return Hostile::answer(channel, session);
        }
        self.attack(channel, session)
    }
}

/// Serves all connections of a listener.
pub async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let mut random = russh::keys::key::safe_rng();
    let key = PrivateKey::random(&mut random, Algorithm::Ed25519);
    let config = Config {
        keys: vec![key.map_err(std::io::Error::other)?],
        auth_rejection_time_initial: Some(Duration::ZERO),
        ..Config::default()
    };
    Hostile::default()
        .run_on_socket(Arc::new(config), &listener)
        .await
}

/// Starts a server that treats each client in a thread of its own. Returns its port.
fn each_client(treat: impl Fn(StdStream) + Clone + Send + 'static) -> u16 {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for client in listener.incoming() {
            let Ok(client) = client else { return };
            let treat = treat.clone();
            thread::spawn(move || treat(client));
        }
    });
    port
}

/// Starts a proxy to port `to` of this machine that passes on so many bytes of what the server sends, and
/// then closes the connection, or stalls. Returns its port.
pub fn cut_after(to: u16, bytes: usize, stalls: bool) -> u16 {
    each_client(move |mut client| {
        let mut server = StdStream::connect(("127.0.0.1", to)).unwrap();
        let (mut from, mut into) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        thread::spawn(move || std::io::copy(&mut from, &mut into));
        let passed = std::io::copy(&mut (&mut server).take(bytes as u64), &mut client);
        if stalls && passed.is_ok() {
            thread::sleep(Duration::from_mins(1));
        }
        let _ = client.shutdown(std::net::Shutdown::Both);
        let _ = server.shutdown(std::net::Shutdown::Both);
    })
}

/// Starts a server that sends the same bytes again and again instead of speaking SSH. Returns its port.
pub fn babbler(first: &'static [u8], bytes: &'static [u8]) -> u16 {
    each_client(move |mut client| {
        let mut sent = client.write_all(first);
        while sent.is_ok() {
            sent = client.write_all(bytes);
        }
    })
}

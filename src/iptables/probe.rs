//! Compares the ports of a server that answer this machine with those that should.

use std::{
    collections::BTreeSet,
    io::ErrorKind,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use tokio::{net::TcpStream, time::timeout};

use super::{Installed, Listener, Ports, Protocol};

/// How long a port may take to answer, and how many are tried at the same time.
const TIMEOUT: Duration = Duration::from_secs(2);
const AT_ONCE: usize = 64;

/// What a port did, or should do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It accepts connections.
    Open,
    /// It is reachable, and no program listens to it.
    Refused,
    /// It does not answer.
    Silent,
}

impl Answer {
    /// The answer in one word.
    pub fn word(self) -> &'static str {
        match self {
            Answer::Open => "open",
            Answer::Refused => "refused",
            Answer::Silent => "closed",
        }
    }
}

/// A port of TCP that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The port.
    pub port: u16,
    /// What it should do.
    pub expected: Answer,
    /// What it did.
    pub found: Answer,
    /// Why it should do that, or what the difference means.
    pub reason: String,
}

impl Probe {
    /// Whether the port does what it should.
    pub fn is_right(&self) -> bool {
        self.expected == self.found
    }
}

/// Tries the ports of TCP that programs listen to, and those that single rules open. `from` is the
/// address of this machine as the server sees it.
pub async fn probe(
    server: IpAddr,
    from: Option<IpAddr>,
    installed: Option<&Installed>,
    listeners: &[Listener],
) -> Vec<Probe> {
    let rules = installed.and_then(|found| found.rules.as_ref().ok());
    let open = rules
        .zip(installed)
        .map(|(rules, found)| rules.with_ssh(&found.ssh));
    let public = |listener: &&Listener| {
        let is_local = listener
            .address
            .is_some_and(|address| address.is_loopback());
        listener.protocol == Protocol::Tcp && !is_local
    };
    let listening: BTreeSet<u16> = listeners
        .iter()
        .filter(public)
        .map(|listener| listener.port)
        .collect();
    let mut ports = listening.clone();
    ports.extend(
        rules
            .iter()
            .flat_map(|rules| rules.ports())
            .filter_map(single),
    );
    let tried = stream::iter(ports).map(|port| {
        let (open, listening) = (&open, &listening);
        async move {
            let is_admitted = match (open, from) {
                (Some(open), Some(from)) => open.admits(from, Protocol::Tcp, port),
                _ => true,
            };
            let expected = match (is_admitted, listening.contains(&port)) {
                (false, _) => Answer::Silent,
                (true, true) => Answer::Open,
                (true, false) => Answer::Refused,
            };
            let found = dial(SocketAddr::new(server, port)).await;
            Probe {
                port,
                expected,
                found,
                reason: reason(expected, found, from),
            }
        }
    });
    let mut probes: Vec<Probe> = tried.buffer_unordered(AT_ONCE).collect().await;
    probes.sort_by_key(|probe| probe.port);
    probes
}

/// The port, if it is only one, of TCP.
fn single(ports: Ports) -> Option<u16> {
    let (first, last) = ports.range()?;
    (first == last && ports.protocol() == Protocol::Tcp).then_some(first)
}

async fn dial(to: SocketAddr) -> Answer {
    match timeout(TIMEOUT, TcpStream::connect(to)).await {
        Ok(Ok(_)) => Answer::Open,
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => Answer::Refused,
        Ok(Err(_)) | Err(_) => Answer::Silent,
    }
}

fn reason(expected: Answer, found: Answer, from: Option<IpAddr>) -> String {
    let from = from.map_or("this machine".to_owned(), |from| from.to_string());
    match (expected, found) {
        (Answer::Open, Answer::Open) => format!("a rule admits {from}"),
        (Answer::Silent, Answer::Silent) => format!("no rule admits {from}"),
        (Answer::Refused, Answer::Refused) => "open, and no program listens".to_owned(),
        (_, Answer::Silent) => {
            "something else drops it: the cloud's firewall, or another one on the way".to_owned()
        }
        (Answer::Silent, _) => {
            "the rules do not hold on this way: another program answers for the server".to_owned()
        }
        (Answer::Open, Answer::Refused) => "the program listens on another address".to_owned(),
        (Answer::Refused, Answer::Open) => "a program has begun to listen".to_owned(),
    }
}

//! Where and how to log in.

use std::{path::PathBuf, sync::Arc, time::Duration};

use russh::keys::PublicKey;

use super::KnownHosts;

/// Everything that is needed to connect to one server.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server's name, for messages.
    pub name: String,
    /// Address or host name.
    pub address: String,
    /// The SSH port.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// Private key files, offered in this order.
    pub identities: Vec<PathBuf>,
    /// How the server's key is checked.
    pub host_key: HostKey,
    /// How long to wait for the connection, the handshake included.
    pub connect_timeout: Duration,
}

/// How a server's key is checked. There is no way not to check it.
#[derive(Clone, Debug)]
pub enum HostKey {
    /// The provider knows the key.
    Pinned(PublicKey),
    /// By the user's known_hosts file; a host that is not in it is added.
    KnownHosts(Arc<KnownHosts>),
}

impl Target {
    /// `address:port`, with brackets around an IPv6 address.
    pub fn endpoint(&self) -> String {
        if self.address.contains(':') {
            format!("[{}]:{}", self.address, self.port)
        } else {
            format!("{}:{}", self.address, self.port)
        }
    }
}

//! Where and how to log in.

use std::{path::PathBuf, sync::Arc, time::Duration};

use russh::keys::{HashAlg, PublicKey};

use super::KnownHosts;

/// What is known about logging in to a server before `~/.ssh/config` is asked: by its provider,
/// and by the user's flags. What is said here counts more than what stands there.
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// The server's name, for messages.
    pub name: String,
    /// Address, host name, or a name of `~/.ssh/config`.
    pub address: String,
    /// The SSH port.
    pub port: Option<u16>,
    /// The user to log in as.
    pub user: Option<String>,
    /// A private key file, offered first.
    pub identity: Option<PathBuf>,
    /// `~/.ssh/config` is not about this server, and no key but that one is offered: hitc has made
    /// it on this machine.
    pub unconfigured: bool,
    /// The server's key, where the provider knows it.
    pub host_key: Option<PublicKey>,
    /// The name under which the server stands in known_hosts files, if it is not its address and
    /// `~/.ssh/config` does not say another.
    pub host_key_alias: Option<String>,
    /// The servers to go through, as for `ssh -J`; `none` for none.
    pub jump: Option<String>,
    /// Whether programs on the server may use our SSH agent.
    pub forward_agent: bool,
}

/// Everything that is needed to connect to one server.
#[derive(Clone, Debug)]
pub struct Target {
    /// The server's name, for messages.
    pub name: String,
    /// The name under which `~/.ssh/config` knows it.
    pub alias: String,
    /// Address or host name.
    pub address: String,
    /// The SSH port.
    pub port: u16,
    /// The user to log in as.
    pub user: String,
    /// Private key files, offered in this order.
    pub identities: Vec<Identity>,
    /// Certificates of such keys.
    pub certificates: Vec<PathBuf>,
    /// Where the agent listens, if it is asked.
    pub agent: Option<PathBuf>,
    /// Of the agent's keys only those in `identities` are offered.
    pub identities_only: bool,
    /// How the server's key is checked.
    pub host_key: HostKey,
    /// The way there.
    pub route: Route,
    /// How long the server may be silent while a connection is made; six times that is the limit
    /// for all of it.
    pub connect_timeout: Duration,
    /// How long the server may be silent before it is asked for a word.
    pub keepalive: Duration,
    /// Whether programs on the server may use our SSH agent.
    pub forward_agent: bool,
    /// As in [`Login`].
    pub unconfigured: bool,
}

/// A private key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Where it is.
    pub path: PathBuf,
    /// Somebody named it, so that it is an error if it is not there.
    pub named: bool,
}

/// How a server's key is checked. There is no way not to check it.
#[derive(Clone, Debug)]
pub enum HostKey {
    /// The provider knows the key.
    Pinned(PublicKey),
    /// By known_hosts files.
    KnownHosts {
        /// The files; a host that is not in them is added.
        hosts: Arc<KnownHosts>,
        /// The name under which the host stands there, if it is not its address
        /// (`HostKeyAlias`).
        alias: Option<String>,
    },
}

/// The way to a server.
#[derive(Clone, Debug)]
pub enum Route {
    /// TCP.
    Direct,
    /// Through another server.
    Jump(Arc<Target>),
    /// The standard input and output of a command on this machine (`ProxyCommand`).
    ProxyCommand(String),
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

    /// The name and port under which the host stands in known_hosts files.
    pub(super) fn host_name(&self) -> (&str, u16) {
        match &self.host_key {
            HostKey::KnownHosts {
                alias: Some(alias), ..
            } => (alias, 22),
            _ => (&self.address, self.port),
        }
    }

    /// The same, as `ssh-keygen -R` wants it.
    pub(super) fn known_as(&self) -> String {
        match self.host_name() {
            (name, 22) => name.to_owned(),
            (name, port) => format!("[{name}]:{port}"),
        }
    }

    /// What tells connections apart: the same server by another way is another connection.
    pub(super) fn key(&self) -> String {
        let checked_by = match &self.host_key {
            HostKey::Pinned(key) => key.fingerprint(HashAlg::Sha256).to_string(),
            HostKey::KnownHosts { hosts, alias } => {
                let files: Vec<_> = hosts.paths().collect();
                format!("{files:?} {alias:?}")
            }
        };
        let key = format!(
            "{}@{} {checked_by} {}",
            self.user,
            self.endpoint(),
            self.forward_agent
        );
        match &self.route {
            Route::Direct => key,
            Route::Jump(jump) => format!("{} {key}", jump.key()),
            Route::ProxyCommand(command) => format!("{command}\n{key}"),
        }
    }

    /// The first machine on the way: who is overrun when too many connections begin at once.
    pub(super) fn first_hop(&self) -> &str {
        match &self.route {
            Route::Jump(jump) => jump.first_hop(),
            Route::Direct | Route::ProxyCommand(_) => &self.address,
        }
    }
}

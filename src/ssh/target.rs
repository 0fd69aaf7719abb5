//! How to reach a server and log in there.

use std::{path::PathBuf, sync::Arc, time::Duration};

use russh::keys::{HashAlg, PublicKey};

use super::{Cause, Error, KnownHosts};

/// What the provider and the user's flags say about logging in to a server. Takes precedence over
/// `~/.ssh/config`, which completes it to a [`Target`].
#[derive(Clone, Debug, Default)]
pub struct Login {
    /// The name of the server in messages.
    pub name: String,
    /// An address, a host name, or a host of `~/.ssh/config`.
    pub address: String,
    /// The SSH port.
    pub port: Option<u16>,
    /// The login user.
    pub user: Option<String>,
    /// A private key file, which is offered first.
    pub identity: Option<PathBuf>,
    /// Ignores `~/.ssh/config` and all other keys: hitc created this server on the local machine.
    pub unconfigured: bool,
    /// The host key, if the provider knows it.
    pub host_key: Option<PublicKey>,
    /// The name of the server in known_hosts files, if that is not its address. A `HostKeyAlias` in
    /// `~/.ssh/config` takes precedence.
    pub host_key_alias: Option<String>,
    /// The jump hosts, as for `ssh -J`; `none` for a direct connection.
    pub jump: Option<String>,
    /// Forwards the local SSH agent to the server.
    pub forward_agent: bool,
}

impl Login {
    /// Checks what becomes an argument of `ssh` and a line of its configuration. A provider takes it
    /// from a cloud.
    pub(super) fn check(&self) -> Result<(), Error> {
        let texts = [
            ("address", Some(&self.address)),
            ("user", self.user.as_ref()),
            ("name in known_hosts files", self.host_key_alias.as_ref()),
        ];
        for (what, text) in texts {
            if let Some(text) = text.filter(|text| !is_safe(text)) {
                let cause = format!("invalid {what} `{text}`");
                return Err(Error::on_host(&self.name, Cause::Config { cause }));
            }
        }
        Ok(())
    }
}

/// Whether a text can be a word of a command line, a line of `ssh -G` and of ssh_config(5): it contains
/// no space, no control character and nothing with a meaning to shells, and does not begin with a dash.
pub(super) fn is_safe(text: &str) -> bool {
    let is_special =
        |c: char| c.is_whitespace() || c.is_control() || "'\"$`;&|<>*?{}\\".contains(c);
    !text.is_empty() && !text.starts_with('-') && !text.contains(is_special)
}

/// Everything needed to connect to a server.
#[derive(Clone, Debug)]
pub struct Target {
    /// The name of the server in messages.
    pub name: String,
    /// The name of the host in `~/.ssh/config`.
    pub alias: String,
    /// The address or host name.
    pub address: String,
    /// The SSH port.
    pub port: u16,
    /// The login user.
    pub user: String,
    /// The private key files, in the order in which they are offered.
    pub identities: Vec<Identity>,
    /// The certificate files of the keys.
    pub certificates: Vec<PathBuf>,
    /// The socket of the SSH agent, if it is used.
    pub agent: Option<PathBuf>,
    /// Offers only those keys of the agent that are in `identities`.
    pub identities_only: bool,
    /// How the host key is verified.
    pub host_key: HostKey,
    /// How the server is reached.
    pub route: Route,
    /// How long the server may be silent during connecting. Connecting may take six times as long
    /// in all.
    pub connect_timeout: Duration,
    /// The keepalive interval.
    pub keepalive: Duration,
    /// Forwards the local SSH agent to the server.
    pub forward_agent: bool,
    /// As in [`Login`].
    pub unconfigured: bool,
}

/// A private key file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The path of the file.
    pub path: PathBuf,
    /// The user or the provider named it, so it is an error if it cannot be used. Default and
    /// configured keys are skipped instead.
    pub is_required: bool,
}

/// How a host key is verified. There is no way to skip the verification.
#[derive(Clone, Debug)]
pub enum HostKey {
    /// The provider knows the key.
    Pinned(PublicKey),
    /// known_hosts files.
    KnownHosts {
        /// The files, to which an unknown host is added.
        hosts: Arc<KnownHosts>,
        /// The name of the host in these files, if that is not its address (`HostKeyAlias`).
        alias: Option<String>,
    },
}

/// How a server is reached.
#[derive(Clone, Debug)]
pub enum Route {
    /// A TCP connection.
    Direct,
    /// Through a jump host.
    Jump(Arc<Target>),
    /// Through the standard input and output of a local command.
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

    /// Creates an error of this host.
    pub(super) fn error(&self, cause: Cause) -> Error {
        Error::on_host(&self.name, cause)
    }

    /// The name and port of the host in known_hosts files.
    pub(super) fn known_hosts_name(&self) -> (&str, u16) {
        match &self.host_key {
            HostKey::KnownHosts {
                alias: Some(alias), ..
            } => (alias, 22),
            _ => (&self.address, self.port),
        }
    }

    /// The name and port as one field of a known_hosts file, as `ssh-keygen -R` takes it.
    pub(super) fn known_hosts_field(&self) -> String {
        match self.known_hosts_name() {
            (name, 22) => name.to_owned(),
            (name, port) => format!("[{name}]:{port}"),
        }
    }

    /// The key of a connection in the pool. The same server by another route is another connection.
    pub(super) fn key(&self) -> String {
        let verified_by = match &self.host_key {
            HostKey::Pinned(key) => key.fingerprint(HashAlg::Sha256).to_string(),
            HostKey::KnownHosts { hosts, alias } => {
                let files: Vec<_> = hosts.paths().collect();
                format!("{files:?} {alias:?}")
            }
        };
        let key = format!(
            "{}@{} {verified_by} {}",
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

    /// The address of the first machine on the route, which too many simultaneous handshakes would
    /// overload.
    pub(super) fn first_hop(&self) -> &str {
        match &self.route {
            Route::Jump(jump) => jump.first_hop(),
            Route::Direct | Route::ProxyCommand(_) => &self.address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_from_a_cloud_is_checked() {
        let good = Login {
            address: "2001:db8::1".to_owned(),
            user: Some("ec2-user".to_owned()),
            host_key_alias: Some("ec2-i-0abc".to_owned()),
            ..Login::default()
        };
        assert!(good.check().is_ok());
        for bad in [
            "",
            "-oProxyCommand=x",
            "root\nProxyCommand x",
            "a b",
            "$(id)",
            "a\u{9b}2J",
        ] {
            for login in [
                Login {
                    address: bad.to_owned(),
                    ..good.clone()
                },
                Login {
                    user: Some(bad.to_owned()),
                    ..good.clone()
                },
                Login {
                    host_key_alias: Some(bad.to_owned()),
                    ..good.clone()
                },
            ] {
                assert!(login.check().is_err(), "{bad:?}");
            }
        }
    }
}

//! What can go wrong between this machine and a server.

use std::path::PathBuf;

use crate::{
    diagnostic::{Diagnostic, Kind},
    process::TooMuch,
};

/// Why a server could not be reached, or a command not be run there.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The host name has no address.
    #[error("host `{host}`: no address for `{address}`: {cause}")]
    Resolve {
        /// The host's name.
        host: String,
        /// What was looked up.
        address: String,
        /// What the resolver said.
        cause: String,
    },
    /// The connection was refused or broken while it was made.
    #[error("host `{host}`: {cause} ({address})")]
    Connect {
        /// The host's name.
        host: String,
        /// `address:port`.
        address: String,
        /// What the system or the SSH library said.
        cause: String,
    },
    /// Nobody answered in time.
    #[error("host `{host}`: no answer within {seconds} s ({address})")]
    NoAnswer {
        /// The host's name.
        host: String,
        /// `address:port`.
        address: String,
        /// How long we waited.
        seconds: u64,
    },
    /// The host showed another key than the one on record.
    #[error("host `{host}`: the host key of {address} is not the one on record ({fingerprint})")]
    HostKeyChanged {
        /// The host's name.
        host: String,
        /// `address:port`.
        address: String,
        /// SHA-256 fingerprint of the key that was shown.
        fingerprint: String,
        /// Where the key on record stands: `file:line`, or who vouches for it.
        record: String,
    },
    /// The host showed a key that is marked `@revoked`.
    #[error("host `{host}`: the host key of {address} is revoked ({record})")]
    HostKeyRevoked {
        /// The host's name.
        host: String,
        /// `address:port`.
        address: String,
        /// `file:line` of the mark.
        record: String,
    },
    /// The known_hosts file could not be used.
    #[error("known hosts file `{}`: {cause}", path.display())]
    KnownHosts {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A private key could not be used.
    #[error("key `{}`: {cause}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The server accepted none of our keys.
    #[error("host `{host}`: {user}@{address} accepts none of our keys ({tried})")]
    Auth {
        /// The host's name.
        host: String,
        /// The user we tried to log in as.
        user: String,
        /// `address:port`.
        address: String,
        /// The key files that were offered.
        tried: String,
    },
    /// The connection broke.
    #[error("host `{host}`: connection lost while {doing}")]
    Lost {
        /// The host's name.
        host: String,
        /// What was going on.
        doing: String,
    },
    /// The server refused a channel or a request.
    #[error("host `{host}`: the server refused {what}")]
    Refused {
        /// The host's name.
        host: String,
        /// What was asked for.
        what: String,
        /// Whether its configuration forbids it.
        forbidden: bool,
    },
    /// A command wrote more than can be kept.
    #[error("host `{host}`: `{command}`: {cause}")]
    TooMuch {
        /// The host's name.
        host: String,
        /// The command.
        command: String,
        /// How much that is.
        cause: TooMuch,
    },
    /// A command took longer than it may.
    #[error("host `{host}`: `{command}` took longer than {seconds} s")]
    Timeout {
        /// The host's name.
        host: String,
        /// The command.
        command: String,
        /// The limit.
        seconds: u64,
    },
}

impl Error {
    /// The kind that decides the exit status.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Resolve { .. }
            | Error::Connect { .. }
            | Error::NoAnswer { .. }
            | Error::HostKeyChanged { .. }
            | Error::HostKeyRevoked { .. }
            | Error::Auth { .. }
            | Error::Lost { .. } => Kind::Unreachable,
            Error::KnownHosts { .. } | Error::Key { .. } => Kind::Usage,
            Error::Refused { .. } | Error::TooMuch { .. } => Kind::Failed,
            Error::Timeout { .. } => Kind::Timeout,
        }
    }

    fn host(&self) -> Option<&str> {
        match self {
            Error::Resolve { host, .. }
            | Error::Connect { host, .. }
            | Error::NoAnswer { host, .. }
            | Error::HostKeyChanged { host, .. }
            | Error::HostKeyRevoked { host, .. }
            | Error::Auth { host, .. }
            | Error::Lost { host, .. }
            | Error::Refused { host, .. }
            | Error::TooMuch { host, .. }
            | Error::Timeout { host, .. } => Some(host),
            Error::KnownHosts { .. } | Error::Key { .. } => None,
        }
    }

    fn help(&self) -> Option<String> {
        match self {
            Error::HostKeyChanged {
                address, record, ..
            } => Some(format!(
                "somebody may be listening in. If the server was really made anew, remove its \
                 old key ({record}) with `ssh-keygen -R '{}'` and try again",
                known_hosts_name(address)
            )),
            Error::HostKeyRevoked { .. } => {
                Some("the server must get a new host key before it is used again".to_owned())
            }
            Error::Auth { .. } => Some(
                "name the right user with `--user`, or the right key with `--identity`".to_owned(),
            ),
            Error::NoAnswer { .. } => {
                Some("is the server running, and does its firewall admit SSH?".to_owned())
            }
            Error::TooMuch { .. } => Some(TooMuch::HELP.to_owned()),
            _ => None,
        }
    }
}

/// The name under which OpenSSH keeps the key of `address:port`.
fn known_hosts_name(address: &str) -> String {
    match address.rsplit_once(':') {
        Some((host, "22")) => host.to_owned(),
        Some((host, port)) => format!("[{host}]:{port}"),
        None => address.to_owned(),
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        let diagnostic = Diagnostic::new(error.kind(), error.to_string()).help(error.help());
        match error.host() {
            Some(host) => diagnostic.on(host),
            None => diagnostic,
        }
    }
}

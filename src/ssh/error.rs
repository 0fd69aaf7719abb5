//! What can go wrong between this machine and a server.

use std::path::PathBuf;

use crate::core::{
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
    /// The server hung up while the connection was made, or does not speak SSH.
    #[error("host `{host}`: {cause} ({address})")]
    HungUp {
        /// The host's name.
        host: String,
        /// `address:port`.
        address: String,
        /// What happened.
        cause: String,
    },
    /// The user's SSH configuration cannot be used.
    #[error("host `{host}`: SSH configuration: {cause}")]
    Config {
        /// The host's name.
        host: String,
        /// What is wrong, and in which file and line.
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
    /// The host is not on record, and must be (`StrictHostKeyChecking yes`).
    #[error("host `{host}`: {address} has a key that is not on record ({fingerprint})")]
    HostKeyUnknown {
        /// The host's name.
        host: String,
        /// `address:port`.
        address: String,
        /// SHA-256 fingerprint of the key that was shown.
        fingerprint: String,
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
    /// The host showed a certificate that does not count.
    #[error("host `{host}`: the host certificate of {address} does not count: {cause}")]
    HostCertificate {
        /// The host's name.
        host: String,
        /// The name that it should be for.
        address: String,
        /// What is wrong with it.
        cause: String,
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
        /// The keys that were offered, and what could not be.
        tried: String,
        /// A key was right, but is not enough.
        wants_more: bool,
    },
    /// A key for this host could not be used.
    #[error("host `{host}`: key `{}`: {cause}", path.display())]
    Identity {
        /// The host's name.
        host: String,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// This machine does not listen where it should.
    #[error("host `{host}`: cannot listen on {what}: {cause}")]
    Listen {
        /// The host's name.
        host: String,
        /// Where.
        what: String,
        /// What the system said.
        cause: String,
    },
    /// sudo did not take the password.
    #[error("host `{host}`: sudo does not accept the password of `{user}`")]
    SudoPassword {
        /// The host's name.
        host: String,
        /// The user we are logged in as.
        user: String,
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
    #[error(
        "host `{host}`: `{command}` took longer than {seconds} s{}",
        if *ended { "" } else { ", and may still run there" }
    )]
    Timeout {
        /// The host's name.
        host: String,
        /// The command.
        command: String,
        /// The limit.
        seconds: f64,
        /// Its processes are gone.
        ended: bool,
    },
}

impl Error {
    /// The kind that decides the exit status.
    pub fn kind(&self) -> Kind {
        match self {
            Error::Resolve { .. }
            | Error::Connect { .. }
            | Error::HungUp { .. }
            | Error::NoAnswer { .. }
            | Error::HostKeyChanged { .. }
            | Error::HostKeyUnknown { .. }
            | Error::HostKeyRevoked { .. }
            | Error::HostCertificate { .. }
            | Error::Auth { .. }
            | Error::Identity { .. }
            | Error::Lost { .. } => Kind::Unreachable,
            Error::KnownHosts { .. } | Error::Key { .. } | Error::Config { .. } => Kind::Usage,
            Error::Refused { .. }
            | Error::TooMuch { .. }
            | Error::SudoPassword { .. }
            | Error::Listen { .. } => Kind::Failed,
            Error::Timeout { .. } => Kind::Timeout,
        }
    }

    fn host(&self) -> Option<&str> {
        match self {
            Error::Resolve { host, .. }
            | Error::Connect { host, .. }
            | Error::HungUp { host, .. }
            | Error::Config { host, .. }
            | Error::NoAnswer { host, .. }
            | Error::HostKeyChanged { host, .. }
            | Error::HostCertificate { host, .. }
            | Error::HostKeyUnknown { host, .. }
            | Error::HostKeyRevoked { host, .. }
            | Error::Auth { host, .. }
            | Error::Identity { host, .. }
            | Error::SudoPassword { host, .. }
            | Error::Listen { host, .. }
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
                 old key ({record}) with `ssh-keygen -R '{address}'` and try again"
            )),
            Error::HostKeyUnknown { address, .. } => Some(format!(
                "your SSH configuration refuses hosts that are not on record \
                 (StrictHostKeyChecking yes); record it with `ssh {address}` or `ssh-keyscan`"
            )),
            Error::HostKeyRevoked { .. } => {
                Some("the server must get a new host key before it is used again".to_owned())
            }
            Error::HostCertificate { .. } => Some(
                "an authority of this host is on record (@cert-authority): have the server's key \
                 signed by it for that name"
                    .to_owned(),
            ),
            Error::Auth {
                wants_more: true, ..
            } => Some(
                "the server wants more than a key, such as a password or a code, which hitc \
                 cannot give; allow a key alone for this user"
                    .to_owned(),
            ),
            Error::Identity { .. } => {
                Some("name the right key with `--identity` or in ~/.ssh/config".to_owned())
            }
            Error::SudoPassword { .. } => Some(
                "give the right one with `--ask-sudo-pass`, and see that the user may use sudo"
                    .to_owned(),
            ),
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

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        let diagnostic = Diagnostic::new(error.kind(), error.to_string()).help(error.help());
        match error.host() {
            Some(host) => diagnostic.on(host),
            None => diagnostic,
        }
    }
}

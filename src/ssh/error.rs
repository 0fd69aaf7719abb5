//! Errors of the SSH layer: the host, the cause, and what to do about it.

use std::path::PathBuf;

use crate::core::{
    diagnostic::{Diagnostic, Kind},
    process::TooMuch,
};

/// The record of a [`Cause::HostKeyChanged`] whose key is known from the server's provider.
pub(super) const FROM_PROVIDER: &str = "from the provider";

/// Why a server could not be reached, or a command could not be run there.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}{cause}", prefix(host.as_deref()))]
pub struct Error {
    /// The name of the host; none for errors of local files that several hosts share.
    pub host: Option<String>,
    /// What went wrong.
    pub cause: Cause,
}

fn prefix(host: Option<&str>) -> String {
    host.map_or(String::new(), |host| format!("host `{host}`: "))
}

/// What went wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Cause {
    /// The host name has no address.
    #[error("cannot resolve `{address}`: {cause}")]
    Resolve {
        /// The name that was looked up.
        address: String,
        /// The message of the resolver.
        cause: String,
    },
    /// The connection was refused or broke before the SSH handshake.
    #[error("{cause} ({address})")]
    Connect {
        /// `address:port`.
        address: String,
        /// The message of the system.
        cause: String,
    },
    /// The SSH handshake failed: the server closed the connection, or does not speak SSH.
    #[error("{cause} ({address})")]
    Handshake {
        /// `address:port`.
        address: String,
        /// The message of the SSH library.
        cause: String,
    },
    /// The user's SSH configuration is invalid.
    #[error("SSH configuration: {cause}")]
    Config {
        /// What is wrong, with file and line.
        cause: String,
    },
    /// The server did not answer in time.
    #[error("no answer within {seconds} s ({address})")]
    NoAnswer {
        /// `address:port`.
        address: String,
        /// How long hitc waited.
        seconds: u64,
    },
    /// The host presented another key than the recorded one.
    #[error("the host key of {address} does not match the recorded one ({fingerprint})")]
    HostKeyChanged {
        /// The name of the host in known_hosts files.
        address: String,
        /// The SHA-256 fingerprint of the presented key.
        fingerprint: String,
        /// Where the recorded key is: `file:line`, or the provider.
        record: String,
    },
    /// The host key is not recorded, and must be (`StrictHostKeyChecking yes`).
    #[error("unknown host key of {address} ({fingerprint})")]
    HostKeyUnknown {
        /// The name of the host in known_hosts files.
        address: String,
        /// The SHA-256 fingerprint of the presented key.
        fingerprint: String,
    },
    /// The host presented a key that is marked `@revoked`.
    #[error("the host key of {address} is revoked ({record})")]
    HostKeyRevoked {
        /// The name of the host in known_hosts files.
        address: String,
        /// The place of the mark: `file:line`.
        record: String,
    },
    /// The host presented a key that is not recorded, though a certificate authority is recorded
    /// for the host.
    #[error(
        "the host key of {address} is not recorded, and no certificate vouches for it ({fingerprint})"
    )]
    HostKeyUncertified {
        /// The name of the host in known_hosts files.
        address: String,
        /// The SHA-256 fingerprint of the presented key.
        fingerprint: String,
    },
    /// The host presented an invalid certificate.
    #[error("invalid host certificate of {address}: {cause}")]
    HostCertificate {
        /// The name that the certificate must be valid for.
        address: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A known_hosts file could not be used.
    #[error("known hosts file `{}`: {cause}", path.display())]
    KnownHosts {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A private key could not be used for any host.
    #[error("key `{}`: {cause}", path.display())]
    Key {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The server rejected all keys.
    #[error("authentication failed for {user}@{address} ({tried})")]
    Auth {
        /// The login user.
        user: String,
        /// `address:port`.
        address: String,
        /// The offered keys, and the keys that could not be offered.
        tried: String,
        /// The server accepted a key, but requires another authentication method as well.
        wants_more: bool,
    },
    /// A private key that was named for this host could not be used.
    #[error("key `{}`: {cause}", path.display())]
    Identity {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// A local port or socket could not be opened.
    #[error("cannot listen on {what}: {cause}")]
    Listen {
        /// The port or socket.
        what: String,
        /// The message of the system.
        cause: String,
    },
    /// sudo rejected the password.
    #[error("sudo rejected the password of `{user}`")]
    SudoPassword {
        /// The login user.
        user: String,
    },
    /// There was too much output before the command started.
    #[error("more than {kibibytes} KiB of output before sudo started the command")]
    SudoOutput {
        /// The limit.
        kibibytes: usize,
    },
    /// The connection broke.
    #[error("connection lost while {doing}")]
    Lost {
        /// The operation that was interrupted, and the reason if it is known.
        doing: String,
    },
    /// The server refused a channel or a request.
    #[error("the server refused {what}")]
    Refused {
        /// What was requested.
        what: String,
        /// The configuration of the server forbids it.
        is_forbidden: bool,
    },
    /// A command wrote more output than can be kept.
    #[error("`{command}`: {cause}")]
    TooMuch {
        /// The command line.
        command: String,
        /// The limit.
        cause: TooMuch,
    },
    /// A command exceeded its time limit.
    #[error(
        "`{command}`: timed out after {seconds} s{}",
        if *terminated { "" } else { ", and may still be running" }
    )]
    Timeout {
        /// The command line.
        command: String,
        /// The limit.
        seconds: f64,
        /// Its processes were terminated.
        terminated: bool,
    },
}

impl Cause {
    /// Whether another attempt to connect may succeed, because the server or the network between
    /// may only be overloaded or starting.
    pub(super) fn is_transient(&self) -> bool {
        matches!(
            self,
            Cause::Connect { .. }
                | Cause::Handshake { .. }
                | Cause::NoAnswer { .. }
                | Cause::Lost { .. }
        )
    }

    fn help(&self) -> Option<String> {
        let help = match self {
            Cause::HostKeyChanged { record, .. } if record == FROM_PROVIDER => {
                "this may be a man-in-the-middle attack. If the server was reinstalled, terminate it with \
                 hitc and create it again, which records its new key"
            }
            Cause::HostKeyChanged {
                address, record, ..
            } => {
                return Some(format!(
                    "this may be a man-in-the-middle attack. If the server was reinstalled, remove \
                     its old key ({record}) with `ssh-keygen -R '{address}'` and try again"
                ));
            }
            Cause::HostKeyUnknown { address, .. } => {
                return Some(format!(
                    "your SSH configuration rejects unknown host keys (StrictHostKeyChecking yes); \
                     record the key with `ssh {address}` or `ssh-keyscan`"
                ));
            }
            Cause::HostKeyRevoked { .. } => {
                "generate a new host key on the server before using it again"
            }
            Cause::HostCertificate { .. } => {
                "a certificate authority is recorded for this host (@cert-authority): have it sign \
                 the server's key for that name"
            }
            Cause::Auth {
                wants_more: true, ..
            } => {
                "the server requires more than a key, such as a password or a one-time code, which \
                 hitc does not support; allow public key authentication alone for this user"
            }
            Cause::Auth { .. } => {
                "set the user with `--user`, or the private key with `--identity`"
            }
            Cause::Identity { .. } => {
                "set the private key with `--identity`, or with IdentityFile in ~/.ssh/config"
            }
            Cause::SudoPassword { .. } => {
                "enter the right password with `--ask-sudo-pass`, and check that the user may use sudo"
            }
            Cause::SudoOutput { .. } => "check what the login scripts and sudo of the server print",
            Cause::HostKeyUncertified { .. } => {
                "a certificate authority is recorded for this host (@cert-authority): have it sign \
                 the server's key, or record the key if you know it"
            }
            Cause::NoAnswer { .. } => {
                "check that the server is running, and that its firewall allows SSH"
            }
            Cause::TooMuch { .. } => TooMuch::HELP,
            _ => return None,
        };
        Some(help.to_owned())
    }
}

impl Error {
    /// Creates an error of one host.
    pub(super) fn on_host(host: &str, cause: Cause) -> Self {
        Error {
            host: Some(host.to_owned()),
            cause,
        }
    }

    /// Creates an error of a local file that several hosts share.
    pub(super) fn local(cause: Cause) -> Self {
        Error { host: None, cause }
    }

    /// The kind, which decides the exit status.
    pub fn kind(&self) -> Kind {
        match self.cause {
            Cause::Resolve { .. }
            | Cause::Connect { .. }
            | Cause::Handshake { .. }
            | Cause::NoAnswer { .. }
            | Cause::HostKeyChanged { .. }
            | Cause::HostKeyUnknown { .. }
            | Cause::HostKeyUncertified { .. }
            | Cause::HostKeyRevoked { .. }
            | Cause::HostCertificate { .. }
            | Cause::Auth { .. }
            | Cause::Identity { .. }
            | Cause::Lost { .. } => Kind::Unreachable,
            Cause::KnownHosts { .. } | Cause::Key { .. } | Cause::Config { .. } => Kind::Usage,
            Cause::Refused { .. }
            | Cause::TooMuch { .. }
            | Cause::SudoPassword { .. }
            | Cause::SudoOutput { .. }
            | Cause::Listen { .. } => Kind::Failed,
            Cause::Timeout { .. } => Kind::Timeout,
        }
    }
}

impl From<Error> for Diagnostic {
    fn from(error: Error) -> Self {
        let diagnostic = Diagnostic::new(error.kind(), error.to_string()).help(error.cause.help());
        match error.host {
            Some(host) => diagnostic.on(host),
            None => diagnostic,
        }
    }
}

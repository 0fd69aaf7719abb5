//! SSH connections: one per host and run, with any number of channels.
//!
//! The only layer that uses russh. It knows nothing of providers, Docker or scripts.

mod address;
mod auth_keys;
mod channel;
mod client;
mod command;
mod config;
mod connection;
mod connection_state;
mod dial;
mod early_command;
mod endpoint;
mod error;
mod exec;
mod forward;
mod host_key;
mod key;
mod keyring;
mod known_hosts;
mod line;
mod login;
mod openssh;
mod pool;
mod prepared;
mod remote_process;
mod spool;
mod stream;
mod target;
mod tcp;
mod terminate;
mod terminations;

pub use address::Address;
pub use command::{Command, Input};
pub use config::{Config, read_config};
pub use connection::Connection;
pub use dial::Duplex;
pub use endpoint::Endpoint;
pub use error::{Cause, Error};
pub use forward::Forward;
pub use host_key::NewHostKey;
pub use key::KeyPair;
pub use known_hosts::{HostKeyStatus, KnownHosts, read_known_hosts};
pub use line::{EncodedCommand, RUN_ID_VARIABLE, command_line, quote};
pub use openssh::OpenSsh;
pub use pool::Pool;
pub use russh::keys::PublicKey;
pub use stream::Stream;
pub use target::{HostKey, Identity, Login, Route, Target};
pub use tcp::connect_host;
pub use terminate::termination_script;
pub use terminations::{Terminations, UnterminatedCommand};

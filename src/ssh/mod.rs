//! Connections to servers: one a host for the whole run, channels on it.
//!
//! The only place that knows russh. It knows nothing of providers, Docker or scripts.

mod address;
mod auth_keys;
mod channel;
mod client;
mod config;
mod connection;
mod dial;
mod early;
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
mod server_facts;
mod spool;
mod target;
mod terminate;

pub use address::Address;
pub use channel::{Stream, StreamTarget};
pub use config::Config;
pub use connection::Connection;
pub use error::Error;
pub use exec::{Command, Input};
pub use forward::{Endpoint, Forward};
pub use host_key::NewHostKey;
pub use key::KeyPair;
pub use known_hosts::{HostKeyStatus, KnownHosts};
pub use line::quote;
pub use openssh::OpenSsh;
pub use pool::Pool;
pub use russh::keys::PublicKey;
pub use target::{HostKey, Identity, Login, Route, Target};
pub use terminate::{Terminations, UnterminatedCommand};

//! Connections to servers: one a host for the whole run, channels on it.
//!
//! The only place that knows russh. It knows nothing of providers, Docker or scripts.

mod channel;
mod connection;
mod error;
mod exec;
mod key;
mod known_hosts;
mod pool;
mod target;
mod terminal;

pub use channel::{Dialect, Stream};
pub use connection::Connection;
pub use error::Error;
pub use exec::{Command, Input, quote};
pub use key::{KeyPair, default_identities};
pub use known_hosts::{KnownHosts, Verdict};
pub use pool::Pool;
pub use russh::keys::PublicKey;
pub use target::{HostKey, Target};
pub use terminal::terminal;

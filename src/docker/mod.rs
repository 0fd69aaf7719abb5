//! Docker engines, on this machine and on servers.
//!
//! The only place that knows bollard. It speaks the engine's API over a local socket or an SSH
//! channel; nothing here parses what the docker command prints.

mod archive;
mod bring;
mod compare;
mod container;
mod context;
mod decode;
mod engine;
mod error;
mod image;
mod lifecycle;
mod port;
mod ready;
mod setup;
mod spec;
mod transport;

pub use container::{Container, Listed, State};
pub use context::Context;
pub use engine::Engine;
pub(crate) use engine::cause;
pub use error::Error;
pub use image::{Build, Progress};
#[cfg(test)]
pub(crate) use lifecycle::as_made;
pub use port::{Port, Protocol};
pub use ready::Ready;
pub use setup::{Setup, set_up, set_up_here};
pub use spec::{Change, Image, Pull, Restart, Spec, Volume};

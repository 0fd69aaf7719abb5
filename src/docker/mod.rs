//! Docker engines, on this machine and on servers.
//!
//! The only place that knows bollard. It speaks the engine's API over a local socket or an SSH
//! channel; nothing here parses what the docker command prints.

mod container;
mod context;
mod engine;
mod error;
mod image;
mod port;
mod ready;
mod setup;
mod spec;
mod transport;

#[cfg(test)]
pub(crate) use container::as_made;
pub use container::{Container, Listed, State};
pub use context::Context;
pub use engine::Engine;
pub(crate) use engine::cause;
pub use error::Error;
pub use image::{Build, Progress};
pub use port::{Port, Protocol};
pub use ready::{Probe, Ready};
pub use setup::{Setup, set_up, set_up_here};
pub use spec::{Change, Image, Pull, Restart, Spec, Volume, format_bytes, parse_bytes};

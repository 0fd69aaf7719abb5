//! Docker engines, of the local machine and of servers.
//!
//! Requests go to the engine's API, over a local socket or an SSH channel, by bollard. The output
//! of the docker command is never parsed.

mod container;
mod containers;
mod diagnose;
mod engine;
mod error;
mod image;
mod inputs;
mod inside;
mod port;
mod registry;
mod run;
mod setup;
mod transport;

#[cfg(test)]
pub(crate) use container::as_made;
pub use container::{
    Comparison, Container, Image, Listed, Pull, Ready, Replacement, Restart, Spec, State,
    StepNames, Volume, labels,
};
pub use containers::{Containers, Snapshot};
pub(crate) use engine::cause;
pub use engine::{Engine, EngineStatus};
pub use error::Error;
pub use image::{Build, Context, ListedImage, Platform, Progress};
pub use inputs::Inputs;
pub use inside::Inside;
pub use port::{Port, Protocol};
pub use registry::{ConfigPath, Registries};
pub use run::{Run, ensure_engine, kill};
pub use setup::{Setup, set_up, set_up_here};

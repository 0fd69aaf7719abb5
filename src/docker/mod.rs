//! Docker engines, of the local machine and of servers.
//!
//! Requests go to the engine's API, over a local socket or an SSH channel, by bollard. The output
//! of the docker command is never parsed.

mod action;
mod answer;
mod api_error;
mod attach;
mod bind;
mod container;
mod containers;
mod copy;
mod details;
mod diagnose;
mod engine;
mod engine_events;
mod error;
mod image;
mod inputs;
mod inside;
mod logs;
mod merge;
mod network;
mod port;
mod registry;
mod resources;
mod run;
mod setup;
mod stats;
mod transport;

pub use action::Action;
pub(crate) use api_error::cause;
pub use bind::{Binding, bind, bindings, read_bindings, unbind};
#[cfg(test)]
pub(crate) use container::as_made;
pub use container::{
    Comparison, Container, Image, Listed, Probe, Pull, Ready, Replacement, Restart, Spec, State,
    StepNames, Volume, labels, read_answers,
};
pub use containers::{Containers, Snapshot};
pub use copy::{Copy, Tally, read_archive};
pub use details::Processes;
pub use engine::{Engine, EngineStatus};
pub use engine_events::{EventOptions, show_events};
pub use error::Error;
pub use image::{Build, Context, ListedImage, Platform, Progress, Secrets};
pub use inputs::{Inputs, read_env_file};
pub use inside::{Account, Inside};
pub use logs::{LogOptions, LogSelection, show_logs};
pub use port::{Port, Protocol};
pub use registry::{ConfigPath, Registries};
pub use resources::{Kind as UnusedKind, NamedVolume, Network, Unused};
pub use run::{Run, ensure_engine};
pub use setup::{Repository, Setup, SetupOptions, device, set_up, set_up_here};
pub use stats::{Stats, show_stats, watch_stats};

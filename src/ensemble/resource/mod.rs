//! The kinds of resources: for each, what it needs, how it is observed and what is decided about it.
//!
//! A kind of resource is one file here, one variant of [`ResourceName`], its operations, and a line
//! in [`decide`]. The graph, the plan and the executor know no kinds.

pub mod container;
mod decision;
mod existing;
pub mod firewall;
mod name;
pub mod server;

pub use decision::{Cause, Decision, Draft, Known, View};
pub use name::ResourceName;

use crate::core::diagnostic::Diagnostic;

/// Decides what has to be done to a resource of the manifest.
pub fn decide(name: &ResourceName, view: &View<'_>) -> Result<Decision, Diagnostic> {
    match name {
        ResourceName::Server(server) => server::decision(server, view),
        ResourceName::Firewall(server) => firewall::decision(server, view),
        ResourceName::Container(server, name) => container::decision(server, name, view),
    }
}

//! Environments: one YAML file describes servers and containers.
//!
//! A manifest is loaded ([`Manifest`]), what exists is observed ([`Observed`]), and the difference
//! becomes a [`Plan`] of operations. The plan is made without touching anything, shown, confirmed,
//! and executed as it is. Nothing is remembered between runs: the state is in the servers.

mod apply;
mod cloud_firewall;
mod container_options;
mod converge;
mod graph;
mod live;
mod manifest;
mod observe;
mod operation;
mod plan;
mod quote;
mod request;
mod resource;
mod status;
#[cfg(test)]
mod tests;
mod world;

pub use apply::apply;
pub use container_options::container;
pub use converge::{Invocation, down, plan, up};
pub use graph::Graph;
pub use manifest::{
    Container, LARGEST, Manifest, find, find_only, is_manifest, load, names, parse_yaml, read,
    read_variables, warnings,
};
pub use observe::{EngineState, Observed, observe};
pub use operation::Execution;
pub use plan::Plan;
pub use request::Request;
pub use status::{Status, status};
pub use world::World;

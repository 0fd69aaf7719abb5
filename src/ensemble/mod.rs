//! Whole environments: one YAML file says which servers and containers there should be.
//!
//! A manifest is loaded ([`Manifest`]), what is really there is looked at ([`Observed`]), the
//! difference is worked out without touching anything ([`Plan`]), shown, and applied. Nothing is
//! remembered between runs: the state is in the servers.

mod apply;
mod down;
mod graph;
mod manifest;
mod observe;
mod plan;
mod reconcile;
mod server_step;
#[cfg(test)]
mod tests;
mod up;

pub use down::down;
pub use graph::{Graph, Thing};
pub use manifest::{Manifest, Server, find, load, parse_yaml};
pub use observe::{EngineState, Observed, ServerState, observe};
pub use plan::{Action, Plan, Step};
pub use reconcile::{Request, reconcile};
pub use up::{plan, up};

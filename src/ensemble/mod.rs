//! Whole environments: one YAML file says which servers and containers there should be.
//!
//! A manifest is loaded ([`Manifest`]), what is really there is looked at ([`Observed`]), the
//! difference is worked out without touching anything ([`Plan`]), shown, and applied. Nothing is
//! remembered between runs: the state is in the servers.

mod apply;
mod check;
mod down;
mod facts;
mod graph;
mod load;
mod lock;
mod manifest;
mod observe;
mod plan;
mod reconcile;
mod server_step;
mod template;
#[cfg(test)]
mod tests;
mod tree;
mod up;
mod variable;
mod yaml;

pub use down::down;
pub use graph::{Graph, Thing};
pub use load::{find, load};
pub use manifest::{Container, Manifest, Server};
pub use observe::{EngineState, Observed, ServerState, observe};
pub use plan::{Action, Plan, Step};
pub use reconcile::{Request, reconcile};
pub use up::{plan, up};
pub use yaml::parse as parse_yaml;

//! Head In The Clouds: servers at any cloud, the containers on them, and the tasks you run there.
//!
//! `src/README.md` is the map.

pub mod api;
pub mod cancel;
pub mod diagnostic;
pub mod docker;
pub mod event;
pub mod iptables;
pub mod process;
pub mod project;
pub mod provider;
pub mod selection;
pub mod session;
pub mod ssh;
pub mod table;
pub mod value;

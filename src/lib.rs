//! Head In The Clouds: servers at any cloud, the containers on them, and the tasks you run there.
//!
//! `src/README.md` is the map.

pub mod diagnostic;
pub mod docker;
pub mod event;
pub mod process;
pub mod provider;
pub mod ssh;
pub mod value;

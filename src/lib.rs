//! Head In The Clouds: servers at any cloud, the containers on them, and the tasks you run there.
//!
//! `src/README.md` is the map. What is public here is what the integration tests and `fuzz/` use.

use std::{ffi::OsString, process::ExitCode};

mod api;
mod cli;
mod context;
pub mod core;
pub mod docker;
mod ensemble;
mod files;
mod fleet;
pub mod fuzz;
pub mod http;
pub mod inventory;
pub mod iptables;
pub mod machine;
pub mod mock;
mod project;
pub mod provider;
mod provision;
mod script;
pub mod ssh;
mod ui;

/// Runs the program with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    cli::main(arguments)
}

//! Head In The Clouds: servers at any cloud, the containers on them, and the tasks you run there.
//!
//! `src/README.md` is the map. What is public here is what the integration tests and `fuzz/` use.

use std::{ffi::OsString, process::ExitCode};

mod api;
mod cancel;
mod cli;
pub mod diagnostic;
mod docker;
mod ensemble;
mod environment;
pub mod event;
mod files;
mod fleet;
pub mod http;
mod iptables;
mod parallel;
pub mod process;
mod project;
pub mod provider;
mod provision;
mod script;
mod selection;
mod session;
pub mod ssh;
mod stage;
mod table;
mod ui;
mod units;
pub mod value;

pub use script::audit_text;

/// Runs the program with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    cli::main(arguments)
}

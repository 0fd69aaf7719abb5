//! Head In The Clouds: servers at any cloud, the containers on them, and the tasks you run there.
//!
//! `src/README.md` is the map.

use std::{ffi::OsString, process::ExitCode};

pub mod api;
pub mod cancel;
mod cli;
pub mod diagnostic;
pub mod docker;
pub mod ensemble;
pub mod event;
pub mod iptables;
pub mod process;
pub mod project;
pub mod provider;
pub mod script;
pub mod selection;
pub mod session;
pub mod ssh;
pub mod table;
pub mod ui;
pub mod value;

/// Runs the program with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    cli::main(arguments)
}

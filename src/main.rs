//! The `hitc` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    hitc::run(std::env::args_os())
}

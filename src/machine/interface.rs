//! `Machine`: the interface of a place where commands run.

use async_trait::async_trait;

use crate::{
    core::{diagnostic::Diagnostic, process::Output},
    ssh::Command,
};

/// A place where commands run: a server, or one that a test simulates.
#[async_trait]
pub trait Machine: Send + Sync {
    /// Runs a command and returns everything that it wrote.
    async fn run(&self, command: &Command) -> Result<Output, Diagnostic>;
}

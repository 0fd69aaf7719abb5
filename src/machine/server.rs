//! A server as a machine: commands run over its SSH connection.

use std::sync::Arc;

use async_trait::async_trait;

use super::Machine;
use crate::{
    core::{diagnostic::Diagnostic, process::Output},
    ssh::{Command, Connection},
};

/// The server at the end of an SSH connection.
pub struct Server(pub Arc<Connection>);

#[async_trait]
impl Machine for Server {
    async fn run(&self, command: &Command) -> Result<Output, Diagnostic> {
        Ok(self.0.run(command).await?)
    }
}

//! A server as a machine: over its SSH connection.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Error, Machine, OnOutput, Stream};
use crate::{
    core::process::Output,
    ssh::{Command, Connection, Endpoint},
};

/// The server at the end of an SSH connection.
pub struct Server(pub Arc<Connection>);

#[async_trait]
impl Machine for Server {
    fn name(&self) -> &str {
        &self.0.target().name
    }

    fn is_root(&self) -> bool {
        self.0.target().user == "root"
    }

    fn check_connected(&self, doing: &str) -> Result<(), Error> {
        if self.0.is_closed() {
            return Err(self.0.lost(doing).into());
        }
        Ok(())
    }

    async fn exec(&self, command: &Command, on_output: OnOutput<'_>) -> Result<Output, Error> {
        Ok(self.0.exec(command, on_output).await?)
    }

    async fn stream(&self, command: &Command) -> Result<Stream, Error> {
        Ok(Box::new(self.0.stream(command).await?))
    }

    async fn dial(&self, to: &Endpoint) -> Result<Stream, Error> {
        Ok(Box::new(self.0.dial(to).await?))
    }
}

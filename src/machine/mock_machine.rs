//! A machine that a mock answers for, for the tests of code that runs on machines.

use std::io;

use async_trait::async_trait;

use super::{Cause, Error, Machine, OnOutput, Stream};
use crate::{
    core::{event, process::Output},
    mock::Mock,
    ssh::{Command, Endpoint},
};

/// A machine in memory. Commands are recorded and answered by its mock; nothing listens on it.
#[derive(Default)]
pub struct MockMachine {
    /// Records and answers.
    pub mock: Mock,
    /// Whether the login user is root.
    pub is_root: bool,
    /// Whether the connection to it is lost.
    pub is_lost: bool,
}

impl MockMachine {
    /// Its name.
    pub const NAME: &str = "mock";
}

#[async_trait]
impl Machine for MockMachine {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn is_root(&self) -> bool {
        self.is_root
    }

    fn check_connected(&self, doing: &str) -> Result<(), Error> {
        if self.is_lost {
            let message = format!("connection lost while {doing}");
            return Err(Error::failed(Self::NAME, &message).because(Cause::Lost));
        }
        Ok(())
    }

    async fn exec(&self, command: &Command, on_output: OnOutput<'_>) -> Result<Output, Error> {
        self.check_connected(&format!("running `{}`", command.line))?;
        let output = self.mock.run(Self::NAME, &command.line);
        on_output(event::Stream::Stdout, &output.stdout);
        Ok(output)
    }

    /// Returns the answer as the output of the command, which reads nothing.
    async fn stream(&self, command: &Command) -> Result<Stream, Error> {
        let stdout = self.run(command).await?.stdout;
        let unread = tokio::io::sink();
        Ok(Box::new(tokio::io::join(io::Cursor::new(stdout), unread)))
    }

    async fn dial(&self, to: &Endpoint) -> Result<Stream, Error> {
        let message = format!("cannot connect to {to}: connection refused");
        Err(Error::failed(Self::NAME, &message).because(Cause::Refused {
            is_forbidden: false,
        }))
    }
}

//! `Machine`: the interface of a place where commands run.

use async_trait::async_trait;
use bytes::Bytes;

use super::{Error, RawFiles, Stream, WriteOptions};
use crate::{
    core::{event, process::Output},
    ssh::{Command, Endpoint, Input},
};

/// Gets the output of a command as it arrives.
pub type OnOutput<'a> = &'a mut (dyn FnMut(event::Stream, &[u8]) + Send);

/// A place where commands run: a server, the local machine, or a container.
///
/// Commands start in the home folder of the login user (in a container, in the working folder of
/// its image), and so do relative paths.
#[async_trait]
pub trait Machine: Send + Sync {
    /// The name, for messages.
    fn name(&self) -> &str;

    /// Whether commands run as root without sudo.
    fn is_root(&self) -> bool;

    /// Returns an error if the connection to the machine is closed; `doing` is the operation that was
    /// interrupted. The local machine is always connected.
    fn check_connected(&self, doing: &str) -> Result<(), Error>;

    /// Runs a command and returns what it wrote; `on_output` gets it as it arrives. Terminates its
    /// processes if it exceeds its time limit, or if the future is dropped.
    async fn exec(&self, command: &Command, on_output: OnOutput<'_>) -> Result<Output, Error>;

    /// Runs a command as [`Machine::exec`] does, and returns what it wrote.
    async fn run(&self, command: &Command) -> Result<Output, Error> {
        self.exec(command, &mut |_, _| ()).await
    }

    /// Starts a command and returns a stream of its standard input and output. The command's own
    /// `stdin` and `timeout` are ignored. An exit status other than 0 becomes a read error with what
    /// the command wrote to standard error. Closing the stream does not terminate the command; its
    /// standard input ends.
    async fn stream(&self, command: &Command) -> Result<Stream, Error>;

    /// Opens a TCP connection from the machine, or a connection to a Unix socket on it.
    async fn dial(&self, to: &Endpoint) -> Result<Stream, Error>;

    /// Writes a file atomically: other programs see the old content or the new one, and an error
    /// leaves the old one. For files that fit in memory.
    ///
    /// Sends the content to the standard input of a command: other users can see arguments.
    async fn put(
        &self,
        path: &str,
        content: Bytes,
        write_options: &WriteOptions,
    ) -> Result<(), Error> {
        self.put_by_command(path, content, write_options).await
    }

    /// Writes a file as [`Machine::put`] does, by a shell command.
    async fn put_by_command(
        &self,
        path: &str,
        content: Bytes,
        write_options: &WriteOptions,
    ) -> Result<(), Error> {
        let line = write_options.write_command(path, content.len());
        let command = Command {
            stdin: Input::Bytes(content),
            sudo: write_options.sudo,
            ..Command::new(line)
        };
        let output = self.run(&command).await?;
        if output.ok() {
            return Ok(());
        }
        let mut cause = output.tail(3);
        if cause.is_empty() {
            cause = output.exit.to_string();
        }
        let message = format!("write {path}: {cause}");
        Err(Error::failed(self.name(), &message))
    }

    /// Reads and writes files if the machine has no shell; none if commands do that.
    async fn raw_files(&self) -> Result<Option<&dyn RawFiles>, Error> {
        Ok(None)
    }
}

//! Runs commands on a server, with a time limit. Abandoned commands are terminated.

use std::{future::Future, sync::Arc, time::Instant};

use super::{
    Cause, Command, Connection, Error, prepared::PreparedCommand, stream::Stream,
    terminate::CommandGuard,
};
use crate::core::{event, process::Output};

impl Connection {
    /// Runs a command, and passes its output to `on_output` as it arrives. Terminates the command's
    /// processes if it exceeds its time limit, or if the future is dropped.
    pub async fn exec(
        self: &Arc<Self>,
        command: &Command,
        on_output: impl FnMut(event::Stream, &[u8]),
    ) -> Result<Output, Error> {
        let prepared = self.prepare(command, true);
        self.exec_prepared(command, prepared, on_output).await
    }

    /// Runs a command as [`Connection::exec`] does, and keeps its output.
    pub async fn run(self: &Arc<Self>, command: &Command) -> Result<Output, Error> {
        self.exec(command, |_, _| ()).await
    }

    /// Opens a byte stream to the standard input and output of a command on the server. Closing it
    /// does not terminate the command.
    pub async fn stream(&self, command: &Command) -> Result<Stream, Error> {
        Ok(Stream::of_command(self.start(command).await?))
    }

    /// Runs a prepared command as [`Connection::exec`] does. Takes up the command if it was sent
    /// already, as the early command of this connection.
    pub(super) async fn exec_prepared(
        self: &Arc<Self>,
        command: &Command,
        prepared: PreparedCommand,
        on_output: impl FnMut(event::Stream, &[u8]),
    ) -> Result<Output, Error> {
        let started = Instant::now();
        let deadline = command
            .timeout
            .map(|limit| tokio::time::Instant::now() + limit);
        let timed_out = async |guard: CommandGuard| {
            self.target().error(Cause::Timeout {
                command: command.line.clone(),
                seconds: command.timeout.unwrap_or_default().as_secs_f64(),
                terminated: guard.terminate().await,
            })
        };
        let early = self.take_early(&prepared.encoded.line);
        let run_id = prepared.run_id.as_deref().unwrap_or_default();
        // Before the command is sent: if this future is dropped while sending, it may be running.
        let guard = CommandGuard::new(self, command, run_id);
        let sending = async {
            match early {
                Some(channel) => Ok(channel),
                None => self.send(command, &prepared).await,
            }
        };
        let channel = match until(deadline, sending).await {
            Some(Ok(channel)) => channel,
            Some(Err(error)) => {
                guard.disarm();
                return Err(error);
            }
            None => return Err(timed_out(guard).await),
        };
        self.open_spare_session();
        let reading = self.read_output(command, channel, started, on_output);
        match until(deadline, reading).await {
            None => Err(timed_out(guard).await),
            Some(Err(error)) if matches!(error.cause, Cause::TooMuch { .. }) => {
                // Still running: dropping the guard terminates it.
                Err(error)
            }
            Some(result) => {
                guard.disarm();
                result
            }
        }
    }
}

/// Waits for a future until a deadline, if there is one.
async fn until<T>(
    deadline: Option<tokio::time::Instant>,
    work: impl Future<Output = T>,
) -> Option<T> {
    match deadline {
        None => Some(work.await),
        Some(deadline) => tokio::time::timeout_at(deadline, work).await.ok(),
    }
}

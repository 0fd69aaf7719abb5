//! Commands that are terminated when they exceed their time limit or are abandoned, on machines that
//! hitc does not reach over SSH.

use std::{
    future::Future,
    io::SeekFrom,
    pin::{Pin, pin},
    sync::atomic::Ordering,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt},
    runtime::Handle,
    time::timeout,
};

use super::Error;
use crate::{
    core::process::{Output, TooMuch},
    ssh::{self, Command, Input, Terminations, UnterminatedCommand, termination_script},
};

/// The time limit for terminating a command, which takes up to seven seconds.
const TERMINATION_TIMEOUT: Duration = Duration::from_secs(12);

/// A command whose processes carry a run id, by which they are found and terminated.
pub(crate) struct Tracked<'a> {
    host: &'a str,
    command: &'a Command,
    terminations: Terminations,
    /// The id that marks the command's processes.
    pub run_id: String,
}

impl<'a> Tracked<'a> {
    /// Chooses a run id for a command. `terminations` collects it if it is abandoned.
    pub fn new(host: &'a str, command: &'a Command, terminations: Terminations) -> Self {
        Tracked {
            host,
            command,
            terminations,
            run_id: format!("{:016x}", fastrand::u64(..)),
        }
    }

    /// The command that terminates this one.
    pub fn terminator(&self) -> Command {
        Command {
            sudo: self.command.sudo,
            user: self.command.user.clone(),
            ..Command::new(termination_script(&self.run_id))
        }
    }

    /// Waits for the running command. If it exceeds its time limit, or if the future is dropped,
    /// `terminate` runs, which returns whether the command's processes are gone.
    pub async fn run(
        self,
        running: impl Future<Output = Result<Output, Error>>,
        terminate: impl Future<Output = bool> + Send + 'static,
    ) -> Result<Output, Error> {
        let mut guard = Guard {
            terminate: Some(Box::pin(terminate)),
            terminations: self.terminations,
            command: UnterminatedCommand {
                host: self.host.to_owned(),
                line: self.command.line.clone(),
            },
        };
        let mut running = pin!(running);
        let limit = self.command.timeout.unwrap_or(Duration::MAX);
        let Ok(ended) = timeout(limit, &mut running).await else {
            let terminated = match guard.terminate.take() {
                Some(terminate) => {
                    let terminated = timeout(TERMINATION_TIMEOUT, terminate).await;
                    terminated.unwrap_or(false)
                }
                None => false,
            };
            return Err(Error::from(ssh::Error {
                host: Some(self.host.to_owned()),
                cause: ssh::Cause::Timeout {
                    command: self.command.line.clone(),
                    seconds: limit.as_secs_f64(),
                    terminated,
                },
            }));
        };
        // After an error, such as too much output, the command may still be running.
        if ended.is_ok() {
            guard.terminate = None;
        }
        ended
    }
}

/// The error of a command that wrote too much.
pub(crate) fn too_much(host: &str, command: &Command, cause: TooMuch) -> Error {
    Error::from(ssh::Error {
        host: Some(host.to_owned()),
        cause: ssh::Cause::TooMuch {
            command: command.line.clone(),
            cause,
        },
    })
}

/// Starts the termination of a command when it is dropped.
struct Guard {
    terminate: Option<Pin<Box<dyn Future<Output = bool> + Send>>>,
    terminations: Terminations,
    command: UnterminatedCommand,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(terminate) = self.terminate.take()
            && let Ok(runtime) = Handle::try_current()
        {
            let terminations = self.terminations.clone();
            let id = terminations.start(self.command.clone());
            runtime.spawn(async move {
                let terminated = timeout(TERMINATION_TIMEOUT, terminate).await;
                terminations.finish(id, terminated.unwrap_or(false));
            });
        }
    }
}

/// Writes the input of the encoded command (`first`), then the command's own. Returns how many bytes
/// were written. The caller closes the stream. A failed write is no error: a command may end without
/// reading its input.
pub(crate) async fn write_input(
    first: Vec<u8>,
    input: Input,
    to: &mut (impl AsyncWrite + Unpin + Send),
) -> u64 {
    let mut written = first.len() as u64;
    if to.write_all(&first).await.is_err() {
        return written;
    }
    match input {
        Input::Bytes(bytes) => {
            written += bytes.len() as u64;
            drop(to.write_all(&bytes).await);
        }
        Input::Stdin => copy(tokio::io::stdin(), to, |bytes| written += bytes).await,
        Input::File { path, from, sent } => {
            // The caller has checked that the file exists. If it is removed meanwhile, fewer bytes
            // arrive than announced, which the command notices.
            if let Ok(mut file) = tokio::fs::File::open(path).await
                && file.seek(SeekFrom::Start(from)).await.is_ok()
            {
                copy(file, to, |bytes| {
                    written += bytes;
                    sent.fetch_add(bytes, Ordering::Relaxed);
                })
                .await;
            }
        }
    }
    written
}

async fn copy(
    mut from: impl AsyncRead + Unpin + Send,
    to: &mut (impl AsyncWrite + Unpin + Send),
    mut on_sent: impl FnMut(u64) + Send,
) {
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        on_sent(count as u64);
    }
}

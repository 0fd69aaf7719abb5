//! Commands that are terminated when they exceed their time limit or are abandoned, on machines that
//! hitc does not reach over SSH.

use std::{future::Future, io::SeekFrom, pin::pin, sync::atomic::Ordering, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt},
    runtime::Handle,
    time::timeout,
};

use super::Error;
use crate::{
    core::process::{Output, TooMuch},
    ssh::{self, Command, Input, termination_script},
};

/// The time limit for terminating a command, which takes up to four seconds.
const TERMINATION_TIMEOUT: Duration = Duration::from_secs(8);

/// Runs a command with `execute`, which takes a command and the id that marks its processes. If the
/// command exceeds its time limit, or if the future is dropped, its processes are terminated with
/// another command.
pub(crate) async fn run_tracked<R>(
    host: &str,
    command: &Command,
    execute: impl Fn(Command, Option<String>) -> R,
) -> Result<Output, Error>
where
    R: Future<Output = Result<Output, Error>> + Send + 'static,
{
    let run_id = format!("{:016x}", fastrand::u64(..));
    let terminating = Box::pin(execute(terminator(command, &run_id), None));
    let terminate = async move { terminating.await.is_ok_and(|output| output.ok()) };
    let running = Box::pin(execute(command.clone(), Some(run_id)));
    limited(host, command, running, terminate).await
}

/// The command that terminates the processes of another one.
fn terminator(command: &Command, run_id: &str) -> Command {
    Command {
        sudo: command.sudo,
        user: command.user.clone(),
        ..Command::new(termination_script(run_id))
    }
}

/// Waits for a running command. If it exceeds its time limit, or if the future is dropped,
/// `terminate` runs, which returns whether the command's processes are gone.
async fn limited(
    host: &str,
    command: &Command,
    running: impl Future<Output = Result<Output, Error>>,
    terminate: impl Future<Output = bool> + Send + 'static,
) -> Result<Output, Error> {
    let mut guard = Guard(Some(terminate));
    let mut running = pin!(running);
    let limit = command.timeout.unwrap_or(Duration::MAX);
    let Ok(ended) = timeout(limit, &mut running).await else {
        let terminated = match guard.0.take() {
            Some(terminate) => {
                let terminated = timeout(TERMINATION_TIMEOUT, terminate).await;
                terminated.unwrap_or(false)
            }
            None => false,
        };
        return Err(Error::from(ssh::Error {
            host: Some(host.to_owned()),
            cause: ssh::Cause::Timeout {
                command: command.line.clone(),
                seconds: limit.as_secs_f64(),
                terminated,
            },
        }));
    };
    // After an error, such as too much output, the command may still be running.
    if ended.is_ok() {
        guard.0 = None;
    }
    ended
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
struct Guard<F: Future<Output = bool> + Send + 'static>(Option<F>);

impl<F: Future<Output = bool> + Send + 'static> Drop for Guard<F> {
    fn drop(&mut self) {
        if let Some(terminate) = self.0.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(timeout(TERMINATION_TIMEOUT, terminate));
        }
    }
}

/// Writes the input of the encoded command (`first`), then the command's own, and closes the stream. A
/// failed write is no error: a command may end without reading its input.
pub(crate) async fn write_input(
    first: Vec<u8>,
    input: Input,
    mut to: impl AsyncWrite + Unpin + Send,
) {
    if to.write_all(&first).await.is_err() {
        return;
    }
    match input {
        Input::Bytes(bytes) => drop(to.write_all(&bytes).await),
        Input::Stdin => copy(tokio::io::stdin(), &mut to, |_| ()).await,
        Input::File { path, from, sent } => {
            // The caller has checked that the file exists. If it is removed meanwhile, fewer bytes
            // arrive than announced, which the command notices.
            if let Ok(mut file) = tokio::fs::File::open(path).await
                && file.seek(SeekFrom::Start(from)).await.is_ok()
            {
                copy(file, &mut to, |bytes| {
                    sent.fetch_add(bytes, Ordering::Relaxed);
                })
                .await;
            }
        }
    }
    let _ = to.shutdown().await;
}

async fn copy(
    mut from: impl AsyncRead + Unpin + Send,
    to: &mut (impl AsyncWrite + Unpin + Send),
    on_sent: impl Fn(u64) + Send,
) {
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        on_sent(count as u64);
    }
}

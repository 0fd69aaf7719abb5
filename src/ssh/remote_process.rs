//! One command on one session channel: sends it, answers sudo, writes its input, reads its output.
//!
//! Without a time limit, and without termination of what is abandoned: see `exec.rs`.

use std::{
    io::SeekFrom,
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use bytes::Bytes;
use russh::{ChannelMsg, ChannelWriteHalf, client::Msg};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncSeekExt},
    task::yield_now,
};

use super::{
    Cause, Command, Connection, Error, Input, channel::SpooledChannel, line::SudoMarkers,
    prepared::PreparedCommand,
};
use crate::core::{
    event,
    process::{Exit, Output},
};

/// The most output before the command starts: what the server's profile and sudo write. Each message
/// counts for a few bytes more.
const MAX_SUDO_OUTPUT: usize = 256 * 1024;
const OVERHEAD: usize = 64;

impl Connection {
    /// Runs a command that is not terminated if it is abandoned.
    pub(super) async fn run_untracked(&self, command: &Command) -> Result<Output, Error> {
        let started = Instant::now();
        let channel = self.start(command).await?;
        self.read_output(command, channel, started, |_, _| ()).await
    }

    /// Starts a command whose input and output the caller handles.
    pub(super) async fn start(&self, command: &Command) -> Result<SpooledChannel, Error> {
        let prepared = self.prepare(command, false);
        self.send(command, &prepared).await
    }

    /// Prepares a command for the login user.
    pub(super) fn prepare(&self, command: &Command, is_tracked: bool) -> PreparedCommand {
        let has_password = self.keyring.sudo_password().is_some();
        PreparedCommand::new(command, &self.target().user, has_password, is_tracked)
    }

    /// Sends a command and the input of its script; answers the password prompt of sudo.
    pub(super) async fn send(
        &self,
        command: &Command,
        prepared: &PreparedCommand,
    ) -> Result<SpooledChannel, Error> {
        let lost = || self.lost(&format!("running `{}`", command.line));
        let mut channel = self.open_session().await?;
        let Some(write) = channel.write.clone() else {
            return Err(lost());
        };
        if self.target().forward_agent {
            write.agent_forward(false).await.map_err(|_| lost())?;
        }
        let line = prepared.encoded.line.as_str();
        write.exec(true, line).await.map_err(|_| lost())?;
        if let Some(markers) = &prepared.sudo {
            self.answer_sudo(&mut channel, &write, markers).await?;
        }
        if !prepared.encoded.input.is_empty() {
            let input = Bytes::from(prepared.encoded.input.clone());
            write.data_bytes(input).await.map_err(|_| lost())?;
        }
        Ok(channel)
    }

    /// Sends the password if sudo asks for it, and waits until the command starts.
    async fn answer_sudo(
        &self,
        channel: &mut SpooledChannel,
        write: &ChannelWriteHalf<Msg>,
        markers: &SudoMarkers,
    ) -> Result<(), Error> {
        let (mut stderr, mut answered) = (String::new(), false);
        let (mut others, mut size) = (Vec::new(), 0);
        // What remains of standard error is put back for the reader of the output.
        let rest = loop {
            let Some(message) = channel.next().await else {
                break stderr.replace(&markers.prompt, "");
            };
            size += OVERHEAD;
            if let ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } = &message {
                size += data.len();
            }
            if size > MAX_SUDO_OUTPUT {
                return Err(self.target().error(Cause::SudoOutput {
                    kibibytes: MAX_SUDO_OUTPUT / 1024,
                }));
            }
            let ChannelMsg::ExtendedData { data, ext: 1 } = &message else {
                let is_last = matches!(message, ChannelMsg::ExitStatus { .. });
                others.push(message);
                if is_last {
                    // sudo failed. Its message is for the user.
                    break stderr.replace(&markers.prompt, "");
                }
                continue;
            };
            stderr.push_str(&String::from_utf8_lossy(data));
            if let Some((_, rest)) = stderr.split_once(&markers.started) {
                break rest.to_owned();
            }
            match stderr.matches(&markers.prompt).count() {
                0 => {}
                1 if answered => {}
                1 => {
                    answered = true;
                    let password = self.keyring.sudo_password().unwrap_or_default();
                    let line = Bytes::from(format!("{password}\n"));
                    // If sudo ended, its message says why.
                    let _ = write.data_bytes(line).await;
                }
                _ => {
                    return Err(self.target().error(Cause::SudoPassword {
                        user: self.target().user.clone(),
                    }));
                }
            }
        };
        let data = Bytes::from(rest);
        channel.put_back(ChannelMsg::ExtendedData { data, ext: 1 });
        for message in others {
            channel.put_back(message);
        }
        Ok(())
    }

    /// Writes the command's input and reads its output until it ends.
    pub(super) async fn read_output(
        &self,
        command: &Command,
        mut channel: SpooledChannel,
        started: Instant,
        mut on_output: impl FnMut(event::Stream, &[u8]),
    ) -> Result<Output, Error> {
        let lost = || self.lost(&format!("running `{}`", command.line));
        // In a task of its own: a command may write before it has read all of its input.
        let writing = channel.write.clone().map(|write| {
            let input = command.stdin.clone();
            tokio::spawn(async move { write_input(input, &write).await })
        });
        let keep = |kept: &mut Vec<u8>, others: usize, bytes: &[u8]| {
            let checked = command.keep.check(kept.len() + others + bytes.len());
            checked
                .and_then(|()| command.keep.push(kept, bytes))
                .map_err(|cause| {
                    self.target().error(Cause::TooMuch {
                        command: command.line.clone(),
                        cause,
                    })
                })
        };
        let (mut stdout, mut stderr, mut exit) = (Vec::new(), Vec::new(), None);
        // Yields after each message: to show the thousands of lines in it takes time, and the commands on
        // other hosts may be futures of the same task.
        while let Some(message) = channel.next().await {
            match message {
                ChannelMsg::Data { data } => {
                    on_output(event::Stream::Stdout, &data);
                    yield_now().await;
                    keep(&mut stdout, stderr.len(), &data)?;
                }
                ChannelMsg::ExtendedData { data, ext: 1 } => {
                    on_output(event::Stream::Stderr, &data);
                    yield_now().await;
                    keep(&mut stderr, stdout.len(), &data)?;
                }
                ChannelMsg::ExitStatus { exit_status } => exit = Some(Exit::Code(exit_status)),
                ChannelMsg::ExitSignal { signal_name, .. } => {
                    exit = Some(Exit::Signal(signal(&signal_name)));
                }
                ChannelMsg::Failure | ChannelMsg::OpenFailure(_) => {
                    return Err(self.target().error(Cause::Refused {
                        what: format!("to run `{}`", command.line),
                        is_forbidden: false,
                    }));
                }
                _ => {}
            }
        }
        if let Some(writing) = writing {
            writing.abort();
        }
        Ok(Output {
            exit: exit.ok_or_else(lost)?,
            stdout,
            stderr,
            elapsed: started.elapsed(),
        })
    }
}

/// Writes a command's input, and its end of file. A failed write is no error: a command may end
/// without reading its input.
async fn write_input(input: Input, to: &ChannelWriteHalf<Msg>) {
    match input {
        Input::Bytes(bytes) if bytes.is_empty() => {}
        Input::Bytes(bytes) => drop(to.data_bytes(bytes).await),
        Input::Stdin => copy(tokio::io::stdin(), to, &AtomicU64::new(0)).await,
        Input::File { path, from, sent } => {
            // The caller has checked that the file exists. If it is removed meanwhile, fewer bytes
            // arrive than announced, which the server notices.
            if let Ok(mut file) = tokio::fs::File::open(path).await
                && file.seek(SeekFrom::Start(from)).await.is_ok()
            {
                copy(file, to, &sent).await;
            }
        }
    }
    let _ = to.eof().await;
}

async fn copy(mut from: impl AsyncRead + Unpin, to: &ChannelWriteHalf<Msg>, sent: &AtomicU64) {
    let mut buffer = vec![0; 256 * 1024];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if to.data(&buffer[..count]).await.is_err() {
            return;
        }
        sent.fetch_add(count as u64, Ordering::Relaxed);
    }
}

fn signal(signal: &russh::Sig) -> String {
    match signal {
        russh::Sig::Custom(name) => name.clone(),
        known => format!("{known:?}"),
    }
}

//! Running a command on a server.

use std::time::{Duration, Instant};

use bytes::Bytes;
use russh::{ChannelMsg, ChannelWriteHalf, client::Msg};
use tokio::io::AsyncReadExt;

use super::{Connection, Error};
use crate::{
    event,
    process::{Exit, Keep, Output},
};

/// What a command reads from its standard input.
#[derive(Clone, Debug)]
pub enum Input {
    /// These bytes.
    Bytes(Bytes),
    /// What we are given ourselves.
    Ours,
}

impl Default for Input {
    fn default() -> Self {
        Input::Bytes(Bytes::new())
    }
}

impl Input {
    async fn feed(self, to: &ChannelWriteHalf<Msg>) {
        // A command that does not read its input ends all the same, so a failed write is no error.
        match self {
            Input::Bytes(bytes) if bytes.is_empty() => {}
            Input::Bytes(bytes) => drop(to.data_bytes(bytes).await),
            Input::Ours => {
                let mut stdin = tokio::io::stdin();
                let mut buffer = vec![0; 32 * 1024];
                while let Ok(count @ 1..) = stdin.read(&mut buffer).await {
                    if to.data(&buffer[..count]).await.is_err() {
                        return;
                    }
                }
            }
        }
        let _ = to.eof().await;
    }
}

/// A command to run on a server.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// A line for the login shell of the user.
    pub line: String,
    /// Run it as root, with sudo unless the user is root already.
    pub sudo: bool,
    /// What it reads from its standard input.
    pub stdin: Input,
    /// It is ended after this long.
    pub timeout: Option<Duration>,
    /// What is kept of its output.
    pub keep: Keep,
}

impl Command {
    /// A command without input or limit, as the user we logged in as.
    pub fn new(line: impl Into<String>) -> Self {
        Command {
            line: line.into(),
            ..Command::default()
        }
    }

    /// As root.
    pub fn root(line: impl Into<String>) -> Self {
        Command {
            sudo: true,
            ..Command::new(line)
        }
    }

    /// The line that is sent for this user.
    fn wire(&self, user: &str) -> String {
        if self.sudo && user != "root" {
            // `-n`: sudo that wants a password fails instead of waiting for one.
            format!("sudo -n -- sh -c {}", quote(&self.line))
        } else {
            self.line.clone()
        }
    }
}

/// Quotes a word for a POSIX shell.
pub fn quote(word: &str) -> String {
    // A NUL cannot be part of an argument; nothing can be quoted into one.
    let word = word.replace('\0', "");
    shlex::try_quote(&word).map_or_else(|_| String::new(), std::borrow::Cow::into_owned)
}

impl Connection {
    /// Runs a command; `on_output` is given what it writes as it comes.
    pub async fn exec(
        &self,
        command: &Command,
        on_output: impl FnMut(event::Stream, &[u8]),
    ) -> Result<Output, Error> {
        let run = self.exec_unlimited(command, on_output);
        match command.timeout {
            None => run.await,
            Some(limit) => tokio::time::timeout(limit, run)
                .await
                .map_err(|_| Error::Timeout {
                    host: self.target().name.clone(),
                    command: command.line.clone(),
                    seconds: limit.as_secs(),
                })?,
        }
    }

    /// Runs a command and keeps what it writes.
    pub async fn run(&self, command: &Command) -> Result<Output, Error> {
        self.exec(command, |_, _| ()).await
    }

    async fn exec_unlimited(
        &self,
        command: &Command,
        mut on_output: impl FnMut(event::Stream, &[u8]),
    ) -> Result<Output, Error> {
        let started = Instant::now();
        let lost = || self.lost(&format!("running `{}`", command.line));
        let mut channel = self.session().await?;
        let line = command.wire(&self.target().user);
        channel.write.exec(true, line).await.map_err(|_| lost())?;
        let write = channel.write.clone();
        let input = command.stdin.clone();
        // Beside the reading: a command may write before it has read everything.
        let feeding = tokio::spawn(async move { input.feed(&write).await });

        let keep = |kept: &mut Vec<u8>, bytes: &[u8]| {
            command
                .keep
                .push(kept, bytes)
                .map_err(|cause| Error::TooMuch {
                    host: self.target().name.clone(),
                    command: command.line.clone(),
                    cause,
                })
        };
        let (mut stdout, mut stderr, mut exit) = (Vec::new(), Vec::new(), None);
        while let Some(message) = channel.next().await {
            match message {
                ChannelMsg::Data { data } => {
                    on_output(event::Stream::Stdout, &data);
                    keep(&mut stdout, &data)?;
                }
                ChannelMsg::ExtendedData { data, ext: 1 } => {
                    on_output(event::Stream::Stderr, &data);
                    keep(&mut stderr, &data)?;
                }
                ChannelMsg::ExitStatus { exit_status } => exit = Some(Exit::Code(exit_status)),
                ChannelMsg::ExitSignal { signal_name, .. } => {
                    exit = Some(Exit::Signal(signal(&signal_name)));
                }
                ChannelMsg::Failure => {
                    return Err(Error::Refused {
                        host: self.target().name.clone(),
                        what: format!("to run `{}`", command.line),
                        forbidden: false,
                    });
                }
                _ => {}
            }
        }
        feeding.abort();
        Ok(Output {
            exit: exit.ok_or_else(lost)?,
            stdout,
            stderr,
            elapsed: started.elapsed(),
        })
    }
}

fn signal(signal: &russh::Sig) -> String {
    match signal {
        russh::Sig::Custom(name) => name.clone(),
        known => format!("{known:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_only_when_needed() {
        let command = Command::root("echo 'a b'");
        assert_eq!(command.wire("root"), "echo 'a b'");
        assert_eq!(command.wire("admin"), r#"sudo -n -- sh -c "echo 'a b'""#);
    }

    #[test]
    fn quoting_survives_a_shell() {
        for word in ["", "a b", "$HOME", "`id`", "a'b\"c", "\n", "*", "-n"] {
            let output = std::process::Command::new("sh")
                .args(["-c", &format!("printf %s {}", quote(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(output.stdout).unwrap(), word);
        }
    }
}

//! Running a command on a server.

use std::{
    future::Future,
    io::SeekFrom,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use russh::{ChannelMsg, ChannelWriteHalf, client::Msg};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncSeekExt};

use super::{
    Connection, Error,
    channel::Drained,
    line::{Tokens, Wire, needs_sudo, wire},
};
use crate::{
    core::{
        event,
        process::{Exit, Keep, Output},
    },
    ssh::terminate::Running,
};

/// What a command reads from its standard input.
#[derive(Clone, Debug)]
pub enum Input {
    /// These bytes.
    Bytes(Bytes),
    /// What we are given ourselves.
    Ours,
    /// A file on this machine.
    File {
        /// Where it is.
        path: PathBuf,
        /// From this byte on.
        from: u64,
        /// How many bytes of it have gone.
        sent: Arc<AtomicU64>,
    },
}

impl Default for Input {
    fn default() -> Self {
        Input::Bytes(Bytes::new())
    }
}

impl Input {
    fn is_empty(&self) -> bool {
        matches!(self, Input::Bytes(bytes) if bytes.is_empty())
    }
}

/// A command to run on a server.
#[derive(Clone, Debug, Default)]
pub struct Command {
    /// A line of shell.
    pub line: String,
    /// Run it as root, with sudo unless the user is root already.
    pub sudo: bool,
    /// Run it as this user.
    pub user: Option<String>,
    /// The folder it runs in.
    pub folder: Option<String>,
    /// Environment variables.
    pub environment: Vec<(String, String)>,
    /// The shell that reads the line, instead of `sh`.
    pub shell: Option<String>,
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
}

/// A command as it is sent.
pub(super) struct Prepared {
    pub wire: Wire,
    /// By which its processes are found.
    mark: Option<String>,
    /// If sudo may ask for the password.
    tokens: Option<Tokens>,
}

impl Prepared {
    /// Prepares a command for a user; with `has_password` we know what to answer to sudo.
    pub fn new(command: &Command, user: &str, has_password: bool, marked: bool) -> Self {
        let random = || format!("{:016x}", fastrand::u64(..));
        let mark = marked.then(random);
        let asks = has_password && needs_sudo(command, user);
        let tokens = asks.then(|| Tokens {
            question: random(),
            ready: random(),
        });
        Prepared {
            wire: wire(command, user, mark.as_deref(), tokens.as_ref()),
            mark,
            tokens,
        }
    }

    /// Whether nothing has to be sent after the line.
    pub fn is_alone(&self, command: &Command) -> bool {
        self.tokens.is_none() && self.wire.input.is_empty() && command.stdin.is_empty()
    }
}

impl Connection {
    /// Runs a command; `on_output` is given what it writes as it comes. If it is given up, by its
    /// time limit or because nobody waits for it any more, its processes are ended.
    pub async fn exec(
        self: &Arc<Self>,
        command: &Command,
        on_output: impl FnMut(event::Stream, &[u8]),
    ) -> Result<Output, Error> {
        let prepared = self.prepare(command, true);
        self.exec_prepared(command, prepared, on_output).await
    }

    /// Runs a command and keeps what it writes.
    pub async fn run(self: &Arc<Self>, command: &Command) -> Result<Output, Error> {
        self.exec(command, |_, _| ()).await
    }

    /// The same for the one that ends others, and is not ended itself.
    pub(super) async fn run_unmarked(&self, command: &Command) -> Result<Output, Error> {
        let started = Instant::now();
        let prepared = self.prepare(command, false);
        let channel = self.send(command, &prepared).await?;
        self.read(command, channel, started, |_, _| ()).await
    }

    /// Begins a command whose input and output are somebody else's business.
    pub(super) async fn begin(&self, command: &Command) -> Result<Drained, Error> {
        let prepared = self.prepare(command, false);
        self.send(command, &prepared).await
    }

    fn prepare(&self, command: &Command, marked: bool) -> Prepared {
        let has_password = self.keyring.sudo_password().is_some();
        Prepared::new(command, &self.target().user, has_password, marked)
    }

    pub(super) async fn exec_prepared(
        self: &Arc<Self>,
        command: &Command,
        prepared: Prepared,
        on_output: impl FnMut(event::Stream, &[u8]),
    ) -> Result<Output, Error> {
        let started = Instant::now();
        let deadline = command
            .timeout
            .map(|limit| tokio::time::Instant::now() + limit);
        let late = async |running: Option<Running>| Error::Timeout {
            host: self.target().name.clone(),
            command: command.line.clone(),
            seconds: command.timeout.unwrap_or_default().as_secs_f64(),
            ended: match running {
                Some(running) => running.end().await,
                None => true,
            },
        };
        let early = self.take_early(&prepared.wire.line);
        let mark = prepared.mark.as_deref().unwrap_or_default();
        // From here on it may run.
        let running = Running::new(self, command, mark);
        let sending = async {
            match early {
                Some(channel) => Ok(channel),
                None => self.send(command, &prepared).await,
            }
        };
        let channel = match limited(deadline, sending).await {
            Some(Ok(channel)) => channel,
            Some(Err(error)) => {
                running.over();
                return Err(error);
            }
            None => return Err(late(Some(running)).await),
        };
        self.prepare_session();
        let reading = self.read(command, channel, started, on_output);
        match limited(deadline, reading).await {
            None => Err(late(Some(running)).await),
            // Nobody reads it any more, but it runs.
            Some(Err(error @ Error::TooMuch { .. })) => Err(error),
            Some(result) => {
                running.over();
                result
            }
        }
    }

    /// Sends a command and what goes before its own input; answers sudo's question.
    async fn send(&self, command: &Command, prepared: &Prepared) -> Result<Drained, Error> {
        let lost = || self.lost(&format!("running `{}`", command.line));
        let mut channel = self.session().await?;
        let Some(write) = channel.write.clone() else {
            return Err(lost());
        };
        if self.target().forward_agent {
            write.agent_forward(false).await.map_err(|_| lost())?;
        }
        let line = prepared.wire.line.as_str();
        write.exec(true, line).await.map_err(|_| lost())?;
        if let Some(tokens) = &prepared.tokens {
            self.answer_sudo(&mut channel, &write, tokens).await?;
        }
        if !prepared.wire.input.is_empty() {
            let input = Bytes::from(prepared.wire.input.clone());
            write.data_bytes(input).await.map_err(|_| lost())?;
        }
        Ok(channel)
    }

    /// Gives sudo the password if it asks for it, and waits until the command begins.
    async fn answer_sudo(
        &self,
        channel: &mut Drained,
        write: &ChannelWriteHalf<Msg>,
        tokens: &Tokens,
    ) -> Result<(), Error> {
        let (mut seen, mut answered) = (String::new(), false);
        let mut others = Vec::new();
        // What is left of what was said, for whoever reads on.
        let rest = loop {
            let Some(message) = channel.next().await else {
                break seen.replace(&tokens.question, "");
            };
            let ChannelMsg::ExtendedData { data, ext: 1 } = &message else {
                let is_last = matches!(message, ChannelMsg::ExitStatus { .. });
                others.push(message);
                if is_last {
                    // sudo would not. What it said is what the user should see.
                    break seen.replace(&tokens.question, "");
                }
                continue;
            };
            seen.push_str(&String::from_utf8_lossy(data));
            if let Some((_, rest)) = seen.split_once(&tokens.ready) {
                break rest.to_owned();
            }
            match seen.matches(&tokens.question).count() {
                0 => {}
                1 if answered => {}
                1 => {
                    answered = true;
                    let password = self.keyring.sudo_password().unwrap_or_default();
                    let line = Bytes::from(format!("{password}\n"));
                    // sudo that has ended says why.
                    let _ = write.data_bytes(line).await;
                }
                _ => {
                    return Err(Error::SudoPassword {
                        host: self.target().name.clone(),
                        user: self.target().user.clone(),
                    });
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

    async fn read(
        &self,
        command: &Command,
        mut channel: Drained,
        started: Instant,
        mut on_output: impl FnMut(event::Stream, &[u8]),
    ) -> Result<Output, Error> {
        let lost = || self.lost(&format!("running `{}`", command.line));
        // Beside the reading: a command may write before it has read everything.
        let feeding = channel.write.clone().map(|write| {
            let input = command.stdin.clone();
            tokio::spawn(async move { input.feed(&write).await })
        });
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
                ChannelMsg::Failure | ChannelMsg::OpenFailure(_) => {
                    return Err(Error::Refused {
                        host: self.target().name.clone(),
                        what: format!("to run `{}`", command.line),
                        forbidden: false,
                    });
                }
                _ => {}
            }
        }
        if let Some(feeding) = feeding {
            feeding.abort();
        }
        Ok(Output {
            exit: exit.ok_or_else(lost)?,
            stdout,
            stderr,
            elapsed: started.elapsed(),
        })
    }
}

/// Waits until a moment, if there is one.
async fn limited<T>(
    deadline: Option<tokio::time::Instant>,
    work: impl Future<Output = T>,
) -> Option<T> {
    match deadline {
        None => Some(work.await),
        Some(deadline) => tokio::time::timeout_at(deadline, work).await.ok(),
    }
}

impl Input {
    async fn feed(self, to: &ChannelWriteHalf<Msg>) {
        // A command that does not read its input ends all the same, so a failed write is no error.
        match self {
            Input::Bytes(bytes) if bytes.is_empty() => {}
            Input::Bytes(bytes) => drop(to.data_bytes(bytes).await),
            Input::Ours => copy(tokio::io::stdin(), to, &AtomicU64::new(0)).await,
            Input::File { path, from, sent } => {
                // Whoever sends a file has looked at it; if it is gone by now, less arrives than
                // there should be, and that is noticed there.
                if let Ok(mut file) = tokio::fs::File::open(path).await
                    && file.seek(SeekFrom::Start(from)).await.is_ok()
                {
                    copy(file, to, &sent).await;
                }
            }
        }
        let _ = to.eof().await;
    }
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

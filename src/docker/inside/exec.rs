//! `Exec`: one command of the engine's exec API: start, output, end.
//!
//! No wait here is endless: every request has a time limit, and while a command is silent, the
//! engine is asked from time to time whether it still runs.

use std::{future::Future, io, pin::Pin, time::Duration};

use bollard::{
    container::LogOutput,
    errors::Error as BollardError,
    exec::{StartExecOptions, StartExecResults},
    models::{ExecConfig, ExecInspectResponse},
};
use bytes::Bytes;
use futures_util::{Stream as Chunks, StreamExt};
use tokio::{
    io::AsyncWrite,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use super::{Inside, argv};
use crate::{
    core::{
        event::Stream,
        sync::{Backoff, lock},
    },
    docker::{Containers, Error, api_error::is_missing},
    ssh::{Command, EncodedCommand},
};

/// The time limit of a request about a command. The engine answers them without waiting for the
/// command.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a command is silent before the engine is asked whether it still runs.
pub(super) const SILENCE: Duration = Duration::from_secs(5);
/// How long to wait for more output of a command that has ended. The engine itself waits for two
/// seconds.
const REST: Duration = Duration::from_secs(3);
/// The first and the longest pause between two polls for the end of a command.
const PAUSE: Duration = Duration::from_millis(5);
pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// The exit statuses of the engine for a command that could not be started.
const NOT_STARTED: [i64; 2] = [126, 127];

type Output = Pin<Box<dyn Chunks<Item = Result<LogOutput, BollardError>> + Send>>;

/// A part of a command's output.
pub(super) struct Chunk {
    pub stream: Stream,
    pub bytes: Bytes,
}

/// A command that was started in a container.
pub(super) struct Exec {
    /// The id of the command at the engine.
    pub id: String,
    /// Its standard input; none once it was taken.
    pub stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// The input that the encoded command reads before the command's own input.
    pub first: Vec<u8>,
    /// The task that writes the input.
    pub writing: Option<JoinHandle<()>>,
    output: Output,
    ending: Ending,
    /// Whether output has arrived, and whether the command has ended.
    has_output: bool,
    has_ended: bool,
}

/// What is needed to wait for the end of a command.
#[derive(Clone)]
pub(super) struct Ending {
    pub inside: Inside,
    pub exec_id: String,
    pub line: String,
    /// Whether the command is run by `sh`.
    pub uses_shell: bool,
}

impl Drop for Exec {
    fn drop(&mut self) {
        if let Some(writing) = &self.writing {
            writing.abort();
        }
    }
}

impl Inside {
    /// Asks the engine about a command.
    pub(super) async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, BollardError>>,
    ) -> Result<T, Error> {
        match timeout(REQUEST_TIMEOUT, request).await {
            Ok(answer) => answer.map_err(|error| self.error(&error)),
            Err(_) => Err(Error::Unanswered {
                host: self.engine.host.clone(),
                cause: format!("no answer within {} s", REQUEST_TIMEOUT.as_secs()),
            }),
        }
    }

    fn error(&self, error: &BollardError) -> Error {
        if let BollardError::DockerResponseServerError {
            status_code: 409,
            message,
        } = error
            && message.contains("is not running")
        {
            return self.not_running();
        }
        self.engine.of(&self.id, "running a command in", error)
    }

    fn not_running(&self) -> Error {
        Error::NotRunning {
            host: self.engine.host.clone(),
            name: self.container.clone(),
        }
    }

    /// Starts a command: by the shell of the image, or if it has none, the program itself.
    ///
    /// A command without input is started without a stream for it: containerd sometimes loses the end
    /// of a stream that is closed while the process is being started, and the process waits for it
    /// for ever. The shim closes its end of the FIFO before it has opened the other one, which then
    /// waits for a writer (seen with containerd 1.6 and 1.7).
    pub(super) async fn start(
        &self,
        command: &Command,
        run_id: Option<&str>,
        is_stream: bool,
    ) -> Result<Exec, Error> {
        // The engine runs it as any user, by number where the image has no list of users.
        let root = command.sudo.then(|| "0".to_owned());
        let user = command.user.clone().or(root);
        let uses_shell = *lock(&self.shell) != Some(false);
        let (mut config, first) = if uses_shell {
            let command = Command {
                user: None,
                sudo: false,
                ..command.clone()
            };
            let encoded = EncodedCommand::new(&command, "root", run_id);
            let config = ExecConfig {
                cmd: Some(vec!["sh".to_owned(), "-c".to_owned(), encoded.line]),
                ..ExecConfig::default()
            };
            (config, encoded.input)
        } else {
            let direct = argv::direct(command, run_id, &self.folder);
            let config = direct.ok_or_else(|| self.no_shell(&command.line))?;
            (config, Vec::new())
        };
        config.user = user;
        config.attach_stdin = Some(is_stream || !first.is_empty() || !command.stdin.is_empty());
        config.attach_stdout = Some(true);
        config.attach_stderr = Some(true);
        let id = self.create(config).await?;
        let docker = &self.engine.docker;
        let started = docker.start_exec(&id, None::<StartExecOptions>);
        let StartExecResults::Attached { output, input } = self.ask(started).await? else {
            return Err(self.failed(&command.line, "the engine did not attach to it"));
        };
        Ok(Exec {
            stdin: Some(input),
            first,
            writing: None,
            output,
            ending: Ending {
                inside: self.clone(),
                exec_id: id.clone(),
                line: command.line.clone(),
                uses_shell,
            },
            id,
            has_output: false,
            has_ended: false,
        })
    }

    /// Creates a command. A container that was replaced meanwhile is found by its name.
    pub(super) async fn create(&self, config: ExecConfig) -> Result<String, Error> {
        let docker = &self.engine.docker;
        let create = |id: String| {
            let config = config.clone();
            async move { docker.create_exec(&id, config).await }
        };
        let created = timeout(REQUEST_TIMEOUT, create(self.id.clone())).await;
        let created = match created {
            Ok(Err(error)) if is_missing(&error) => {
                let found = self.engine.find(&self.container).await?;
                let found = found.ok_or_else(|| self.engine.not_found(&self.container))?;
                self.ask(create(found.id)).await?
            }
            Ok(created) => created.map_err(|error| self.error(&error))?,
            Err(_) => return self.ask(std::future::pending()).await,
        };
        Ok(created.id)
    }

    pub(super) fn no_shell(&self, line: &str) -> Error {
        Error::NoShell {
            host: self.name.clone(),
            command: argv::beginning(line),
        }
    }

    pub(super) fn failed(&self, line: &str, cause: &str) -> Error {
        Error::Api {
            host: self.name.clone(),
            what: format!("running `{line}`"),
            cause: cause.to_owned(),
        }
    }

    /// Finds out whether the image has a shell, unless it is known.
    pub(super) async fn probe_once(&self) -> Result<(), Error> {
        if lock(&self.shell).is_some() {
            return Ok(());
        }
        self.probe().await
    }

    async fn inspect_exec(&self, exec_id: &str) -> Result<ExecInspectResponse, Error> {
        self.ask(self.engine.docker.inspect_exec(exec_id)).await
    }

    /// Whether a command that was killed has ended. Waits a moment until the engine notices.
    pub(super) async fn has_ended(&self, exec_id: &str) -> bool {
        let end = Instant::now() + REST;
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            match self.engine.docker.inspect_exec(exec_id).await {
                Ok(state) if state.running == Some(true) && Instant::now() < end => {
                    backoff.pause().await;
                }
                Ok(state) => return state.running != Some(true),
                // A command that the engine does not know has no processes.
                Err(error) => return is_missing(&error),
            }
        }
    }
}

impl Exec {
    /// The next part of the output, or none at its end.
    ///
    /// The end of the output normally ends the stream. If the stream is silent although the command
    /// has ended, it is given up.
    pub(super) async fn next(&mut self) -> Result<Option<Chunk>, Error> {
        loop {
            let patience = if self.has_ended { REST } else { SILENCE };
            let next = match timeout(patience, self.output.next()).await {
                Ok(next) => next,
                Err(_) if self.has_ended => return Ok(None),
                Err(_) => {
                    self.has_ended = self.ending.look().await?.is_some();
                    continue;
                }
            };
            let Some(output) = next else {
                return Ok(None);
            };
            let inside = &self.ending.inside;
            let output = match output {
                // The engine closes the stream at the end of the output. If it has not read all of
                // the input by then, the socket reports that instead of the end.
                Err(error) if is_reset(&error) => {
                    self.ending.look().await?;
                    return Ok(None);
                }
                output => output.map_err(|error| inside.error(&error))?,
            };
            let (stream, bytes) = match output {
                LogOutput::StdErr { message } => (Stream::Stderr, message),
                LogOutput::StdOut { message } | LogOutput::Console { message } => {
                    (Stream::Stdout, message)
                }
                LogOutput::StdIn { .. } => continue,
            };
            // The engine reports on standard output that it cannot start a command.
            if !std::mem::replace(&mut self.has_output, true) && bytes.ends_with(b"\r\n") {
                let state = inside.inspect_exec(&self.id).await?;
                self.ending.check_started(&state, &bytes)?;
            }
            return Ok(Some(Chunk { stream, bytes }));
        }
    }

    /// To wait for its end: the end of its output may come first.
    pub(super) fn ending(&self) -> Ending {
        self.ending.clone()
    }
}

impl Ending {
    /// Waits until the process of the command exists, and a moment longer, or until it has ended: before
    /// that, its input must not be closed; see [`Inside::start`].
    pub(super) async fn wait_until_started(&self) {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            match self.inside.inspect_exec(&self.exec_id).await {
                Ok(state) if state.pid.unwrap_or_default() == 0 && code(&state).is_none() => {
                    backoff.pause().await;
                }
                // The end of the output tells what is wrong.
                Ok(_) | Err(_) => break,
            }
        }
        sleep(LONGEST_PAUSE).await;
    }

    /// Waits until the command has ended, and returns its exit status.
    pub(super) async fn wait(&self) -> Result<u32, Error> {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        let mut looked = Instant::now();
        let code = loop {
            let state = self.inside.inspect_exec(&self.exec_id).await?;
            if let Some(code) = code(&state) {
                self.check_started(&state, b"")?;
                break code;
            }
            // It has closed its output and runs on.
            if looked.elapsed() > SILENCE {
                self.look().await?;
                looked = Instant::now();
            }
            backoff.pause().await;
        };
        if self.uses_shell {
            *lock(&self.inside.shell) = Some(true);
        }
        Ok(u32::try_from(code).unwrap_or(u32::MAX))
    }

    /// The exit status of the command, or none if it still runs. A command that neither runs nor has
    /// ended is an error: the engine has lost it.
    pub(super) async fn look(&self) -> Result<Option<i64>, Error> {
        let inside = &self.inside;
        let state = inside.inspect_exec(&self.exec_id).await?;
        if let Some(code) = code(&state) {
            return Ok(Some(code));
        }
        let id = state.container_id.as_deref().unwrap_or(&inside.id);
        let container = inside.ask(inside.engine.inspected(id)).await?;
        let is_running = container.state.and_then(|state| state.running) == Some(true);
        let execs = container.exec_ids.unwrap_or_default();
        if is_running && execs.contains(&self.exec_id) {
            return Ok(None);
        }
        // It may have ended between the two requests.
        match code(&inside.inspect_exec(&self.exec_id).await?) {
            Some(code) => Ok(Some(code)),
            None if is_running => Err(inside.failed(&self.line, "the engine has lost the command")),
            None => Err(inside.not_running()),
        }
    }

    /// Returns an error if the engine could not start the command; `message` is what it wrote.
    fn check_started(&self, state: &ExecInspectResponse, message: &[u8]) -> Result<(), Error> {
        let is_started = state.pid.unwrap_or_default() != 0;
        match code(state) {
            Some(code) if !is_started && NOT_STARTED.contains(&code) => {
                let message = String::from_utf8_lossy(message);
                let cause = argv::cause(&message);
                let inside = &self.inside;
                if self.uses_shell && argv::lacks_shell(cause) {
                    *lock(&inside.shell) = Some(false);
                    return Err(inside.no_shell(&self.line));
                }
                Err(Error::NotStarted {
                    host: inside.name.clone(),
                    command: argv::beginning(&self.line),
                    cause: cause.to_owned(),
                    is_missing: argv::is_missing(cause),
                })
            }
            _ => Ok(()),
        }
    }
}

/// Whether the other end closed a stream without having read everything.
fn is_reset(error: &BollardError) -> bool {
    matches!(error, BollardError::IOError { err } if err.kind() == io::ErrorKind::ConnectionReset)
}

/// The exit status of a command that has ended.
fn code(state: &ExecInspectResponse) -> Option<i64> {
    state.exit_code.filter(|_| state.running != Some(true))
}

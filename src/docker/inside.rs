//! A container as a machine: commands run in it by the engine's exec API.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bollard::{
    container::LogOutput,
    errors::Error as BollardError,
    exec::{StartExecOptions, StartExecResults},
    models::ExecConfig,
    query_parameters::InspectContainerOptions,
};
use bytes::Bytes;
use futures_util::{Stream as Chunks, StreamExt};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio_util::io::StreamReader;

use super::{Containers, Engine, Error, container::Container, engine::cause};
use crate::{
    core::{
        process::{Exit, Keep, Output},
        sync::{Backoff, lock},
    },
    machine::{self, CommandStream, Machine, Stream, run_tracked, too_much, write_input},
    ssh::{Command, EncodedCommand, Endpoint},
};

/// The first and the longest pause between two polls for the end of a command.
const PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A container as a machine. Its image must have a shell; [`Machine::put`] and [`machine::Lock`] also
/// need the programs that their scripts call.
///
/// Commands run as the user of the image, or as root without sudo. A command that a signal ended
/// has exit status 128 and the signal's number.
#[derive(Clone)]
pub struct Inside {
    engine: Engine,
    id: String,
    name: String,
    ip: Option<IpAddr>,
    is_root: bool,
}

/// A command that was started in a container.
struct Exec {
    id: String,
    stdin: Pin<Box<dyn AsyncWrite + Send>>,
    output: Pin<Box<dyn Chunks<Item = Result<LogOutput, BollardError>> + Send>>,
    /// The input that the encoded command reads before the command's own input.
    first: Vec<u8>,
}

impl Engine {
    /// The container with exactly this name as a machine.
    pub async fn inside(&self, name: &str) -> Result<Inside, Error> {
        let found = self.find(name).await?;
        let id = found.ok_or_else(|| self.not_found(name))?.id;
        let inspected = self
            .docker
            .inspect_container(&id, None::<InspectContainerOptions>)
            .await
            .map_err(|error| self.of(&id, "inspecting", &error))?;
        let user = inspected.config.as_ref().and_then(|c| c.user.as_deref());
        let user = user.unwrap_or_default().split(':').next();
        Ok(Inside {
            engine: self.clone(),
            name: format!("{}/{name}", self.host()),
            is_root: matches!(user, Some("" | "root" | "0")),
            ip: Container::from(inspected).ip,
            id,
        })
    }
}

impl Inside {
    fn error(&self, error: &BollardError) -> Error {
        self.engine.of(&self.id, "running a command in", error)
    }

    async fn start(&self, command: &Command, run_id: Option<&str>) -> Result<Exec, Error> {
        // The engine runs it as any user, by number where the image has no list of users.
        let root = command.sudo.then(|| "0".to_owned());
        let user = command.user.clone().or(root);
        let command = Command {
            user: None,
            sudo: false,
            ..command.clone()
        };
        let encoded = EncodedCommand::new(&command, "root", run_id);
        let config = ExecConfig {
            cmd: Some(vec!["sh".to_owned(), "-c".to_owned(), encoded.line]),
            user,
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            ..ExecConfig::default()
        };
        let docker = &self.engine.docker;
        let created = docker.create_exec(&self.id, config).await;
        let id = created.map_err(|error| self.error(&error))?.id;
        let started = docker.start_exec(&id, None::<StartExecOptions>).await;
        match started.map_err(|error| self.error(&error))? {
            StartExecResults::Attached { output, input } => Ok(Exec {
                id,
                stdin: input,
                output,
                first: encoded.input,
            }),
            StartExecResults::Detached => Err(Error::Api {
                host: self.name.clone(),
                what: format!("running `{}`", command.line),
                cause: "the engine did not attach to it".to_owned(),
            }),
        }
    }

    /// Waits until a command has ended, and returns its exit status. The end of its output may come
    /// first.
    async fn wait(&self, exec_id: &str) -> Result<u32, Error> {
        let mut backoff = Backoff::new(PAUSE, LONGEST_PAUSE);
        loop {
            let inspected = self.engine.docker.inspect_exec(exec_id).await;
            let inspected = inspected.map_err(|error| self.error(&error))?;
            match inspected.exit_code {
                Some(code) if inspected.running != Some(true) => {
                    return Ok(u32::try_from(code).unwrap_or(u32::MAX));
                }
                _ => backoff.pause().await,
            }
        }
    }

    async fn execute(
        &self,
        command: &Command,
        run_id: Option<&str>,
    ) -> Result<Output, machine::Error> {
        let started = Instant::now();
        let mut exec = self.start(command, run_id).await?;
        // In a task of its own: a command may write before it has read all of its input.
        let writing = write_input(exec.first, command.stdin.clone(), exec.stdin);
        let writing = tokio::spawn(writing);
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(chunk) = exec.output.next().await {
            let kept = match chunk.map_err(|error| self.error(&error))? {
                LogOutput::StdErr { message } => command.keep.push(&mut stderr, &message),
                LogOutput::StdOut { message } => command.keep.push(&mut stdout, &message),
                LogOutput::StdIn { .. } | LogOutput::Console { .. } => Ok(()),
            };
            kept.map_err(|cause| too_much(&self.name, command, cause))?;
        }
        writing.abort();
        Ok(Output {
            exit: Exit::Code(self.wait(&exec.id).await?),
            stdout,
            stderr,
            elapsed: started.elapsed(),
        })
    }
}

#[async_trait]
impl Machine for Inside {
    fn name(&self) -> &str {
        &self.name
    }

    fn is_root(&self) -> bool {
        self.is_root
    }

    fn check_connected(&self, doing: &str) -> Result<(), machine::Error> {
        self.engine.machine().check_connected(doing)
    }

    async fn run(&self, command: &Command) -> Result<Output, machine::Error> {
        run_tracked(&self.name, command, |command, run_id| {
            let machine = self.clone();
            async move { machine.execute(&command, run_id.as_deref()).await }
        })
        .await
    }

    async fn stream(&self, command: &Command) -> Result<Stream, machine::Error> {
        let Exec {
            id,
            mut stdin,
            output,
            first,
        } = self.start(command, None).await?;
        // Fails if the command has ended already; the end of the stream says why.
        let _ = stdin.write_all(&first).await;
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let kept = stderr.clone();
        let stdout = output.map(move |chunk| match chunk {
            Ok(LogOutput::StdErr { message }) => {
                Keep::End
                    .push(&mut lock(&kept), &message)
                    .map_err(io::Error::other)?;
                Ok(Bytes::new())
            }
            Ok(LogOutput::StdOut { message }) => Ok(message),
            Ok(LogOutput::StdIn { .. } | LogOutput::Console { .. }) => Ok(Bytes::new()),
            Err(error) => Err(io::Error::other(cause(&error))),
        });
        let machine = self.clone();
        let end = async move {
            if machine.wait(&id).await.map_err(io::Error::other)? == 0 {
                return Ok(());
            }
            let stderr = String::from_utf8_lossy(&lock(&stderr)).trim().to_owned();
            Err(io::Error::other(stderr))
        };
        let stream = CommandStream::new(stdin, StreamReader::new(stdout), end);
        Ok(Box::new(stream))
    }

    /// Connects from the engine's machine to a port of the container. Cannot connect to a port that is
    /// bound to the container's loopback address, nor to other hosts.
    async fn dial(&self, to: &Endpoint) -> Result<Stream, machine::Error> {
        let port = match to {
            Endpoint::Tcp(host, port) => {
                let address = host.parse::<IpAddr>().ok();
                let is_own = host == "localhost"
                    || address.is_some_and(|address| address.is_loopback())
                    || address.is_some() && address == self.ip;
                is_own.then_some(*port)
            }
            Endpoint::Unix(_) => None,
        };
        match (self.ip, port) {
            (Some(ip), Some(port)) => self.engine.dial(ip, port).await,
            (None, Some(_)) => {
                let message = format!("cannot connect to {to}: the container has no address");
                Err(machine::Error::failed(&self.name, &message))
            }
            (_, None) => {
                let message = format!(
                    "cannot connect to {to}: only TCP ports of the container itself are reachable"
                );
                Err(machine::Error::failed(&self.name, &message))
            }
        }
    }
}

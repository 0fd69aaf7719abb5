//! A container as a machine: commands run in it by the engine's exec API.

mod argv;
mod exec;
mod files;
mod sshd;
mod terminal;
mod tunnel;

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Instant,
};

use async_trait::async_trait;
use bytes::Bytes;
use exec::{Chunk, Exec};
use futures_util::stream;
use tokio::io::AsyncWriteExt;
use tokio_util::io::StreamReader;

pub use self::sshd::Account;

use super::{
    Containers, Engine, Error,
    api_error::is_missing,
    container::{Container, is_name},
};
use crate::{
    core::{
        event,
        process::{Exit, Keep, Output},
        sync::lock,
    },
    machine::{
        self, CommandStream, LocalContent, Machine, OnOutput, RawFiles, Stream, Tracked,
        WriteOptions, too_much, write_input,
    },
    ssh::{Command, Endpoint, Input, Terminations},
};

/// A container as a machine.
///
/// A command needs a shell in the image (`sh`), unless it is only a program and its arguments.
/// [`machine::Lock`] also needs the programs that its script calls. Files are read and written by
/// the engine if there is no shell.
///
/// Commands run as the user of the image, or as root without sudo. A command that a signal ended
/// has exit status 128 and the signal's number.
#[derive(Clone)]
pub struct Inside {
    engine: Engine,
    /// The id that the container had when it was found. A new container may have its name by now.
    id: String,
    container: String,
    /// The engine's machine and the container: `web/shop`.
    name: String,
    /// The working folder of the image.
    folder: String,
    is_root: bool,
    /// Whether the image has a shell; none as long as no command was run.
    shell: Arc<Mutex<Option<bool>>>,
    terminations: Terminations,
}

impl Engine {
    /// The container with exactly this name as a machine.
    pub async fn inside(&self, name: &str) -> Result<Inside, Error> {
        if !is_name(name) {
            return Err(self.not_found(name));
        }
        let inspected = match self.inspected(name).await {
            Ok(inspected) => inspected,
            Err(error) if is_missing(&error) => return Err(self.not_found(name)),
            Err(error) => {
                return Err(self.error(format!("inspecting container `{name}`"), &error));
            }
        };
        // The engine takes a name that no container has for the beginning of an id.
        let id = match (inspected.id, inspected.name) {
            (Some(id), Some(found)) if found.trim_start_matches('/') == name => id,
            _ => return Err(self.not_found(name)),
        };
        self.remember_name(&id, name);
        let config = inspected.config.unwrap_or_default();
        let user = config.user.unwrap_or_default();
        let user = user.split(':').next();
        let folder = config.working_dir.filter(|folder| !folder.is_empty());
        Ok(Inside {
            engine: self.clone(),
            name: format!("{}/{name}", self.host()),
            container: name.to_owned(),
            is_root: matches!(user, Some("" | "root" | "0")),
            folder: folder.unwrap_or_else(|| "/".to_owned()),
            id,
            shell: Arc::default(),
            terminations: Terminations::default(),
        })
    }
}

impl Inside {
    /// Collects abandoned commands in `terminations`.
    #[must_use]
    pub fn with(self, terminations: &Terminations) -> Self {
        Inside {
            terminations: terminations.clone(),
            ..self
        }
    }

    /// The container as it is now: the one with the known id, or else the one with its name.
    async fn look(&self) -> Result<Container, Error> {
        let found = match self.engine.inspect(&self.id).await? {
            Some(found) => Some(found),
            None => self.engine.find(&self.container).await?,
        };
        found.ok_or_else(|| self.engine.not_found(&self.container))
    }

    /// Opens a TCP connection from the engine's machine to the container, at the address that it has
    /// now. Nothing is needed in the container.
    pub async fn dial_port(&self, port: u16) -> Result<Stream, machine::Error> {
        match self.look().await?.ip {
            Some(ip) => self.engine.dial(ip, port).await,
            None => {
                let message =
                    format!("cannot connect to port {port}: the container has no address");
                Err(machine::Error::failed(&self.name, &message))
            }
        }
    }

    /// Starts a command, and a task that writes its input.
    async fn begin(&self, command: &Command, run_id: Option<&str>) -> Result<Exec, Error> {
        // If the image may have no shell, the command may be started twice, and must have all of its
        // input both times.
        if !matches!(command.stdin, Input::Bytes(_)) {
            self.probe_once().await?;
        }
        let mut exec = self.start(command, run_id, false).await?;
        let has_input = !exec.first.is_empty() || !command.stdin.is_empty();
        if let Some(mut stdin) = exec.stdin.take().filter(|_| has_input) {
            let (first, ending) = (std::mem::take(&mut exec.first), exec.ending());
            let input = command.stdin.clone();
            // In a task of its own: a command may write before it has read all of its input.
            exec.writing = Some(tokio::spawn(async move {
                if write_input(first, input, &mut stdin).await == 0 {
                    ending.wait_until_started().await;
                }
                let _ = stdin.shutdown().await;
            }));
        }
        Ok(exec)
    }

    /// Finds out whether the image has a shell.
    async fn probe(&self) -> Result<(), Error> {
        let mut exec = self.start(&Command::new(":"), None, false).await?;
        let ended = async {
            while exec.next().await?.is_some() {}
            exec.ending().wait().await
        };
        match ended.await {
            Ok(_) | Err(Error::NoShell { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn execute(
        &self,
        command: &Command,
        run_id: Option<&str>,
        exec_id: &Mutex<Option<String>>,
        on_output: OnOutput<'_>,
    ) -> Result<Output, machine::Error> {
        loop {
            let knew_shell = lock(&self.shell).is_some();
            let executed = self.attempt(command, run_id, exec_id, &mut *on_output);
            match executed.await {
                // Nothing was run. Now it is known that there is no shell.
                Err(Failed::NoShell) if !knew_shell => {}
                Err(Failed::NoShell) => {
                    return Err(self.no_shell(&command.line).into());
                }
                Err(Failed::Other(error)) => return Err(error),
                Ok(output) => return Ok(output),
            }
        }
    }

    async fn attempt(
        &self,
        command: &Command,
        run_id: Option<&str>,
        exec_id: &Mutex<Option<String>>,
        on_output: OnOutput<'_>,
    ) -> Result<Output, Failed> {
        let started = Instant::now();
        let mut exec = self.begin(command, run_id).await?;
        *lock(exec_id) = Some(exec.id.clone());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(Chunk { stream, bytes }) = exec.next().await? {
            on_output(stream, &bytes);
            let kept = match stream {
                event::Stream::Stdout => command.keep.push(&mut stdout, &bytes),
                event::Stream::Stderr => command.keep.push(&mut stderr, &bytes),
            };
            kept.map_err(|cause| Failed::Other(too_much(&self.name, command, cause)))?;
        }
        Ok(Output {
            exit: Exit::Code(exec.ending().wait().await?),
            stdout,
            stderr,
            elapsed: started.elapsed(),
        })
    }

    /// Terminates the processes of a command. Returns whether they are gone.
    ///
    /// The engine's machine sees the processes of its containers, so that nothing is needed in the
    /// container; but it takes root. Inside the container, it takes a shell and its usual programs.
    async fn terminate(&self, terminator: &Command, exec_id: Option<&str>) -> bool {
        let has_ended = async || match exec_id {
            Some(exec_id) => self.has_ended(exec_id).await,
            // It was abandoned while it was being started.
            None => true,
        };
        let outside = Command::root(terminator.line.clone());
        let outside = self.engine.machine().run(&outside).await;
        if outside.is_ok_and(|output| output.ok()) && has_ended().await {
            return true;
        }
        let (unused, mut unread) = (Mutex::default(), |_: event::Stream, _: &[u8]| ());
        let inside = self.execute(terminator, None, &unused, &mut unread);
        inside.await.is_ok_and(|output| output.ok()) && has_ended().await
    }
}

/// Why a command was not run to its end.
enum Failed {
    /// The image has no shell. Nothing was run.
    NoShell,
    Other(machine::Error),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        match error {
            Error::NoShell { .. } => Failed::NoShell,
            other => Failed::Other(other.into()),
        }
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

    async fn exec(
        &self,
        command: &Command,
        on_output: OnOutput<'_>,
    ) -> Result<Output, machine::Error> {
        let tracked = Tracked::new(&self.name, command, self.terminations.clone());
        let exec_id = Arc::new(Mutex::new(None::<String>));
        let (machine, terminator, id) = (self.clone(), tracked.terminator(), exec_id.clone());
        let terminate = async move {
            let id = lock(&id).clone();
            machine.terminate(&terminator, id.as_deref()).await
        };
        let run_id = tracked.run_id.clone();
        let running = Box::pin(self.execute(command, Some(&run_id), &exec_id, on_output));
        tracked.run(running, terminate).await
    }

    async fn stream(&self, command: &Command) -> Result<Stream, machine::Error> {
        self.probe_once().await?;
        let mut exec = self.start(command, None, true).await?;
        let Some(mut stdin) = exec.stdin.take() else {
            let message = format!("running `{}`: no standard input", command.line);
            return Err(machine::Error::failed(&self.name, &message));
        };
        // Fails if the command has ended already; the end of the stream says why.
        let _ = stdin.write_all(&exec.first).await;
        let ending = exec.ending();
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let kept = stderr.clone();
        let stdout = stream::try_unfold((exec, kept), |(mut exec, kept)| async move {
            let chunk = exec.next().await.map_err(io::Error::other)?;
            let Some(Chunk { stream, bytes }) = chunk else {
                return Ok::<_, io::Error>(None);
            };
            let bytes = match stream {
                event::Stream::Stdout => bytes,
                event::Stream::Stderr => {
                    let pushed = Keep::End.push(&mut lock(&kept), &bytes);
                    pushed.map_err(io::Error::other)?;
                    Bytes::new()
                }
            };
            Ok(Some((bytes, (exec, kept))))
        });
        let end = async move {
            if ending.wait().await.map_err(io::Error::other)? == 0 {
                return Ok(());
            }
            let stderr = String::from_utf8_lossy(&lock(&stderr)).trim().to_owned();
            Err(io::Error::other(stderr))
        };
        let stdout = StreamReader::new(Box::pin(stdout));
        Ok(Box::new(CommandStream::new(stdin, stdout, end)))
    }

    async fn put(
        &self,
        path: &str,
        content: Bytes,
        options: &WriteOptions,
    ) -> Result<(), machine::Error> {
        let written = self.put_by_command(path, content.clone(), options).await;
        // The command needs a shell: nothing was run.
        if written.is_err() && *lock(&self.shell) == Some(false) {
            return self
                .write_file(path, LocalContent::Bytes(content), options)
                .await;
        }
        written
    }

    async fn raw_files(&self) -> Result<Option<&dyn RawFiles>, machine::Error> {
        self.probe_once().await?;
        Ok(match *lock(&self.shell) {
            Some(false) => Some(self),
            _ => None,
        })
    }

    /// Connects from the engine's machine to a port of the container. Cannot connect to a port that is
    /// bound to the container's loopback address, nor to other hosts.
    async fn dial(&self, to: &Endpoint) -> Result<Stream, machine::Error> {
        if let Endpoint::Tcp(host, port) = to {
            let address = host.parse::<IpAddr>().ok();
            if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
                return self.dial_port(*port).await;
            }
            if address.is_some() && address == self.look().await?.ip {
                return self.dial_port(*port).await;
            }
        }
        let message =
            format!("cannot connect to {to}: only TCP ports of the container itself are reachable");
        Err(machine::Error::failed(&self.name, &message))
    }
}

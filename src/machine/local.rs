//! The local machine: commands are processes of their own, without a connection.

use std::{io, path::PathBuf, process::Stdio, sync::Mutex, time::Instant};

use async_trait::async_trait;
use tokio::{io::AsyncWriteExt, net::UnixStream, process::Child};

use super::{
    Cause, Error, Machine, OnOutput, Stream,
    stream::CommandStream,
    tracked::{Tracked, too_much, write_input},
};
use crate::{
    core::{
        diagnostic::plain,
        event,
        process::{Exit, Keep, Output, TooMuch, drain, is_root},
        sync::lock,
    },
    ssh::{Command, EncodedCommand, Endpoint, Terminations, connect_host},
};

/// The machine on which hitc runs.
#[derive(Clone, Debug)]
pub struct Local {
    user: String,
    home: Option<PathBuf>,
}

impl Local {
    /// The name of the local machine in messages.
    pub const NAME: &str = "this machine";

    /// The local machine, with the user who runs hitc.
    pub fn new() -> Self {
        let user = if is_root() {
            "root".to_owned()
        } else {
            let user = std::env::var("USER").or_else(|_| std::env::var("LOGNAME"));
            // Without a name, commands of any named user go through sudo.
            user.unwrap_or_default()
        };
        Local {
            user,
            home: std::env::home_dir().filter(|home| home.is_dir()),
        }
    }

    fn spawn(&self, encoded: &EncodedCommand, kill_on_drop: bool) -> io::Result<Child> {
        let mut shell = tokio::process::Command::new("sh");
        shell
            .args(["-c", &encoded.line])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(kill_on_drop);
        if let Some(home) = &self.home {
            shell.current_dir(home);
        }
        shell.spawn()
    }

    async fn execute(
        &self,
        command: &Command,
        run_id: Option<&str>,
        on_output: OnOutput<'_>,
    ) -> Result<Output, Error> {
        let started = Instant::now();
        let encoded = EncodedCommand::new(command, &self.user, run_id);
        let fail = |error: io::Error| failed(command, &error);
        let mut child = self.spawn(&encoded, true).map_err(fail)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // In a task of its own: a command may write before it has read all of its input.
        let writing = child.stdin.take().map(|mut stdin| {
            let input = command.stdin.clone();
            tokio::spawn(async move { write_input(encoded.input, input, &mut stdin).await })
        });
        let on_output = Mutex::new(on_output);
        let running = async {
            tokio::try_join!(
                drain(stdout, command.keep, |bytes| lock(&on_output)(
                    event::Stream::Stdout,
                    bytes
                )),
                drain(stderr, command.keep, |bytes| lock(&on_output)(
                    event::Stream::Stderr,
                    bytes
                )),
                child.wait(),
            )
        };
        let ended = running.await;
        if let Some(writing) = writing {
            writing.abort();
        }
        let (stdout, stderr, status) = ended.map_err(fail)?;
        Ok(Output {
            exit: Exit::from(status),
            stdout,
            stderr,
            elapsed: started.elapsed(),
        })
    }
}

impl Default for Local {
    fn default() -> Self {
        Local::new()
    }
}

#[async_trait]
impl Machine for Local {
    fn name(&self) -> &str {
        Local::NAME
    }

    fn is_root(&self) -> bool {
        self.user == "root"
    }

    fn check_connected(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn exec(&self, command: &Command, on_output: OnOutput<'_>) -> Result<Output, Error> {
        let tracked = Tracked::new(Local::NAME, command, Terminations::default());
        let run_id = tracked.run_id.clone();
        let running = self.execute(command, Some(&run_id), on_output);
        let (machine, terminator) = (self.clone(), tracked.terminator());
        let terminate = async move {
            let output = machine.execute(&terminator, None, &mut |_, _| ()).await;
            output.is_ok_and(|output| output.ok())
        };
        tracked.run(running, terminate).await
    }

    async fn stream(&self, command: &Command) -> Result<Stream, Error> {
        let encoded = EncodedCommand::new(command, &self.user, None);
        let fail = |error: io::Error| failed(command, &error);
        let mut child = self.spawn(&encoded, false).map_err(fail)?;
        let (Some(mut stdin), Some(stdout), stderr) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(fail(io::ErrorKind::BrokenPipe.into()));
        };
        let stderr = tokio::spawn(drain(stderr, Keep::End, |_| ()));
        // Fails if the command has ended already; the end of the stream says why.
        let _ = stdin.write_all(&encoded.input).await;
        let end = async move {
            let status = child.wait().await?;
            if status.success() {
                return Ok(());
            }
            let stderr = stderr.await.map_err(io::Error::other)??;
            let stderr = String::from_utf8_lossy(&stderr).trim().to_owned();
            Err(io::Error::other(stderr))
        };
        Ok(Box::new(CommandStream::new(stdin, stdout, end)))
    }

    async fn dial(&self, to: &Endpoint) -> Result<Stream, Error> {
        let connected = match to {
            Endpoint::Tcp(host, port) => connect_host(host, *port)
                .await
                .map(|stream| Box::new(stream) as Stream),
            Endpoint::Unix(path) => UnixStream::connect(path)
                .await
                .map(|stream| Box::new(stream) as Stream),
        };
        connected.map_err(|error| {
            let message = format!("cannot connect to {to}: {}", plain(&error));
            Error::failed(Local::NAME, &message).because(Cause::Refused {
                is_forbidden: false,
            })
        })
    }
}

/// The error of a command that could not be run, or that wrote too much.
fn failed(command: &Command, error: &io::Error) -> Error {
    let line = &command.line;
    match error.get_ref().and_then(|cause| cause.downcast_ref()) {
        Some(cause @ TooMuch) => too_much(Local::NAME, command, *cause),
        None => Error::failed(Local::NAME, &format!("`{line}`: {}", plain(error))),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::core::diagnostic::{Diagnostic, Kind};

    fn sleeping(seconds: &str) -> bool {
        let wanted = format!("sleep\0{seconds}\0");
        let processes = std::fs::read_dir("/proc").unwrap();
        processes
            .filter_map(|entry| std::fs::read(entry.unwrap().path().join("cmdline")).ok())
            .any(|line| line == wanted.as_bytes())
    }

    #[tokio::test]
    async fn a_timeout_terminates_all_processes() {
        let command = Command {
            timeout: Some(Duration::from_millis(200)),
            ..Command::new("trap '' TERM; setsid sleep 4342 & sleep 4342; sleep 4342")
        };
        let error = Local::new().run(&command).await.unwrap_err();
        let error = Diagnostic::from(error);
        assert_eq!(error.kind, Kind::Timeout);
        let expected = "host `this machine`: `trap '' TERM; setsid sleep 4342 & sleep 4342; \
                        sleep 4342`: timed out after 0.2 s";
        assert_eq!(error.message, expected);
        assert!(!sleeping("4342"));
    }

    #[tokio::test]
    async fn an_abandoned_command_is_terminated() {
        let command = Command::new("setsid sleep 4343 & sleep 4343");
        let run = tokio::spawn(async move { Local::new().run(&command).await });
        while !sleeping("4343") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        run.abort();
        let gone = async {
            while sleeping("4343") {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(15), gone)
            .await
            .unwrap();
    }
}

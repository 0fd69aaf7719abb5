//! A command in a container on the terminal of hitc.

use std::time::Instant;

use bollard::{
    exec::ResizeExecOptions,
    models::{ExecConfig, ExecStartConfig},
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    client::conn::http1::handshake,
    header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE},
};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, split},
    signal::unix::{SignalKind, signal},
    sync::Mutex,
    time::sleep,
};

use super::{
    Inside, argv,
    exec::{Ending, LONGEST_PAUSE, SILENCE},
};
use crate::{
    core::{
        process::{Exit, Output},
        sync::lock,
        terminal::{self, RawTerminal, Size},
    },
    docker::Error,
    machine::{self, Stream, Tracked},
    ssh::{Command, RUN_ID_VARIABLE},
};

/// Runs the best shell of the image.
const SHELL: &str = "if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi";
/// Keys that users do not type: the engine has a sequence of keys that detaches from a command, and
/// cannot be told that there is none.
const DETACH_KEYS: &str = "ctrl-^,ctrl-@,ctrl-^,ctrl-@,ctrl-^";
/// How often to try to set the size: the engine refuses until it has started the command.
const RESIZE_ATTEMPTS: u32 = 20;

impl Inside {
    /// Runs a shell on the terminal of hitc until it ends, as a user or as that of the image.
    pub async fn shell(&self, user: Option<String>) -> Result<Output, machine::Error> {
        let command = Command {
            user,
            ..Command::new(SHELL)
        };
        self.terminal(&command).await
    }

    /// Runs a command on the terminal of hitc until it ends: each key goes to the command, also
    /// Ctrl-C, and the command learns the size of the terminal. Only the line, the user and sudo of
    /// the command count.
    pub async fn terminal(&self, command: &Command) -> Result<Output, machine::Error> {
        if !terminal::is_interactive() {
            let host = self.name.clone();
            return Err(Error::NoTerminal { host }.into());
        }
        let tracked = Tracked::new(&self.name, command, self.terminations.clone());
        let exec_id = std::sync::Arc::new(std::sync::Mutex::new(None::<String>));
        let (machine, terminator, id) = (self.clone(), tracked.terminator(), exec_id.clone());
        let terminate = async move {
            let id = lock(&id).clone();
            machine.terminate(&terminator, id.as_deref()).await
        };
        let run_id = tracked.run_id.clone();
        let running = Box::pin(async {
            self.probe_once().await?;
            let started = Instant::now();
            let ending = self.create_with_terminal(command, &run_id).await?;
            *lock(&exec_id) = Some(ending.exec_id.clone());
            let stream = self.attach(&ending).await?;
            self.pass_on(&ending, stream).await?;
            Ok(Output {
                exit: Exit::Code(ending.wait().await?),
                stdout: Vec::new(),
                stderr: Vec::new(),
                elapsed: started.elapsed(),
            })
        });
        tracked.run(running, terminate).await
    }

    async fn create_with_terminal(&self, command: &Command, run_id: &str) -> Result<Ending, Error> {
        let uses_shell = *lock(&self.shell) != Some(false);
        let mut config = if uses_shell {
            let line = command.line.clone();
            ExecConfig {
                cmd: Some(vec!["sh".to_owned(), "-c".to_owned(), line]),
                ..ExecConfig::default()
            }
        } else {
            let direct = argv::direct(command, None, &self.folder);
            direct.ok_or_else(|| self.no_shell(&command.line))?
        };
        let term = std::env::var("TERM").unwrap_or_else(|_| "xterm".to_owned());
        config.env = Some(vec![
            format!("TERM={term}"),
            format!("{RUN_ID_VARIABLE}={run_id}"),
        ]);
        let root = command.sudo.then(|| "0".to_owned());
        config.user = command.user.clone().or(root);
        config.tty = Some(true);
        config.detach_keys = Some(DETACH_KEYS.to_owned());
        config.attach_stdin = Some(true);
        config.attach_stdout = Some(true);
        config.attach_stderr = Some(true);
        Ok(Ending {
            inside: self.clone(),
            exec_id: self.create(config).await?,
            line: command.line.clone(),
            uses_shell,
        })
    }

    /// Starts a command, and returns the stream of its terminal.
    ///
    /// Not by bollard: it takes the bytes 0, 1 and 2 for the header of a part of the output, which a
    /// terminal does not have.
    async fn attach(&self, ending: &Ending) -> Result<Stream, machine::Error> {
        let failed = |cause: String| machine::Error::from(self.failed(&ending.line, &cause));
        let start = ExecStartConfig {
            tty: Some(true),
            ..ExecStartConfig::default()
        };
        let body = serde_json::to_vec(&start).map_err(|error| failed(error.to_string()))?;
        let request = Request::post(format!("/exec/{}/start", ending.exec_id))
            .header(HOST, "docker")
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "tcp")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| failed(error.to_string()))?;
        let stream = TokioIo::new(self.engine.open().await?);
        let wrong = |error: hyper::Error| failed(error.to_string());
        let (mut sender, connection) = handshake(stream).await.map_err(wrong)?;
        tokio::spawn(connection.with_upgrades());
        let response = sender.send_request(request).await.map_err(wrong)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let body = response.into_body().collect().await.map_err(wrong)?;
            let text = String::from_utf8_lossy(&body.to_bytes()).trim().to_owned();
            return Err(failed(text));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(wrong)?;
        Ok(Box::new(TokioIo::new(upgraded)))
    }

    /// Passes on keys, output and sizes until the command closes its terminal.
    async fn pass_on(&self, ending: &Ending, stream: Stream) -> Result<(), machine::Error> {
        let failed = |error: std::io::Error| {
            machine::Error::from(self.failed(&ending.line, &error.to_string()))
        };
        let mut resized = signal(SignalKind::window_change()).map_err(failed)?;
        let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
        let mut hung_up = signal(SignalKind::hangup()).map_err(failed)?;
        let (mut output, input) = split(stream);
        let input = Mutex::new(input);
        let mut stdout = tokio::io::stdout();
        let mut buffer = vec![0; 16 * 1024];
        let (_raw, mut typed) = RawTerminal::enter().map_err(failed)?;
        let mut is_typing = true;
        let mut resizing = tokio::spawn(self.clone().resize(ending.exec_id.clone()));
        let closed = || {
            machine::Error::from(Error::Closed {
                host: self.name.clone(),
            })
        };
        loop {
            tokio::select! {
                read = output.read(&mut buffer) => match read {
                    Ok(0) => return Ok(()),
                    Ok(count) => {
                        stdout.write_all(&buffer[..count]).await.map_err(failed)?;
                        stdout.flush().await.map_err(failed)?;
                    }
                    // The engine closed the stream and did not read all keys.
                    Err(_) => return ending.look().await.map(drop).map_err(machine::Error::from),
                },
                keys = typed.recv(), if is_typing => match keys {
                    Some(keys) => {
                        // Fails if the command has ended; the end of the output says so.
                        let _ = input.lock().await.write_all(&keys).await;
                    }
                    None => is_typing = false,
                },
                _ = resized.recv() => {
                    resizing.abort();
                    resizing = tokio::spawn(self.clone().resize(ending.exec_id.clone()));
                }
                _ = terminated.recv() => return Err(closed()),
                _ = hung_up.recv() => return Err(closed()),
                () = sleep(SILENCE) => {
                    if ending.look().await?.is_some() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Tells the command the size of the terminal.
    async fn resize(self, exec_id: String) {
        let Some(Size { columns, rows }) = terminal::size() else {
            return;
        };
        for _ in 0..RESIZE_ATTEMPTS {
            let options = ResizeExecOptions {
                width: columns,
                height: rows,
            };
            if self
                .engine
                .docker
                .resize_exec(&exec_id, options)
                .await
                .is_ok()
            {
                return;
            }
            sleep(LONGEST_PAUSE / 10).await;
        }
    }
}

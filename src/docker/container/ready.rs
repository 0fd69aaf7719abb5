//! When a container is ready.

use std::time::Duration;

use bollard::{
    exec::{StartExecOptions, StartExecResults},
    models::{ExecConfig, HealthStatusEnum},
    query_parameters::InspectContainerOptions,
};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    core::{
        units::duration,
        value::{Data, Fields, Invalid, Value},
    },
    docker::{Container, Engine, Error, Spec, State},
};

/// How long a container without any check must have run to count as started. Processes that
/// cannot start (a bad option, a missing file) end well before.
const SETTLE: Duration = Duration::from_millis(500);

/// How often a check is tried.
const RETRY: Duration = Duration::from_millis(100);

/// How long a check may take, unless the user says otherwise.
const TIMEOUT: Duration = Duration::from_mins(1);

/// How to tell that a container is ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// The check.
    pub probe: Probe,
    /// How long it may take until the check passes.
    pub timeout: Duration,
}

/// A check. All of them are made at the server, so that the port need not be public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// The image's own health check, or where it has none, that it keeps running.
    Running,
    /// Something listens on a port of the container.
    Tcp(u16),
    /// A GET request to a port of the container is answered with a status below 400.
    Http {
        /// The path.
        path: String,
        /// The port.
        port: u16,
    },
    /// A command in the container ends with status 0.
    Exec(Vec<String>),
}

impl Default for Ready {
    fn default() -> Self {
        Ready {
            probe: Probe::Running,
            timeout: TIMEOUT,
        }
    }
}

impl Ready {
    /// Decodes `{http: PATH, port: N}`, `{tcp: N}` or `{exec: COMMAND}`, each with an optional
    /// `timeout`.
    pub(super) fn decode(value: &Value, what: &str) -> Result<Self, Invalid> {
        let mut fields = Fields::new(value, what)?;
        let port = |value: &Value, what: &str| {
            value
                .to_integer(what, 1..65536)
                .map(|port| u16::try_from(port).unwrap_or(u16::MAX))
        };
        let http = fields.decode("http", Value::to_text)?;
        let http_port = fields.decode("port", port)?;
        let tcp = fields.decode("tcp", port)?;
        let exec = fields.take("exec");
        let timeout = fields.decode("timeout", duration)?.unwrap_or(TIMEOUT);
        fields.finish()?;
        let probe = match (http, tcp, exec) {
            (Some(path), None, None) => Probe::Http {
                path: format!("/{}", path.trim_start_matches('/')),
                port: http_port.unwrap_or(80),
            },
            (None, Some(port), None) => Probe::Tcp(port),
            (None, None, Some(command)) => Probe::Exec(match &command.data {
                Data::List(items) => items
                    .iter()
                    .map(|item| item.to_text("exec"))
                    .collect::<Result<_, _>>()?,
                _ => ["sh", "-c", &command.to_text("exec")?]
                    .map(str::to_owned)
                    .to_vec(),
            }),
            (None, None, None) => Probe::Running,
            _ => {
                return Err(Invalid::new(
                    value,
                    format!("{what}: one of `http`, `tcp` and `exec` is enough"),
                ));
            }
        };
        Ok(Ready { probe, timeout })
    }
}

impl Engine {
    /// Waits until a container is ready by its spec's check.
    pub(super) async fn wait_for_probe(&self, id: &str, spec: &Spec) -> Result<(), Error> {
        let limit = spec.ready.timeout;
        let end = Instant::now() + limit;
        let started = Instant::now();
        loop {
            let status = self.status(id).await?;
            if let Some(cause) = status.ended {
                return self.not_ready(spec, id, cause).await;
            }
            // No try takes longer than what is left, whatever it waits for.
            let left = end.saturating_duration_since(Instant::now()).max(RETRY);
            let ready = match &spec.ready.probe {
                Probe::Running => match status.health {
                    Some(HealthStatusEnum::HEALTHY) => true,
                    Some(HealthStatusEnum::UNHEALTHY) => {
                        let cause = "is unhealthy by its own check".to_owned();
                        return self.not_ready(spec, id, cause).await;
                    }
                    Some(HealthStatusEnum::STARTING) => false,
                    _ => started.elapsed() >= SETTLE,
                },
                Probe::Tcp(port) => timeout(left, self.dial(&status.ip, *port))
                    .await
                    .is_ok_and(|dialled| dialled.is_ok()),
                Probe::Http { path, port } => timeout(left, self.get(&status.ip, *port, path))
                    .await
                    .unwrap_or(None)
                    .is_some_and(|status| status < 400),
                Probe::Exec(command) => {
                    let exec = timeout(left, self.exec(id, command)).await;
                    exec.unwrap_or(Ok(false))?
                }
            };
            if ready {
                return Ok(());
            }
            if Instant::now() >= end {
                let cause = format!("was not ready within {} s", limit.as_secs_f64());
                return self.not_ready(spec, id, cause).await;
            }
            sleep(RETRY).await;
        }
    }

    async fn not_ready(&self, spec: &Spec, id: &str, cause: String) -> Result<(), Error> {
        Err(Error::NotReady {
            host: self.host.clone(),
            name: spec.name.clone(),
            cause,
            log: self.log_tail(id).await,
            now: String::new(),
        })
    }

    async fn status(&self, id: &str) -> Result<Status, Error> {
        let inspected = self
            .docker
            .inspect_container(id, None::<InspectContainerOptions>)
            .await
            .map_err(|error| self.of(id, "inspecting", &error))?;
        let restarts = inspected.restart_count.unwrap_or_default();
        let state = inspected.state.clone().unwrap_or_default();
        let code = state.exit_code.unwrap_or_default();
        let container = Container::from(inspected);
        Ok(Status {
            ended: match container.state {
                State::Running if restarts > 0 => {
                    Some("ended, and the engine started it again".to_owned())
                }
                State::Running => None,
                State::Restarting | State::Exited => Some(format!("ended with status {code}")),
                State::Created | State::Other => Some("does not run".to_owned()),
            },
            health: state.health.and_then(|health| health.status),
            ip: container.ip,
        })
    }

    /// The status of the answer to a GET request; none if there is no answer.
    async fn get(&self, address: &str, port: u16, path: &str) -> Option<u16> {
        let stream = self.dial(address, port).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .ok()?;
        let request = hyper::Request::get(path)
            .header("host", address)
            .body(Empty::<Bytes>::new())
            .ok()?;
        tokio::select! {
            response = sender.send_request(request) => Some(response.ok()?.status().as_u16()),
            _ = connection => None,
        }
    }

    /// Whether a command in a container ends with status 0.
    async fn exec(&self, id: &str, command: &[String]) -> Result<bool, Error> {
        let fail = |error| self.of(id, "running a command in", &error);
        let exec = self
            .docker
            .create_exec(
                id,
                ExecConfig {
                    cmd: Some(command.to_vec()),
                    attach_stdout: Some(true),
                    attach_stderr: Some(true),
                    ..ExecConfig::default()
                },
            )
            .await
            .map_err(fail)?;
        let started = self
            .docker
            .start_exec(&exec.id, None::<StartExecOptions>)
            .await
            .map_err(fail)?;
        if let StartExecResults::Attached { mut output, .. } = started {
            while output.next().await.is_some() {}
        }
        let inspected = self.docker.inspect_exec(&exec.id).await.map_err(fail)?;
        Ok(inspected.exit_code == Some(0))
    }
}

struct Status {
    ended: Option<String>,
    health: Option<HealthStatusEnum>,
    ip: String,
}

//! Waits until a container is ready.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bollard::{
    exec::{StartExecOptions, StartExecResults},
    models::{ExecConfig, HealthStatusEnum},
};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, sleep, timeout};

use super::ready::Probe;
use crate::docker::{Container, Engine, Error, Spec, State};

/// How long a container without any check must have run to count as ready. A process that cannot
/// start (an unknown option, a missing file) ends well before.
const SETTLE: Duration = Duration::from_millis(500);

/// How often the state of a container is read while a check waits for an answer.
const LOOK: Duration = Duration::from_millis(500);

/// The pause between two checks.
const RETRY: Duration = Duration::from_millis(100);

impl Engine {
    /// Waits until a container is ready by its spec's check.
    pub(super) async fn wait_for_probe(&self, id: &str, spec: &Spec) -> Result<(), Error> {
        let limit = spec.ready.timeout;
        let end = Instant::now() + limit;
        let started = Instant::now();
        loop {
            let status = self.status(id).await?;
            if let Some(cause) = status.ended.clone() {
                return self.not_ready(spec, id, cause).await;
            }
            // No check takes longer than the time that is left.
            let left = end.saturating_duration_since(Instant::now()).max(RETRY);
            if spec.ready.probe == Probe::Running
                && status.health == Some(HealthStatusEnum::UNHEALTHY)
            {
                let cause = "is unhealthy: its health check failed".to_owned();
                return self.not_ready(spec, id, cause).await;
            }
            // A check may wait for a container that ended meanwhile: a connection to it hangs.
            let ready = tokio::select! {
                biased;
                ready = self.is_ready(id, spec, &status, started, left) => ready?,
                cause = self.end_of(id) => return self.not_ready(spec, id, cause?).await,
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

    /// Executes the check of a spec once, within a time.
    async fn is_ready(
        &self,
        id: &str,
        spec: &Spec,
        status: &Status,
        started: Instant,
        left: Duration,
    ) -> Result<bool, Error> {
        Ok(match (&spec.ready.probe, status.ip) {
            (Probe::Running, _) => match status.health {
                Some(HealthStatusEnum::HEALTHY) => true,
                Some(HealthStatusEnum::STARTING | HealthStatusEnum::UNHEALTHY) => false,
                _ => started.elapsed() >= SETTLE,
            },
            (Probe::Tcp(port), Some(ip)) => timeout(left, self.dial(ip, *port))
                .await
                .is_ok_and(|dialled| dialled.is_ok()),
            (Probe::Http { path, port }, Some(ip)) => timeout(left, self.get(ip, *port, path))
                .await
                .unwrap_or(None)
                .is_some_and(|status| status < 400),
            (Probe::Tcp(_) | Probe::Http { .. }, None) => false,
            (Probe::Exec(command), _) => {
                let exec = timeout(left, self.exec(id, command)).await;
                match exec.unwrap_or(Ok(false)) {
                    // A container that has ended executes nothing: the next look says why it ended.
                    Err(_) if self.status(id).await?.ended.is_some() => false,
                    result => result?,
                }
            }
        })
    }

    /// Waits until a container has ended, and returns how.
    async fn end_of(&self, id: &str) -> Result<String, Error> {
        loop {
            sleep(LOOK).await;
            if let Some(cause) = self.status(id).await?.ended {
                return Ok(cause);
            }
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
            .inspected(id)
            .await
            .map_err(|error| self.of(id, "inspecting", &error))?;
        let restarts = inspected.restart_count.unwrap_or_default();
        let state = inspected.state.clone().unwrap_or_default();
        let code = state.exit_code.unwrap_or_default();
        let container = Container::from(inspected);
        Ok(Status {
            ended: match container.state {
                State::Running if restarts > 0 => {
                    Some("ended, and was restarted by the engine".to_owned())
                }
                State::Running => None,
                State::Restarting | State::Exited => Some(format!("ended with status {code}")),
                State::Created | State::Other => Some("does not run".to_owned()),
            },
            health: state.health.and_then(|health| health.status),
            ip: container.ip,
        })
    }

    /// The status of the response to a GET request; none without a response.
    async fn get(&self, address: IpAddr, port: u16, path: &str) -> Option<u16> {
        let stream = self.dial(address, port).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .ok()?;
        let request = hyper::Request::get(path)
            .header("host", SocketAddr::new(address, port).to_string())
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

/// The state of a container that is waited for.
struct Status {
    /// Why it does not run, if it does not.
    ended: Option<String>,
    health: Option<HealthStatusEnum>,
    ip: Option<IpAddr>,
}

//! Waits until a container is ready.

use std::{
    convert::Infallible,
    future::pending,
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
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::{Instant, sleep, timeout},
};

use super::ready::Probe;
use crate::docker::{Container, Engine, Error, Spec, State};

/// How long a container without any check must have run to count as ready. A process that cannot
/// start (an unknown option, a missing file) ends well before.
const SETTLE: Duration = Duration::from_millis(500);

/// How often the state of a container is read while a check waits for an answer.
const LOOK: Duration = Duration::from_millis(500);

/// How many bytes of a command's output are kept, for its last line.
const LAST: usize = 1000;

/// The pause between two checks.
const RETRY: Duration = Duration::from_millis(100);

impl Engine {
    /// Waits until a container is ready by its spec's check.
    pub(super) async fn wait_for_probe(&self, id: &str, spec: &Spec) -> Result<(), Error> {
        let limit = spec.ready.timeout;
        let end = Instant::now() + limit;
        let started = Instant::now();
        let mut last = None;
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
            let missing = tokio::select! {
                biased;
                missing = self.check_once(id, spec, &status, started, left) => missing?,
                cause = self.end_of(id) => return self.not_ready(spec, id, cause?).await,
            };
            let Some(missing) = missing else {
                return Ok(());
            };
            let is_over = Instant::now() >= end;
            // A check that the end of the time cut says less than the one before.
            let missing = last.take().filter(|_| is_over).unwrap_or(missing);
            if is_over {
                let seconds = limit.as_secs_f64();
                let cause = format!("was not ready within {seconds} s: {missing}");
                return self.not_ready(spec, id, cause).await;
            }
            last = Some(missing);
            sleep(RETRY).await;
        }
    }

    /// Executes the check of a spec once, within a time. Returns what is missing, if it fails.
    async fn check_once(
        &self,
        id: &str,
        spec: &Spec,
        status: &Status,
        started: Instant,
        left: Duration,
    ) -> Result<Option<String>, Error> {
        Ok(match (&spec.ready.probe, status.ip) {
            (Probe::Running, _) => match status.health {
                Some(HealthStatusEnum::HEALTHY) => None,
                Some(HealthStatusEnum::STARTING | HealthStatusEnum::UNHEALTHY) => {
                    Some("its health check did not succeed yet".to_owned())
                }
                _ if started.elapsed() >= SETTLE => None,
                _ => Some("it is starting".to_owned()),
            },
            (Probe::Tcp(port), Some(ip)) => match timeout(left, self.dial(ip, *port)).await {
                Ok(Ok(_)) => None,
                Ok(Err(_)) => Some(format!("nothing accepts connections on its port {port}")),
                Err(_) => Some(format!("no answer on its port {port}")),
            },
            (Probe::Http { path, port }, Some(ip)) => {
                let answer = timeout(left, self.get(ip, *port, path)).await;
                let answer = answer.unwrap_or_else(|_| Err("no answer".to_owned()));
                let asked = format!("GET {path} on its port {port}");
                match answer {
                    Ok(status) if status < 400 => None,
                    Ok(status) => Some(format!("{asked}: status {status}")),
                    Err(cause) => Some(format!("{asked}: {cause}")),
                }
            }
            (Probe::Tcp(_) | Probe::Http { .. }, None) => {
                Some("it has no address in a network".to_owned())
            }
            (Probe::Exec(command), _) => match timeout(left, self.exec(id, command)).await {
                Err(_) => Some(format!("`{}` did not end", command.join(" "))),
                // A container that has ended executes nothing: the next look says why it ended.
                Ok(Err(_)) if self.status(id).await?.ended.is_some() => Some("it ended".to_owned()),
                Ok(result) => result?,
            },
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

    /// The status of the response to a GET request, or why there is none.
    async fn get(&self, address: IpAddr, port: u16, path: &str) -> Result<u16, String> {
        let stream = self.dial(address, port).await;
        let stream = stream.map_err(|_| "nothing accepts connections".to_owned())?;
        let host = SocketAddr::new(address, port).to_string();
        request_status(stream, &host, path).await
    }

    /// Runs a command in a container. Returns what it did instead of ending with status 0.
    async fn exec(&self, id: &str, command: &[String]) -> Result<Option<String>, Error> {
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
        let mut last = Vec::new();
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(chunk) = output.next().await {
                match chunk {
                    Ok(chunk) => {
                        last.extend_from_slice(chunk.as_ref());
                        last.drain(..last.len().saturating_sub(LAST));
                    }
                    Err(_) => self.ignore_error(),
                }
            }
        }
        let inspected = self.docker.inspect_exec(&exec.id).await.map_err(fail)?;
        if inspected.exit_code == Some(0) {
            return Ok(None);
        }
        let command = command.join(" ");
        let status = match inspected.exit_code {
            Some(code) => format!("`{command}` ended with status {code}"),
            None => format!("`{command}` did not end"),
        };
        let text = String::from_utf8_lossy(&last);
        let line = text.lines().rfind(|line| !line.trim().is_empty());
        Ok(Some(match line {
            Some(line) => format!("{status}: {}", line.trim()),
            None => status,
        }))
    }
}

/// Sends a GET request over a stream. Returns the status of the response, or why there is none.
async fn request_status(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    host: &str,
    path: &str,
) -> Result<u16, String> {
    let no_http = |error: hyper::Error| {
        if error.is_parse() {
            "the answer is not HTTP".to_owned()
        } else {
            "the connection ended without an answer".to_owned()
        }
    };
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(no_http)?;
    let request = hyper::Request::get(path)
        .header("host", host)
        .body(Empty::<Bytes>::new())
        .map_err(|error| error.to_string())?;
    // A server may close the connection with its answer. Then the request ends with the answer, and
    // without one it fails.
    let driving = async {
        let _ = connection.await;
        pending::<Infallible>().await
    };
    tokio::select! {
        response = sender.send_request(request) => {
            Ok(response.map_err(no_http)?.status().as_u16())
        }
        never = driving => match never {},
    }
}

/// The state of a container that is waited for.
struct Status {
    /// Why it does not run, if it does not.
    ended: Option<String>,
    health: Option<HealthStatusEnum>,
    ip: Option<IpAddr>,
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// The status that a server's answer gives. The server closes the connection with it.
    async fn status_of(answer: &'static str) -> Result<u16, String> {
        let (here, mut there) = duplex(4096);
        let server = async move {
            let mut request = [0; 1000];
            let _ = there.read(&mut request).await.unwrap();
            there.write_all(answer.as_bytes()).await.unwrap();
        };
        tokio::join!(server, request_status(here, "x", "/")).1
    }

    #[tokio::test]
    async fn an_answer_may_end_the_connection() {
        let length = "Content-Length: 2\r\n\r\nok";
        for (answer, status) in [
            (format!("HTTP/1.0 200 OK\r\n{length}"), Ok(200)),
            (
                format!("HTTP/1.1 503 No\r\nConnection: close\r\n{length}"),
                Ok(503),
            ),
            (format!("HTTP/1.1 200 OK\r\n{length}"), Ok(200)),
            ("HTTP/1.0 200 OK\r\n\r\nok".to_owned(), Ok(200)),
            (
                String::new(),
                Err("the connection ended without an answer".to_owned()),
            ),
            (
                "SSH-2.0-x\r\n".to_owned(),
                Err("the answer is not HTTP".to_owned()),
            ),
        ] {
            assert_eq!(status_of(answer.clone().leak()).await, status, "{answer}");
        }
    }
}

//! The engine's API over byte streams of a machine.
//!
//! The machine's engine listens on a Unix socket. The machine connects to it if the user may open
//! it. If only root may, `docker system dial-stdio` under sudo does the same. Streams are kept and
//! reused, so that on a server a request is one round trip.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bollard::{BollardRequest, errors::Error as BollardError};
use hyper::{
    Response, Uri,
    body::Incoming,
    header::{HeaderMap, HeaderValue},
    rt::ReadBufCursor,
};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};

use tokio::io::{AsyncRead, ReadBuf};

use crate::{
    machine::{self, Machine, Stream},
    ssh::{Command, Endpoint},
};

/// The engine's default socket.
pub(super) const SOCKET: &str = "/var/run/docker.sock";

/// How long idle channels are kept, and how many.
const IDLE: Duration = Duration::from_secs(5);
const IDLE_SESSIONS: usize = 3;
const IDLE_SOCKETS: usize = 16;

/// The size limit of a stream's buffer, in bytes: hundreds of logs may be followed at once.
const BUFFER: usize = 64 * 1024;

/// The response to a request.
pub(super) type Answer =
    Pin<Box<dyn Future<Output = Result<Response<Incoming>, BollardError>> + Send>>;

/// Sends a request to an engine.
pub(super) type Transport = Arc<dyn Fn(BollardRequest) -> Answer + Send + Sync>;

/// How a machine connects to its engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// To its socket.
    Socket,
    /// By a command of root, each stream of which is a session of the SSH server.
    Command,
}

impl Route {
    /// Opens a byte stream to the engine.
    pub(super) async fn open(self, machine: &dyn Machine) -> Result<Stream, machine::Error> {
        match self {
            Route::Socket => machine.dial(&Endpoint::Unix(SOCKET.to_owned())).await,
            Route::Command => {
                let command = Command::root("exec docker system dial-stdio");
                machine.stream(&command).await
            }
        }
    }
}

/// Sends requests over byte streams of a machine. `first` is a stream that is open already.
pub(super) fn over(
    machine: Arc<dyn Machine>,
    route: Route,
    first: Option<Stream>,
) -> impl Fn(BollardRequest) -> Answer + Send + Sync {
    let connector = Connector {
        machine,
        route,
        first: Arc::new(Mutex::new(first)),
    };
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .http1_max_buf_size(BUFFER)
        // Idle sessions count against the sshd's MaxSessions; channels to a socket do not.
        .pool_max_idle_per_host(match route {
            Route::Command => IDLE_SESSIONS,
            Route::Socket => IDLE_SOCKETS,
        })
        .build(connector);
    move |mut request: BollardRequest| {
        encode_for_urls(request.headers_mut());
        let response = client.request(request);
        Box::pin(async move { response.await.map_err(BollardError::from) })
    }
}

/// Encodes the credentials in a request as the engine reads them: in the alphabet of base64 that is
/// safe in URLs (RFC 4648, section 5). bollard uses the other one, and the engine ignores credentials
/// that it cannot decode.
fn encode_for_urls(headers: &mut HeaderMap) {
    for name in ["x-registry-auth", "x-registry-config"] {
        let Some(value) = headers.get_mut(name) else {
            continue;
        };
        let Ok(text) = value.to_str() else {
            continue;
        };
        if let Ok(mut encoded) = HeaderValue::from_str(&text.replace('+', "-").replace('/', "_")) {
            encoded.set_sensitive(true);
            *value = encoded;
        }
    }
}

#[derive(Clone)]
struct Connector {
    machine: Arc<dyn Machine>,
    route: Route,
    first: Arc<Mutex<Option<Stream>>>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Channel;
    type Error = machine::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Channel, machine::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), machine::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Connector {
            machine,
            route,
            first,
        } = self.clone();
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            let stream = match first {
                Some(stream) => stream,
                None => route.open(machine.as_ref()).await?,
            };
            Ok(Channel {
                stream: TokioIo::new(stream),
                left: Some(MAX_ANSWER),
            })
        })
    }
}

/// The largest answer of an engine that is kept as a whole, in bytes: it must not fill the memory.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// Parts of the paths of requests whose answers are read bit by bit, and may be endless.
const STREAMS: [&str; 13] = [
    "/logs",
    "/attach",
    "/events",
    "/stats",
    "/archive",
    "/export",
    "/get",
    "/build",
    "/images/create",
    "/push",
    "/images/load",
    "/session",
    "/grpc",
];

/// Adapts a stream to the HTTP client's traits.
struct Channel {
    stream: TokioIo<Stream>,
    /// How much of the answer may still be read, unless it is a stream.
    left: Option<usize>,
}

/// How much of the answer may be read after these bytes were written, and before it was `left`.
fn left_after(written: &[u8], left: Option<usize>) -> Option<usize> {
    match is_stream(written) {
        None => left,
        Some(true) => None,
        Some(false) => Some(MAX_ANSWER),
    }
}

/// Whether the answer to the request with these first bytes is a stream; none if they begin no request.
fn is_stream(written: &[u8]) -> Option<bool> {
    let methods: [&[u8]; 5] = [b"GET ", b"POST ", b"PUT ", b"DELETE ", b"HEAD "];
    let method = methods
        .into_iter()
        .find(|method| written.starts_with(method))?;
    let rest = &written[method.len()..];
    let end = rest.iter().position(|byte| b" ?".contains(byte))?;
    let path = std::str::from_utf8(&rest[..end]).ok()?;
    Some(STREAMS.iter().any(|end| path.ends_with(end)) || path.contains("/exec/"))
}

impl Connection for Channel {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(left) = self.left else {
            return Pin::new(&mut self.stream).poll_read(context, into);
        };
        let mut part = [0; 16 * 1024];
        let size = into.remaining().min(part.len());
        let mut buffer = ReadBuf::new(&mut part[..size]);
        ready!(Pin::new(self.stream.inner_mut()).poll_read(context, &mut buffer))?;
        let Some(left) = left.checked_sub(buffer.filled().len()) else {
            let text = format!("the answer is larger than {} MiB", MAX_ANSWER / 1024 / 1024);
            return Poll::Ready(Err(io::Error::other(text)));
        };
        self.left = Some(left);
        into.put_slice(buffer.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Channel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.left = left_after(bytes, self.left);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use hyper::rt::{Read, ReadBuf as HyperBuf, Write};
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    /// How many bytes of an endless answer to a request are read, up to three times the limit.
    async fn read_after(request: &str) -> Result<usize, String> {
        let (near, mut far) = duplex(64 * 1024);
        let mut channel = Channel {
            stream: TokioIo::new(Box::new(near) as Stream),
            left: Some(MAX_ANSWER),
        };
        let write = std::future::poll_fn(|context| {
            Pin::new(&mut channel).poll_write(context, request.as_bytes())
        });
        write.await.unwrap();
        let part = vec![b'x'; 32 * 1024];
        tokio::spawn(async move { while far.write_all(&part).await.is_ok() {} });
        let mut read = 0;
        let mut space = vec![0; 64 * 1024];
        while read < 3 * MAX_ANSWER {
            let mut buffer = HyperBuf::new(&mut space);
            let part = std::future::poll_fn(|context| {
                Pin::new(&mut channel).poll_read(context, buffer.unfilled())
            });
            part.await.map_err(|error| error.to_string())?;
            read += buffer.filled().len();
        }
        Ok(read)
    }

    #[tokio::test]
    async fn an_endless_answer_is_an_error() {
        let error = "the answer is larger than 64 MiB";
        let list = "GET /v1.41/containers/json?all=1 HTTP/1.1\r\n\r\n";
        assert_eq!(read_after(list).await.unwrap_err(), error);
        let logs = "GET /v1.41/containers/abc/logs?follow=1 HTTP/1.1\r\n\r\n";
        assert!(read_after(logs).await.is_ok());
    }
}

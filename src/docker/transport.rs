//! The engine's API over byte streams of a machine.
//!
//! The machine's engine listens on a Unix socket. The machine connects to it if the user may open
//! it. If only root may, `docker system dial-stdio` under sudo does the same. Streams are kept and
//! reused, so that on a server a request is one round trip.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex},
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

use super::answer::AnswerLimit;
use crate::{
    core::sync::lock,
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

/// Sends requests over byte streams of a machine. `first` is a stream that is open already. A limit that a
/// response exceeds is noted in `exceeded`.
pub(super) fn over(
    machine: Arc<dyn Machine>,
    route: Route,
    first: Option<Stream>,
    exceeded: Exceeded,
) -> impl Fn(BollardRequest) -> Answer + Send + Sync {
    let connector = Connector {
        machine,
        route,
        first: Arc::new(Mutex::new(first)),
        exceeded,
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
    exceeded: Exceeded,
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
            exceeded,
        } = self.clone();
        let first = lock(&first).take();
        Box::pin(async move {
            let stream = match first {
                Some(stream) => stream,
                None => route.open(machine.as_ref()).await?,
            };
            Ok(Channel {
                stream: TokioIo::new(stream),
                limit: AnswerLimit::default(),
                held: Vec::new(),
                exceeded,
            })
        })
    }
}

/// Adapts a stream to the HTTP client's traits.
struct Channel {
    stream: TokioIo<Stream>,
    limit: AnswerLimit,
    /// What was received and is not passed on yet.
    held: Vec<u8>,
    exceeded: Exceeded,
}

/// Which limit an engine's response exceeded, until an error tells it. bollard keeps only that the
/// response could not be read.
#[derive(Clone, Default)]
pub(super) struct Exceeded(Arc<Mutex<Option<String>>>);

impl Exceeded {
    /// Takes the limit, if one was exceeded.
    pub fn take(&self) -> Option<String> {
        lock(&self.0).take()
    }
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
        let mut part = [0; 16 * 1024];
        let size = into.remaining().min(part.len());
        let length = if self.held.is_empty() {
            let mut buffer = ReadBuf::new(&mut part[..size]);
            ready!(Pin::new(self.stream.inner_mut()).poll_read(context, &mut buffer))?;
            buffer.filled().len()
        } else {
            let size = size.min(self.held.len());
            part[..size].copy_from_slice(&self.held[..size]);
            self.held.drain(..size);
            size
        };
        let received = &part[..length];
        let now = match self.limit.received(received) {
            Ok(now) => now,
            Err(error) => {
                *lock(&self.exceeded.0) = Some(error.to_string());
                return Poll::Ready(Err(error));
            }
        };
        into.put_slice(&received[..now]);
        // Empty, or all of it was just taken from there.
        self.held.splice(..0, received[now..].iter().copied());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Channel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.limit.sent(bytes);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

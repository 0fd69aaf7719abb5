//! The engine's API over an SSH channel.
//!
//! The server's engine listens on a Unix socket. sshd forwards to it if the user may open it. If
//! only root may, `docker system dial-stdio` under sudo does the same. Channels are kept and reused,
//! so that a request is one round trip.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use bollard::{BollardRequest, errors::Error as BollardError};
use hyper::{Response, Uri, body::Incoming, rt::ReadBufCursor};
use hyper_util::{
    client::legacy::{
        Client,
        connect::{Connected, Connection},
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};

use crate::ssh::{self, Stream, StreamTarget};

/// The engine's default socket.
pub(super) const SOCKET: &str = "/var/run/docker.sock";

/// How long idle channels are kept, and how many.
const IDLE: Duration = Duration::from_secs(5);
const IDLE_SESSIONS: usize = 3;
const IDLE_SOCKETS: usize = 16;

type Answer = Pin<Box<dyn Future<Output = Result<Response<Incoming>, BollardError>> + Send>>;

/// Sends requests over channels of one SSH connection. `first` is a channel that is open already.
pub(super) fn over_ssh(
    connection: Arc<ssh::Connection>,
    endpoint: StreamTarget,
    first: Option<Stream>,
) -> impl Fn(BollardRequest) -> Answer + Send + Sync {
    let connector = Connector {
        connection,
        endpoint,
        first: Arc::new(Mutex::new(first)),
    };
    let is_session = matches!(connector.endpoint, StreamTarget::Command(_));
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        // Idle sessions count against the sshd's MaxSessions; channels to a socket do not.
        .pool_max_idle_per_host(if is_session {
            IDLE_SESSIONS
        } else {
            IDLE_SOCKETS
        })
        .build(connector);
    move |request| {
        let response = client.request(request);
        Box::pin(async move { response.await.map_err(BollardError::from) })
    }
}

#[derive(Clone)]
struct Connector {
    connection: Arc<ssh::Connection>,
    endpoint: StreamTarget,
    first: Arc<Mutex<Option<Stream>>>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Channel;
    type Error = ssh::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Channel, ssh::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ssh::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Connector {
            connection,
            endpoint,
            first,
        } = self.clone();
        let first = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            let stream = match first {
                Some(stream) => stream,
                None => connection.stream(&endpoint).await?,
            };
            Ok(Channel(TokioIo::new(stream)))
        })
    }
}

/// Adapts a channel to the HTTP client's traits.
struct Channel(TokioIo<Stream>);

impl Connection for Channel {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl hyper::rt::Read for Channel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl hyper::rt::Write for Channel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

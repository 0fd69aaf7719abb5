//! The engine's API over an SSH channel.
//!
//! The server's engine listens on a Unix socket. sshd opens it for us where it lets the user;
//! where the socket is root's and the user is not, `docker system dial-stdio` under sudo does the
//! same. Connections are kept and used again, so that a request is one round trip.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
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

/// How long a channel is kept that nobody uses, and how many are.
const IDLE: Duration = Duration::from_secs(5);
const MOST_IDLE: usize = 3;

type Answer = Pin<Box<dyn Future<Output = Result<Response<Incoming>, BollardError>> + Send>>;

/// Sends requests over channels of one SSH connection.
pub(super) fn over_ssh(
    connection: Arc<ssh::Connection>,
    dialect: StreamTarget,
) -> impl Fn(BollardRequest) -> Answer + Send + Sync {
    let connector = Connector {
        connection,
        dialect,
    };
    let client = Client::builder(TokioExecutor::new())
        // Each may hold one of the few sessions that the server admits.
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(MOST_IDLE)
        .build(connector);
    move |request| {
        let response = client.request(request);
        Box::pin(async move { response.await.map_err(BollardError::from) })
    }
}

#[derive(Clone)]
struct Connector {
    connection: Arc<ssh::Connection>,
    dialect: StreamTarget,
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
            dialect,
        } = self.clone();
        Box::pin(async move {
            let stream = connection.stream(&dialect).await?;
            Ok(Channel(TokioIo::new(stream)))
        })
    }
}

/// A channel in the shape that the HTTP client wants.
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

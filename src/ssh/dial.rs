//! The transport of a connection: TCP, a tunnel through a jump host, or a ProxyCommand.

use std::{
    io,
    pin::Pin,
    process::Stdio,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, ReadBuf},
    process::Child,
};

use super::{Cause, Error, Route, Target, connection_state::ConnectionState, stream::Stream, tcp};
use crate::core::{diagnostic::plain, process::shielded};

/// A byte stream in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A byte stream to the SSH server that records when bytes arrive.
pub(super) struct Transport {
    bytes: Box<dyn Duplex>,
    /// The ProxyCommand, which is killed when the transport is dropped.
    _proxy: Option<Child>,
    state: Arc<ConnectionState>,
}

/// Opens the transport to a server; `tunnel` is the stream from the jump host to the server, if the
/// route has one.
pub(super) async fn dial(
    target: &Target,
    tunnel: Option<Stream>,
    state: &Arc<ConnectionState>,
) -> Result<Transport, Error> {
    let fail = |cause: String| {
        target.error(Cause::Connect {
            address: target.endpoint(),
            cause,
        })
    };
    match (&target.route, tunnel) {
        (Route::ProxyCommand(command), _) => {
            let mut child = shielded(&format!("exec {command}"))
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| fail(format!("ProxyCommand `{command}`: {}", plain(&error))))?;
            let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
            let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
                return Err(fail(format!(
                    "ProxyCommand `{command}` has no standard input or output"
                )));
            };
            if let Some(stderr) = child.stderr.take() {
                let state = state.clone();
                tokio::spawn(async move {
                    let mut lines = BufReader::new(stderr).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        state.set_proxy_error(line);
                    }
                });
            }
            Ok(Transport {
                bytes: Box::new(tokio::io::join(stdout, stdin)),
                _proxy: Some(child),
                state: state.clone(),
            })
        }
        (Route::Jump(_), Some(tunnel)) => Ok(Transport {
            bytes: Box::new(tunnel),
            _proxy: None,
            state: state.clone(),
        }),
        (Route::Jump(jump), None) => Err(fail(format!("`{}` is not connected", jump.name))),
        (Route::Direct, _) => {
            let addresses: Vec<_> = tokio::net::lookup_host((target.address.as_str(), target.port))
                .await
                .map_err(|error| {
                    target.error(Cause::Resolve {
                        address: target.address.clone(),
                        cause: plain(&error),
                    })
                })?
                .collect();
            let socket = tcp::connect(&addresses)
                .await
                .map_err(|error| fail(plain(&error)))?;
            socket
                .set_nodelay(true)
                .map_err(|error| fail(plain(&error)))?;
            // The TCP handshake is a sign of life.
            state.record_activity();
            Ok(Transport {
                bytes: Box::new(socket),
                _proxy: None,
                state: state.clone(),
            })
        }
    }
}

impl AsyncRead for Transport {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.bytes).poll_read(context, into);
        if into.filled().len() > before {
            self.state.record_activity();
        }
        polled
    }
}

impl AsyncWrite for Transport {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.bytes).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.bytes).poll_shutdown(context)
    }
}

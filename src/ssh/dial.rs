//! The bytes to a server: by TCP, through another server, or through a command.

use std::{
    io,
    pin::Pin,
    process::Stdio,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, BufReader, ReadBuf},
    net::TcpStream,
    process::{Child, Command},
};

use super::{Connection, Error, Route, Target};
use crate::{core::diagnostic::plain, ssh::server_facts::Noted};

/// Both directions.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// The way to a server, open as long as it lives.
pub(super) struct Wire {
    bytes: Box<dyn Duplex>,
    /// What is on the way must stay.
    _child: Option<Child>,
    _jump: Option<Arc<Connection>>,
    noted: Arc<Noted>,
}

/// Opens the way. The jump, if there is one, is connected already.
pub(super) async fn dial(
    target: &Target,
    jump: Option<Arc<Connection>>,
    noted: &Arc<Noted>,
) -> Result<Wire, Error> {
    let fail = |cause: String| Error::Connect {
        host: target.name.clone(),
        address: target.endpoint(),
        cause,
    };
    match (&target.route, jump) {
        (Route::ProxyCommand(command), _) => {
            let mut child = Command::new("sh")
                .args(["-c", &format!("exec {command}")])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| fail(format!("ProxyCommand `{command}`: {}", plain(&error))))?;
            let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
            let (Some(stdin), Some(stdout)) = (stdin, stdout) else {
                return Err(fail(format!(
                    "ProxyCommand `{command}` has no input or output"
                )));
            };
            if let Some(stderr) = child.stderr.take() {
                let noted = noted.clone();
                tokio::spawn(async move {
                    let mut lines = BufReader::new(stderr).lines();
                    while let Ok(Some(line)) = lines.next_line().await {
                        noted.complain(line);
                    }
                });
            }
            Ok(Wire {
                bytes: Box::new(tokio::io::join(stdout, stdin)),
                _child: Some(child),
                _jump: None,
                noted: noted.clone(),
            })
        }
        (Route::Jump(hop), Some(jump)) => {
            let stream = jump.dial(&target.address, target.port).await;
            let stream = stream
                .map_err(|error| fail(format!("`{}` does not lead there: {error}", hop.name)))?;
            Ok(Wire {
                bytes: Box::new(stream),
                _child: None,
                _jump: Some(jump),
                noted: noted.clone(),
            })
        }
        (Route::Jump(hop), None) => Err(fail(format!("`{}` is not connected", hop.name))),
        (Route::Direct, _) => {
            let addresses: Vec<_> = tokio::net::lookup_host((target.address.as_str(), target.port))
                .await
                .map_err(|error| Error::Resolve {
                    host: target.name.clone(),
                    address: target.address.clone(),
                    cause: plain(&error),
                })?
                .collect();
            let socket = TcpStream::connect(addresses.as_slice())
                .await
                .map_err(|error| fail(plain(&error)))?;
            socket
                .set_nodelay(true)
                .map_err(|error| fail(plain(&error)))?;
            // That it is connected is an answer.
            noted.hear();
            Ok(Wire {
                bytes: Box::new(socket),
                _child: None,
                _jump: None,
                noted: noted.clone(),
            })
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let polled = Pin::new(&mut self.bytes).poll_read(context, into);
        if into.filled().len() > before {
            self.noted.hear();
        }
        polled
    }
}

impl AsyncWrite for Wire {
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

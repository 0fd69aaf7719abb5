//! Ports and sockets of one machine that lead to the other.

use std::{fmt, io, path::PathBuf, str::FromStr, sync::Arc};

use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
    task::JoinHandle,
};

use super::{
    Connection, Error, StreamTarget,
    channel::{Drained, Stream},
};
use crate::core::diagnostic::plain;

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A TCP port of an address.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(String),
}

impl FromStr for Endpoint {
    type Err = String;

    /// `PORT`, `HOST:PORT` or `/PATH`; a port alone is one of the machine itself.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with('/') {
            return Ok(Endpoint::Unix(text.to_owned()));
        }
        let wrong = || format!("`{text}` is no PORT, HOST:PORT or /PATH of a socket");
        let (host, port) = text.rsplit_once(':').unwrap_or(("127.0.0.1", text));
        let port = port.parse().map_err(|_| wrong())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(wrong());
        }
        Ok(Endpoint::Tcp(host.to_owned(), port))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Endpoint::Tcp(host, port) => write!(f, "{host}:{port}"),
            Endpoint::Unix(path) => f.write_str(path),
        }
    }
}

/// A way that is open as long as this lives.
pub struct Forward {
    /// Where it begins: with the port that was chosen, if any would do.
    pub from: Endpoint,
    task: JoinHandle<()>,
    /// Our own socket file.
    socket: Option<PathBuf>,
    /// What the server listens on for us.
    remote: Option<Arc<Connection>>,
}

impl Forward {
    /// Listens on this machine, and leads to what the server can reach.
    pub async fn local(
        connection: &Arc<Connection>,
        from: &Endpoint,
        to: &Endpoint,
    ) -> Result<Self, Error> {
        let fail = |error: io::Error| Error::Listen {
            host: connection.target().name.clone(),
            what: format!("{from} of this machine"),
            cause: plain(&error),
        };
        let (connection, to) = (connection.clone(), to.clone());
        match from {
            Endpoint::Tcp(host, port) => {
                let listener = TcpListener::bind((host.as_str(), *port))
                    .await
                    .map_err(fail)?;
                let port = listener.local_addr().map_err(fail)?.port();
                let task = tokio::spawn(async move {
                    while let Ok((socket, _)) = listener.accept().await {
                        lead(connection.clone(), socket, to.clone());
                    }
                });
                Ok(Forward {
                    from: Endpoint::Tcp(host.clone(), port),
                    task,
                    socket: None,
                    remote: None,
                })
            }
            Endpoint::Unix(path) => {
                let listener = UnixListener::bind(path).map_err(fail)?;
                let task = tokio::spawn(async move {
                    while let Ok((socket, _)) = listener.accept().await {
                        lead(connection.clone(), socket, to.clone());
                    }
                });
                Ok(Forward {
                    from: from.clone(),
                    task,
                    socket: Some(PathBuf::from(path)),
                    remote: None,
                })
            }
        }
    }

    /// Lets the server listen, and leads to what this machine can reach.
    pub async fn remote(
        connection: &Arc<Connection>,
        from: &Endpoint,
        to: &Endpoint,
    ) -> Result<Self, Error> {
        let fail = |_| Error::Refused {
            host: connection.target().name.clone(),
            what: format!("to listen on {from}"),
            forbidden: false,
        };
        let mut from = from.clone();
        match &mut from {
            Endpoint::Tcp(host, port) => {
                let chosen = connection
                    .handle
                    .tcpip_forward(host.clone(), u32::from(*port))
                    .await
                    .map_err(fail)?;
                // The server says which port it chose, and nothing if it had no choice.
                if *port == 0 {
                    *port = u16::try_from(chosen).unwrap_or(0);
                }
            }
            Endpoint::Unix(path) => connection
                .handle
                .streamlocal_forward(path.clone())
                .await
                .map_err(fail)?,
        }
        let key = match &from {
            Endpoint::Tcp(host, port) => format!("{host}:{port}"),
            Endpoint::Unix(path) => path.clone(),
        };
        let mut channels = connection.noted.forward(&key);
        let to = to.clone();
        let task = tokio::spawn(async move {
            while let Some(channel) = channels.recv().await {
                let to = to.clone();
                tokio::spawn(async move {
                    let mut stream = Stream::new(Drained::new(channel, None), false);
                    // Who cannot be reached hangs up, as one would see here.
                    let _ = match &to {
                        Endpoint::Tcp(host, port) => {
                            match TcpStream::connect((host.as_str(), *port)).await {
                                Ok(mut socket) => {
                                    copy_bidirectional(&mut stream, &mut socket).await
                                }
                                Err(error) => Err(error),
                            }
                        }
                        Endpoint::Unix(path) => match UnixStream::connect(path).await {
                            Ok(mut socket) => copy_bidirectional(&mut stream, &mut socket).await,
                            Err(error) => Err(error),
                        },
                    };
                });
            }
        });
        Ok(Forward {
            from,
            task,
            socket: None,
            remote: Some(connection.clone()),
        })
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(path) = &self.socket {
            // It is of no use to anybody any more.
            let _ = std::fs::remove_file(path);
        }
        if let Some(connection) = self.remote.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let from = self.from.clone();
            runtime.spawn(async move {
                // The connection's end does the same.
                let _ = match from {
                    Endpoint::Tcp(host, port) => {
                        connection
                            .handle
                            .cancel_tcpip_forward(host, u32::from(port))
                            .await
                    }
                    Endpoint::Unix(path) => {
                        connection.handle.cancel_streamlocal_forward(path).await
                    }
                };
            });
        }
    }
}

/// Leads one connection to the other end, beside others.
fn lead<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    connection: Arc<Connection>,
    mut socket: S,
    to: Endpoint,
) {
    tokio::spawn(async move {
        let stream = match &to {
            Endpoint::Tcp(host, port) => connection.dial(host, *port).await,
            Endpoint::Unix(path) => connection.stream(&StreamTarget::Socket(path.clone())).await,
        };
        // Who cannot be reached hangs up, as one would see there.
        if let Ok(mut stream) = stream {
            let _ = copy_bidirectional(&mut socket, &mut stream).await;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        let parse = |text: &str| text.parse::<Endpoint>().map(|e| e.to_string());
        assert_eq!(parse("80").unwrap(), "127.0.0.1:80");
        assert_eq!(parse("db:5432").unwrap(), "db:5432");
        assert_eq!(parse("[::1]:80").unwrap(), "[::1]:80");
        assert_eq!(parse("/run/x.sock").unwrap(), "/run/x.sock");
        for bad in ["", "x", "db:", "a b:1", "70000"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}

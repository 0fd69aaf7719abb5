//! Port and socket forwarding between the local machine and a server.

use std::{future::Future, io, path::PathBuf, sync::Arc};

use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, UnixListener, UnixStream},
    task::JoinHandle,
};

use super::{
    Cause, Connection, Endpoint, Error, channel::SpooledChannel, dial::Duplex, stream::Stream, tcp,
};
use crate::core::diagnostic::plain;

/// A forwarded port or socket, until it is dropped.
pub struct Forward {
    /// Where it listens; with the port that the system chose for port 0.
    pub from: Endpoint,
    task: JoinHandle<()>,
    /// The local socket file to remove.
    socket: Option<PathBuf>,
    /// The connection on whose server a listener must be cancelled.
    remote: Option<Arc<Connection>>,
}

impl Forward {
    /// Listens on the local machine, and forwards to an address that the server can reach. `on_error` gets
    /// the messages of connections that fail.
    pub async fn local(
        connection: &Arc<Connection>,
        from: &Endpoint,
        to: &Endpoint,
        on_error: impl Fn(String) + Clone + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let (host, to) = (&connection.target().name, to.clone());
        let connection = connection.clone();
        let dial = move || {
            let (connection, to, on_error) = (connection.clone(), to.clone(), on_error.clone());
            async move {
                let dialed = connection.dial(&to).await;
                dialed.map_err(|error| on_error(error.to_string()))
            }
        };
        Forward::dialing(host, from, dial).await
    }

    /// Listens on the local machine, and forwards each client to a stream that `dial` opens. `host` is
    /// the name of the host at the other end.
    pub async fn dialing<R, S, E>(
        host: &str,
        from: &Endpoint,
        dial: impl Fn() -> R + Send + 'static,
    ) -> Result<Self, Error>
    where
        R: Future<Output = Result<S, E>> + Send + 'static,
        S: Duplex + 'static,
        E: Send + 'static,
    {
        let fail = |error: io::Error| {
            Error::on_host(
                host,
                Cause::Listen {
                    what: format!("{from} of the local machine"),
                    cause: plain(&error),
                },
            )
        };
        let (listener, from, socket) = match from {
            Endpoint::Tcp(host, port) => {
                let listener = TcpListener::bind((host.as_str(), *port))
                    .await
                    .map_err(fail)?;
                let port = listener.local_addr().map_err(fail)?.port();
                let from = Endpoint::Tcp(host.clone(), port);
                (Listener::Tcp(listener), from, None)
            }
            Endpoint::Unix(path) => {
                let listener = UnixListener::bind(path).map_err(fail)?;
                let socket = Some(PathBuf::from(path));
                (Listener::Unix(listener), from.clone(), socket)
            }
        };
        let task = tokio::spawn(async move {
            while let Ok(client) = listener.accept().await {
                tokio::spawn(forward_client(client, dial()));
            }
        });
        Ok(Forward {
            from,
            task,
            socket,
            remote: None,
        })
    }

    /// Listens on the server, and forwards to an address that the local machine can reach. `on_error` gets
    /// the messages of connections that fail.
    pub async fn remote(
        connection: &Arc<Connection>,
        from: &Endpoint,
        to: &Endpoint,
        on_error: impl Fn(String) + Clone + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        let fail = |_| {
            connection.target().error(Cause::Refused {
                what: format!("to listen on {from}"),
                is_forbidden: false,
            })
        };
        let mut from = from.clone();
        match &mut from {
            Endpoint::Tcp(host, port) => {
                let chosen = connection
                    .handle
                    .tcpip_forward(host.clone(), u32::from(*port))
                    .await
                    .map_err(fail)?;
                // The server reports the port only if it chose one (RFC 4254, section 7.1).
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
        let mut channels = connection.state.register_forward(&key);
        let (to, host) = (to.clone(), connection.target().name.clone());
        let task = tokio::spawn(async move {
            while let Some((channel, permit)) = channels.recv().await {
                let (to, host, on_error) = (to.clone(), host.clone(), on_error.clone());
                tokio::spawn(async move {
                    let stream = Stream::of_socket(SpooledChannel::new(channel, Some(permit)));
                    let connected = match &to {
                        Endpoint::Tcp(host, port) => tcp::connect_host(host, *port)
                            .await
                            .map(|socket| Box::new(socket) as Box<dyn Duplex>),
                        Endpoint::Unix(path) => UnixStream::connect(path)
                            .await
                            .map(|socket| Box::new(socket) as Box<dyn Duplex>),
                    };
                    let dialing = async {
                        connected.map_err(|error| {
                            let cause = plain(&error);
                            on_error(format!("host `{host}`: forwarding to {to} here: {cause}"));
                        })
                    };
                    forward_client(Box::new(stream), dialing).await;
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
            // The socket is closed: clients could not connect anyway.
            let _ = std::fs::remove_file(path);
        }
        if let Some(connection) = self.remote.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let from = self.from.clone();
            runtime.spawn(async move {
                // Fails if the connection is closed, which cancels the listener too.
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

/// A listening socket of the local machine.
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    async fn accept(&self) -> io::Result<Box<dyn Duplex>> {
        let client: Box<dyn Duplex> = match self {
            Listener::Tcp(listener) => Box::new(listener.accept().await?.0),
            Listener::Unix(listener) => Box::new(listener.accept().await?.0),
        };
        Ok(client)
    }
}

/// Forwards one accepted connection. If the target is unreachable, it is closed, as for a client on the
/// other side.
async fn forward_client<S: Duplex, E>(
    mut client: Box<dyn Duplex>,
    dialing: impl Future<Output = Result<S, E>>,
) {
    if let Ok(mut stream) = dialing.await {
        // The end of a connection is no error, however it ends.
        let _ = copy_bidirectional(&mut client, &mut stream).await;
    }
}

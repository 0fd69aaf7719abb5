//! A listener with a long backlog, for hundreds of connections at the same time.

use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpSocket};

/// Listens on all local addresses. With the default backlog of 128, further clients would retry after
/// one second.
pub fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::UNSPECIFIED, port).into())?;
    socket.listen(4096)
}

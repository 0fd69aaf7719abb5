//! A port that hundreds may come to at once.

use std::net::Ipv4Addr;

use tokio::net::{TcpListener, TcpSocket};

/// Listens on all addresses of this machine. With the usual queue of 128, the others try again
/// after a second.
pub fn listen(port: u16) -> std::io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::UNSPECIFIED, port).into())?;
    socket.listen(4096)
}

//! TCP connections to a host with several addresses: "Happy Eyeballs" (RFC 8305).
//!
//! An address that does not answer must not hide one that does: a server may have an IPv6 address that a
//! firewall on the way drops. The next address is tried 250 ms after the one before, or as soon as that
//! fails, and the first connection is taken.

use std::{future::pending, io, net::SocketAddr, time::Duration};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    net::{TcpStream, lookup_host},
    time::sleep,
};

/// The delay between two attempts (RFC 8305, section 5: the Connection Attempt Delay).
const DELAY: Duration = Duration::from_millis(250);

/// Connects to a host name or address.
pub async fn connect_host(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host((host, port)).await?.collect();
    connect(&addresses).await
}

/// Connects to the first of these addresses that answers. The resolver sorts them by preference
/// (RFC 6724). If all fail, the error is that of the first one that failed.
pub async fn connect(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = interleave(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    attempts.extend(waiting.next().map(TcpStream::connect));
    let mut first_error = None;
    while !attempts.is_empty() {
        let delay = async {
            match waiting.len() {
                0 => pending().await,
                _ => sleep(DELAY).await,
            }
        };
        tokio::select! {
            Some(attempt) = attempts.next() => match attempt {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    first_error.get_or_insert(error);
                }
            },
            () = delay => {}
        }
        attempts.extend(waiting.next().map(TcpStream::connect));
    }
    Err(first_error.unwrap_or_else(|| io::Error::other("no address")))
}

/// Orders addresses by their preference, with families in turn (RFC 8305, section 4).
fn interleave(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let is_first = |address: &&SocketAddr| {
        let first = addresses.first();
        first.is_some_and(|first| first.is_ipv6() == address.is_ipv6())
    };
    let (first, second): (Vec<&SocketAddr>, Vec<&SocketAddr>) =
        addresses.iter().partition(is_first);
    let mut ordered = Vec::new();
    for at in 0..first.len().max(second.len()) {
        ordered.extend(first.get(at).copied());
        ordered.extend(second.get(at).copied());
    }
    ordered
}

#[cfg(test)]
mod tests {
    use tokio::{
        net::{TcpListener, TcpSocket},
        time::{Instant, timeout},
    };

    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|text| text.parse().unwrap()).collect()
        };
        let given = parse(&[
            "[::1]:1",
            "[::2]:1",
            "[::3]:1",
            "127.0.0.1:1",
            "127.0.0.2:1",
        ]);
        let expected = parse(&[
            "[::1]:1",
            "127.0.0.1:1",
            "[::2]:1",
            "127.0.0.2:1",
            "[::3]:1",
        ]);
        assert_eq!(interleave(&given), expected);
        let given = parse(&["127.0.0.1:1", "[::1]:1"]);
        assert_eq!(interleave(&given), given);
    }

    /// An address that answers to nothing: the queue of its listener is full.
    async fn black_hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut queue = Vec::new();
        while let Ok(connected) =
            timeout(Duration::from_millis(100), TcpStream::connect(address)).await
        {
            queue.push(connected.unwrap());
        }
        (listener, queue, address)
    }

    #[tokio::test]
    async fn an_address_that_drops_everything_hides_no_other() {
        let (_listener, _queue, hole) = black_hole().await;
        let answers = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let good = answers.local_addr().unwrap();
        let started = Instant::now();
        let stream = connect(&[hole, hole, good]).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), good);
        let elapsed = started.elapsed();
        assert!(elapsed >= 2 * DELAY && elapsed < 8 * DELAY, "{elapsed:?}");
    }

    #[tokio::test]
    async fn a_refused_connection_is_not_waited_for() {
        let refusing = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = refusing.local_addr().unwrap();
        drop(refusing);
        let answers = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let started = Instant::now();
        let addresses = [
            closed,
            closed,
            closed,
            closed,
            answers.local_addr().unwrap(),
        ];
        connect(&addresses).await.unwrap();
        assert!(started.elapsed() < 2 * DELAY);
        let error = connect(&[closed, closed]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        assert!(connect(&[]).await.is_err());
    }
}

//! A TCP proxy with latency, in place of a distant network.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

/// Accepts connections, and forwards them to port `to` of the same address, with half of the round
/// trip as latency in each direction. The TCP handshake cannot be delayed here, so each connection
/// starts with a pause of one round trip instead.
pub async fn delay(listener: TcpListener, to: u16, round_trip: Duration) -> io::Result<()> {
    loop {
        let (near, _) = listener.accept().await?;
        tokio::spawn(forward(near, to, round_trip));
    }
}

async fn forward(near: TcpStream, to: u16, round_trip: Duration) -> io::Result<()> {
    near.set_nodelay(true)?;
    let address = near.local_addr()?.ip();
    sleep(round_trip).await;
    let far = TcpStream::connect((address, to)).await?;
    far.set_nodelay(true)?;
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::spawn(pipe(near_read, far_write, round_trip / 2));
    pipe(far_read, near_write, round_trip / 2).await
}

async fn pipe(
    mut from: impl AsyncReadExt + Unpin + Send + 'static,
    mut to: impl AsyncWriteExt + Unpin,
    latency: Duration,
) -> io::Result<()> {
    // Large enough for the data in flight in a fast network.
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let piece = (Instant::now() + latency, buffer[..count].to_vec());
            if sender.send(piece).await.is_err() {
                break;
            }
        }
    });
    while let Some((when, bytes)) = receiver.recv().await {
        sleep_until(when).await;
        to.write_all(&bytes).await?;
    }
    to.shutdown().await
}

//! A network far away: what goes through arrives later.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

/// Takes connections and leads them to `to` of the address that they came for, half of the round
/// trip later in each direction. The handshake of TCP, which cannot be delayed here, is made up
/// for by a round trip in which nothing arrives.
pub async fn delay(listener: TcpListener, to: u16, round_trip: Duration) -> io::Result<()> {
    loop {
        let (near, _) = listener.accept().await?;
        tokio::spawn(lead(near, to, round_trip));
    }
}

async fn lead(near: TcpStream, to: u16, round_trip: Duration) -> io::Result<()> {
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
    late: Duration,
) -> io::Result<()> {
    // As much as is on its way in a fast network.
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(1024);
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            let piece = (Instant::now() + late, buffer[..count].to_vec());
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

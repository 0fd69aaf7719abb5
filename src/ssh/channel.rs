//! Channels on a connection, always drained and always closed.
//!
//! The SSH library stops reading the whole connection when one channel's messages are not taken,
//! and a dropped channel stays open at the server. So every channel gets a task that takes its
//! messages at once, and closes it when nobody listens any more.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use russh::{Channel, ChannelMsg, ChannelWriteHalf, client::Msg};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc},
};

/// How many bytes of a channel wait in memory for whoever reads it, at most. Past that the whole
/// connection waits: the other end of a channel is told to stop only by not reading on.
const ROOM: usize = 32 * 1024 * 1024;

/// How a remote end is spoken to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// A Unix socket on the server.
    Socket(String),
    /// A command's standard input and output.
    Command(String),
}

/// A channel whose messages are taken as they come.
pub(super) struct Drained {
    messages: mpsc::UnboundedReceiver<ChannelMsg>,
    room: Arc<Semaphore>,
    pub(super) write: Arc<ChannelWriteHalf<Msg>>,
}

impl Drained {
    /// Takes over a channel. The permit, if any, is given back when it is closed.
    pub(super) fn new(channel: Channel<Msg>, permit: Option<OwnedSemaphorePermit>) -> Self {
        let (mut read, write) = channel.split();
        let write = Arc::new(write);
        let (sender, messages) = mpsc::unbounded_channel();
        let closer = write.clone();
        let room = Arc::new(Semaphore::new(ROOM));
        let taken = room.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = read.wait() => match message {
                        Some(message) => {
                            tokio::select! {
                                room = taken.acquire_many(size(&message)) => {
                                    // Given back when it is read. It is never closed.
                                    room.into_iter().for_each(SemaphorePermit::forget);
                                }
                                () = sender.closed() => {}
                            }
                            // A failed send means that nobody listens: seen below.
                            let _ = sender.send(message);
                        }
                        None => break,
                    },
                    () = sender.closed() => {
                        // The library says nothing of a channel that we closed ourselves, so
                        // there is nothing to wait for.
                        let _ = closer.close().await;
                        break;
                    }
                }
            }
            drop(permit);
        });
        Drained {
            messages,
            room,
            write,
        }
    }

    /// The next message; none when the channel is closed.
    pub(super) async fn next(&mut self) -> Option<ChannelMsg> {
        poll_fn(|context| self.poll_next(context)).await
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<ChannelMsg>> {
        let message = self.messages.poll_recv(context);
        if let Poll::Ready(Some(message)) = &message {
            self.room.add_permits(size(message) as usize);
        }
        message
    }
}

/// How many bytes a message carries.
fn size(message: &ChannelMsg) -> u32 {
    let length = match message {
        ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } => data.len(),
        _ => 0,
    };
    // A packet has 32 bits for its length.
    u32::try_from(length.min(ROOM)).unwrap_or(0)
}

/// A byte stream to something on the server: a Unix socket, or a command's input and output.
///
/// What the command writes to its standard error is kept for messages.
pub struct Stream {
    channel: Drained,
    writer: Pin<Box<dyn AsyncWrite + Send + Sync>>,
    buffer: Bytes,
    ended: bool,
    /// A command's exit status follows its end of file, and is worth waiting for; a socket's end
    /// of file is all there is.
    status_follows: bool,
    stderr: Vec<u8>,
}

impl Stream {
    pub(super) fn new(channel: Drained, status_follows: bool) -> Self {
        Stream {
            status_follows,
            writer: Box::pin(channel.write.make_writer()),
            channel,
            buffer: Bytes::new(),
            ended: false,
            stderr: Vec::new(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.buffer.is_empty() {
                let count = self.buffer.len().min(into.remaining());
                into.put_slice(&self.buffer[..count]);
                self.buffer.advance(count);
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match self.channel.poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(ChannelMsg::Data { data })) => self.buffer = data,
                Poll::Ready(Some(ChannelMsg::ExtendedData { data, .. })) => {
                    self.stderr.extend_from_slice(&data);
                }
                Poll::Ready(Some(ChannelMsg::ExitStatus { exit_status })) if exit_status != 0 => {
                    let stderr = String::from_utf8_lossy(&self.stderr).trim().to_owned();
                    self.ended = true;
                    return Poll::Ready(Err(io::Error::other(stderr)));
                }
                Poll::Ready(Some(ChannelMsg::Eof)) => self.ended = !self.status_follows,
                Poll::Ready(Some(ChannelMsg::Close) | None) => self.ended = true,
                Poll::Ready(Some(_)) => {}
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.writer.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_shutdown(context)
    }
}

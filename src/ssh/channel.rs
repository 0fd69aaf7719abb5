//! Channels on a connection, always drained and always closed.
//!
//! The SSH library stops reading the whole connection when one channel's messages are not taken,
//! and a dropped channel stays open at the server. So every channel gets a task that takes its
//! messages at once, and closes it when nobody listens any more.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client::Msg};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, mpsc},
};

use super::{Command, spool::Spool};

/// How a remote end is spoken to.
#[derive(Clone, Debug)]
pub enum StreamTarget {
    /// A Unix socket on the server.
    Socket(String),
    /// A command's standard input and output.
    Command(Box<Command>),
}

/// Where a channel's messages come from.
enum Source {
    Channel(ChannelReadHalf),
    /// A channel that was opened while the connection was made.
    Early(mpsc::Receiver<ChannelMsg>),
}

impl Source {
    async fn next(&mut self) -> Option<ChannelMsg> {
        match self {
            Source::Channel(read) => read.wait().await,
            Source::Early(messages) => messages.recv().await,
        }
    }
}

/// A channel whose messages are taken as they come.
pub(super) struct Drained {
    spool: Arc<Spool>,
    unread: VecDeque<ChannelMsg>,
    /// None for a channel to which nothing is sent.
    pub(super) write: Option<Arc<ChannelWriteHalf<Msg>>>,
}

impl Drained {
    /// Takes over a channel. The permit, if any, is given back when it is closed.
    pub(super) fn new(channel: Channel<Msg>, permit: Option<OwnedSemaphorePermit>) -> Self {
        let (read, write) = channel.split();
        Drained::pump(Source::Channel(read), Some(Arc::new(write)), permit)
    }

    /// Takes over a channel of which only the messages are there.
    pub(super) fn early(
        messages: mpsc::Receiver<ChannelMsg>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Drained::pump(Source::Early(messages), None, permit)
    }

    fn pump(
        mut source: Source,
        write: Option<Arc<ChannelWriteHalf<Msg>>>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let spool = Arc::new(Spool::default());
        let (into, closer) = (spool.clone(), write.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = source.next() => {
                        if message.is_none() {
                            break;
                        }
                        let mut message = message;
                        // Whether anybody listens is seen below.
                        poll_fn(|context| into.poll_push(context, &mut message)).await;
                    }
                    () = poll_fn(|context| into.poll_abandoned(context)) => {
                        // The library says nothing of a channel that we closed ourselves, so
                        // there is nothing to wait for.
                        if let Some(closer) = closer {
                            let _ = closer.close().await;
                        }
                        break;
                    }
                }
            }
            into.end();
            drop(permit);
        });
        Drained {
            spool,
            unread: VecDeque::new(),
            write,
        }
    }

    /// The next message; none when the channel is closed.
    pub(super) async fn next(&mut self) -> Option<ChannelMsg> {
        // There may always be a next one: let others have a turn, such as Ctrl-C.
        tokio::task::consume_budget().await;
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Puts a message back, behind others that were put back.
    pub(super) fn put_back(&mut self, message: ChannelMsg) {
        self.unread.push_back(message);
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<ChannelMsg>> {
        match self.unread.pop_front() {
            Some(message) => Poll::Ready(Some(message)),
            None => self.spool.poll_pop(context),
        }
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        self.spool.abandon();
    }
}

/// A byte stream to something on the server: a Unix socket, or a command's input and output.
///
/// What the command writes to its standard error is kept for messages.
pub struct Stream {
    channel: Drained,
    writer: Option<Pin<Box<dyn AsyncWrite + Send + Sync>>>,
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
            writer: channel
                .write
                .as_ref()
                .map(|write| Box::pin(write.make_writer()) as Pin<Box<_>>),
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
        match &mut self.writer {
            Some(writer) => writer.as_mut().poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.writer {
            Some(writer) => writer.as_mut().poll_flush(context),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.writer {
            Some(writer) => writer.as_mut().poll_shutdown(context),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

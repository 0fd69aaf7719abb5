//! Byte streams to the server: to a Unix socket, a TCP port, or a command's input and output.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use russh::ChannelMsg;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::channel::SpooledChannel;
use crate::core::process::Keep;

/// A byte stream on a channel. The standard error of a command is kept for the error message.
pub struct Stream {
    channel: SpooledChannel,
    writer: Option<Pin<Box<dyn AsyncWrite + Send + Sync>>>,
    buffer: Bytes,
    ended: bool,
    /// Keeps reading after the end of file until the exit status arrives. A command's exit status
    /// follows its end of file; a socket has none.
    awaits_status: bool,
    /// The command exited with a status other than 0, or by a signal.
    failed: bool,
    stderr: Vec<u8>,
}

impl Stream {
    /// Wraps the channel of a socket or TCP connection.
    pub(super) fn of_socket(channel: SpooledChannel) -> Self {
        Stream::new(channel, false)
    }

    /// Wraps the channel of a command. A non-zero exit status becomes a read error that contains
    /// the command's standard error.
    pub(super) fn of_command(channel: SpooledChannel) -> Self {
        Stream::new(channel, true)
    }

    fn new(channel: SpooledChannel, awaits_status: bool) -> Self {
        Stream {
            awaits_status,
            writer: channel
                .write
                .as_ref()
                .map(|write| Box::pin(write.make_writer()) as Pin<Box<_>>),
            channel,
            buffer: Bytes::new(),
            ended: false,
            failed: false,
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
                    // Its last part: `Keep::End` has no limit.
                    let _ = Keep::End.push(&mut self.stderr, &data);
                }
                // Output may still follow.
                Poll::Ready(Some(ChannelMsg::ExitStatus { exit_status })) => {
                    self.failed = exit_status != 0;
                }
                Poll::Ready(Some(ChannelMsg::ExitSignal { .. })) => self.failed = true,
                Poll::Ready(Some(ChannelMsg::Eof)) => self.ended = !self.awaits_status,
                Poll::Ready(Some(ChannelMsg::Close) | None) => {
                    self.ended = true;
                    if self.failed {
                        let stderr = String::from_utf8_lossy(&self.stderr).trim().to_owned();
                        return Poll::Ready(Err(io::Error::other(stderr)));
                    }
                }
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

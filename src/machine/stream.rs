//! Byte streams to a machine: of a connection, or of a command's standard input and output.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ssh::Duplex;

/// A byte stream to a machine.
pub type Stream = Box<dyn Duplex>;

/// The standard input and output of a command as one stream, which ends as the command ends.
pub(crate) struct CommandStream {
    stdout: Pin<Box<dyn AsyncRead + Send>>,
    /// None once it is closed.
    stdin: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    /// Resolves when the command has ended; none once it has.
    end: Option<Pin<Box<dyn Future<Output = io::Result<()>> + Send>>>,
}

impl CommandStream {
    /// Joins standard input and output. When the output ends, `end` tells whether the command
    /// succeeded.
    pub fn new(
        stdin: impl AsyncWrite + Send + 'static,
        stdout: impl AsyncRead + Send + 'static,
        end: impl Future<Output = io::Result<()>> + Send + 'static,
    ) -> Self {
        CommandStream {
            stdout: Box::pin(stdout),
            stdin: Some(Box::pin(stdin)),
            end: Some(Box::pin(end)),
        }
    }
}

impl AsyncRead for CommandStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        if self.end.is_some() {
            ready!(self.stdout.as_mut().poll_read(context, into))?;
        }
        if into.filled().len() > before || into.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let Some(end) = &mut self.end else {
            return Poll::Ready(Ok(()));
        };
        let ended = ready!(end.as_mut().poll(context));
        self.end = None;
        Poll::Ready(ended)
    }
}

impl AsyncWrite for CommandStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stdin {
            Some(stdin) => stdin.as_mut().poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stdin {
            Some(stdin) => stdin.as_mut().poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Closes standard input.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(stdin) = &mut self.stdin {
            ready!(stdin.as_mut().poll_shutdown(context))?;
            // Closing a pipe is dropping it.
            self.stdin = None;
        }
        Poll::Ready(Ok(()))
    }
}

//! Channels whose messages are received immediately, and spooled until they are read.
//!
//! russh stops reading the whole connection while the messages of one channel are not received, and
//! a dropped channel stays open on the server. So each channel has a task that receives its messages
//! immediately, and closes the channel when its reader is dropped.

use std::{
    collections::VecDeque,
    future::poll_fn,
    sync::Arc,
    task::{Context, Poll},
};

use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, client::Msg};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::spool::Spool;

/// Where the messages of a channel come from.
enum Source {
    Channel(ChannelReadHalf),
    /// The channel of an early command, whose messages the client handler forwards.
    Handler(mpsc::Receiver<ChannelMsg>),
}

impl Source {
    async fn next(&mut self) -> Option<ChannelMsg> {
        match self {
            Source::Channel(read) => read.wait().await,
            Source::Handler(messages) => messages.recv().await,
        }
    }
}

/// A channel with a task that receives its messages into a spool.
pub(super) struct SpooledChannel {
    spool: Arc<Spool>,
    /// Messages that were put back by the reader.
    unread: VecDeque<ChannelMsg>,
    /// None for a channel that can only be read.
    pub(super) write: Option<Arc<ChannelWriteHalf<Msg>>>,
}

impl SpooledChannel {
    /// Takes over a channel. Releases the permit when the channel is closed.
    pub(super) fn new(channel: Channel<Msg>, permit: Option<OwnedSemaphorePermit>) -> Self {
        let (read, write) = channel.split();
        let source = Source::Channel(read);
        SpooledChannel::spawn(Spool::default(), source, Some(Arc::new(write)), permit)
    }

    /// Takes over a channel that is not used yet. Data that the server sends before
    /// [`SpooledChannel::begin`] is discarded.
    pub(super) fn unused(channel: Channel<Msg>, permit: OwnedSemaphorePermit) -> Self {
        let (read, write) = channel.split();
        let (source, write) = (Source::Channel(read), Some(Arc::new(write)));
        SpooledChannel::spawn(Spool::unused(), source, write, Some(permit))
    }

    /// Begins to use the channel.
    pub(super) fn begin(self) -> Self {
        self.spool.begin();
        self
    }

    /// Takes over the messages of a channel to which nothing is written.
    pub(super) fn read_only(
        messages: mpsc::Receiver<ChannelMsg>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        SpooledChannel::spawn(Spool::default(), Source::Handler(messages), None, permit)
    }

    fn spawn(
        spool: Spool,
        mut source: Source,
        write: Option<Arc<ChannelWriteHalf<Msg>>>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        let spool = Arc::new(spool);
        let (into, closer) = (spool.clone(), write.clone());
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    message = source.next() => match message {
                        // If the reader is gone, the other branch notices.
                        Some(message) => into.push(message).await,
                        None => break,
                    },
                    () = poll_fn(|context| into.poll_abandoned(context)) => {
                        // russh reports no messages of a channel that the client closed, so there
                        // is nothing to wait for.
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
        SpooledChannel {
            spool,
            unread: VecDeque::new(),
            write,
        }
    }

    /// Returns the next message, or none when the channel is closed.
    pub(super) async fn next(&mut self) -> Option<ChannelMsg> {
        // A spool may always have another message: yields to other tasks, such as Ctrl-C.
        tokio::task::consume_budget().await;
        poll_fn(|context| self.poll_next(context)).await
    }

    /// Puts a message back, behind the messages that were put back before.
    pub(super) fn put_back(&mut self, message: ChannelMsg) {
        self.unread.push_back(message);
    }

    /// Polls for the next message; none when the channel is closed.
    pub(super) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<ChannelMsg>> {
        match self.unread.pop_front() {
            Some(message) => Poll::Ready(Some(message)),
            None => self.spool.poll_pop(context),
        }
    }
}

impl Drop for SpooledChannel {
    fn drop(&mut self) {
        self.spool.abandon();
    }
}

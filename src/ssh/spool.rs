//! What a channel has brought and nobody has read yet: a little in memory, more in a file.
//!
//! A slow reader must not make the connection wait, on which others have channels too.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::FileExt,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use russh::ChannelMsg;

/// How many bytes wait in memory.
const MEMORY: usize = 4 * 1024 * 1024;
/// How large the file may become before all of it has been read. Past that the whole connection
/// waits: the other end of a channel is told to stop only by not reading on.
const DISK: u64 = 1024 * 1024 * 1024;

/// A queue with one end that writes and one that reads.
#[derive(Default)]
pub(super) struct Spool(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    queue: VecDeque<Item>,
    memory: usize,
    file: Option<File>,
    written: u64,
    read: u64,
    /// No more comes.
    ended: bool,
    /// Nobody reads any more.
    abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

enum Item {
    Message(ChannelMsg),
    /// So many bytes of the file, of this extended stream if of any.
    Spilled {
        length: usize,
        ext: Option<u32>,
    },
}

impl Spool {
    /// Takes a message; waits only when even the file is full. False if nobody reads any more.
    pub fn poll_push(
        &self,
        context: &mut Context<'_>,
        message: &mut Option<ChannelMsg>,
    ) -> Poll<bool> {
        let mut inner = self.lock();
        if inner.abandoned {
            return Poll::Ready(false);
        }
        if let Some(taken) = message.take()
            && let Err(back) = inner.push(taken)
        {
            *message = Some(back);
            inner.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
        Poll::Ready(true)
    }

    /// No more comes.
    pub fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        if let Some(reader) = inner.reader.take() {
            reader.wake();
        }
    }

    /// Nobody reads any more.
    pub fn abandon(&self) {
        let mut inner = self.lock();
        inner.abandoned = true;
        inner.queue.clear();
        inner.file = None;
        if let Some(writer) = inner.writer.take() {
            writer.wake();
        }
    }

    /// Resolves when nobody reads any more.
    pub fn poll_abandoned(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.abandoned {
            return Poll::Ready(());
        }
        inner.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// The next message; none after the last one.
    pub fn poll_pop(&self, context: &mut Context<'_>) -> Poll<Option<ChannelMsg>> {
        let mut inner = self.lock();
        let Some(item) = inner.queue.pop_front() else {
            if inner.ended {
                return Poll::Ready(None);
            }
            inner.reader = Some(context.waker().clone());
            return Poll::Pending;
        };
        let message = inner.take(item);
        if let Some(writer) = inner.writer.take() {
            writer.wake();
        }
        Poll::Ready(message)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A thread that died with the lock held has left a sound queue behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes a message, or gives it back if there is no room for it.
    fn push(&mut self, message: ChannelMsg) -> Result<(), ChannelMsg> {
        let (bytes, ext) = match &message {
            ChannelMsg::Data { data } => (data, None),
            ChannelMsg::ExtendedData { data, ext } => (data, Some(*ext)),
            _ => {
                self.queue.push_back(Item::Message(message));
                return Ok(());
            }
        };
        let length = bytes.len();
        // The queue keeps the order, wherever the bytes are.
        if self.memory == 0 || self.memory + length <= MEMORY {
            self.memory += length;
            self.queue.push_back(Item::Message(message));
            return Ok(());
        }
        if self.written + length as u64 > DISK || self.spill(bytes).is_err() {
            return Err(message);
        }
        self.queue.push_back(Item::Spilled { length, ext });
        Ok(())
    }

    fn spill(&mut self, bytes: &[u8]) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        file.write_all_at(bytes, self.written)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn take(&mut self, item: Item) -> Option<ChannelMsg> {
        match item {
            Item::Message(message) => {
                if let ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } = &message
                {
                    self.memory -= data.len();
                }
                Some(message)
            }
            Item::Spilled { length, ext } => {
                let mut bytes = vec![0; length];
                let file = self.file.as_ref()?;
                // A disk that gives back nothing: the channel ends, which its reader notices.
                file.read_exact_at(&mut bytes, self.read).ok()?;
                self.read += length as u64;
                if self.read == self.written {
                    self.file = None;
                    self.read = 0;
                    self.written = 0;
                }
                let data = Bytes::from(bytes);
                Some(match ext {
                    None => ChannelMsg::Data { data },
                    Some(ext) => ChannelMsg::ExtendedData { data, ext },
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test]
    async fn in_order_through_memory_and_file() {
        let spool = Spool::default();
        let piece = |n: u32| Bytes::from(n.to_be_bytes().repeat(8 * 1024));
        for n in 0..400 {
            let message = match n % 3 {
                0 => ChannelMsg::ExtendedData {
                    data: piece(n),
                    ext: 1,
                },
                _ => ChannelMsg::Data { data: piece(n) },
            };
            let mut message = Some(message);
            assert!(poll_fn(|context| spool.poll_push(context, &mut message)).await);
            assert!(spool.lock().memory <= MEMORY);
        }
        assert!(spool.lock().written > 0);
        spool.end();
        for n in 0..400 {
            match poll_fn(|context| spool.poll_pop(context)).await {
                Some(ChannelMsg::ExtendedData { data, ext: 1 }) if n % 3 == 0 => {
                    assert_eq!(data, piece(n));
                }
                Some(ChannelMsg::Data { data }) => assert_eq!(data, piece(n)),
                other => panic!("{n}: {other:?}"),
            }
        }
        assert!(poll_fn(|context| spool.poll_pop(context)).await.is_none());
        assert!(spool.lock().file.is_none());
    }
}

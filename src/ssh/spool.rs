//! The unread messages of a channel: up to 4 MiB in memory, of 6 MiB for all channels; more in a
//! temporary file.
//!
//! A slow reader must not stop the connection, which other channels share. What a server can make hitc
//! keep is limited: the bytes, and the number of messages, which may be empty.

use std::{
    collections::VecDeque,
    fs::File,
    future::poll_fn,
    io,
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use russh::{ChannelMsg, Sig};

use crate::core::sync::lock;

/// How many bytes are kept in memory.
const MEMORY: usize = 4 * 1024 * 1024;
/// How many bytes all spools keep in memory together, beside a share that each may always keep.
const ALL_MEMORY: usize = 6 * 1024 * 1024;
const SHARE: usize = 64 * 1024;
static IN_MEMORY: AtomicUsize = AtomicUsize::new(0);
/// The size limit of the file, which shrinks only when all of it was read. Beyond it the whole
/// connection waits: SSH has no other way to stop the sender of a channel than not to receive.
const DISK: u64 = 1024 * 1024 * 1024;
/// How many bytes a message in memory counts for, beside its data.
const OVERHEAD: usize = 256;
/// How many messages are kept, wherever their data is. Beyond it the connection waits, too.
const MESSAGES: usize = 64 * 1024;
/// The most data that messages in the file are joined to.
const JOINED: usize = 32 * 1024;
/// The longest text in a message without data, such as the name of a signal.
const NAME: usize = 64;

/// A queue of messages with one writer and one reader.
#[derive(Default)]
pub(super) struct Spool(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    queue: VecDeque<Item>,
    /// How many bytes of the queue are in memory.
    memory: usize,
    file: Option<Arc<File>>,
    /// How many bytes of the file were written and read.
    written: u64,
    read: u64,
    /// The writer is writing to the file, without the lock.
    is_writing: bool,
    /// The writer is done.
    ended: bool,
    reading: Reading,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Whether the messages are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reading {
    /// The channel is not used yet: data that the server sends already is discarded.
    NotYet,
    #[default]
    Yes,
    /// The reader is gone.
    Over,
}

enum Item {
    Message(ChannelMsg),
    /// A data message whose bytes are next in the file; with `ext`, extended data of that type.
    Spilled {
        length: usize,
        ext: Option<u32>,
    },
}

/// A data message that does not fit into memory, and where to write it.
struct Spill {
    bytes: Bytes,
    ext: Option<u32>,
    /// None if the file does not exist yet.
    file: Option<Arc<File>>,
    offset: u64,
}

impl Spill {
    /// Writes the bytes, and returns the file.
    fn write(bytes: &[u8], file: Option<Arc<File>>, offset: u64) -> io::Result<Arc<File>> {
        let file = match file {
            Some(file) => file,
            None => Arc::new(tempfile::tempfile()?),
        };
        file.write_all_at(bytes, offset)?;
        Ok(file)
    }
}

impl Spool {
    /// The spool of a channel that is not used yet.
    pub fn unused() -> Self {
        let spool = Spool::default();
        spool.lock().reading = Reading::NotYet;
        spool
    }

    /// Keeps data from now on.
    pub fn begin(&self) {
        self.lock().reading = Reading::Yes;
    }

    /// Adds a message. Waits only if the file is full too; discards it if the reader is gone.
    ///
    /// Must not be called twice at the same time, nor be cancelled.
    pub async fn push(&self, message: ChannelMsg) {
        let mut message = Some(message);
        let mut file_failed = false;
        loop {
            let placed =
                poll_fn(|context| self.poll_place(context, &mut message, file_failed)).await;
            let Some(spill) = placed else {
                return;
            };
            let Spill {
                bytes,
                ext,
                file,
                offset,
            } = spill;
            // A slow disk must not hold up the other tasks of this thread, nor the reader.
            let data = bytes.clone();
            let writing =
                tokio::task::spawn_blocking(move || Spill::write(&data, file, offset)).await;
            if let Ok(Ok(file)) = writing {
                self.lock().spilled(file, bytes.len(), ext);
                return;
            }
            // The disk is full or broken: waits until there is room in memory.
            self.lock().is_writing = false;
            file_failed = true;
            message = Some(match ext {
                None => ChannelMsg::Data { data: bytes },
                Some(ext) => ChannelMsg::ExtendedData { data: bytes, ext },
            });
        }
    }

    /// Puts the message into memory, or returns where to write it.
    fn poll_place(
        &self,
        context: &mut Context<'_>,
        message: &mut Option<ChannelMsg>,
        file_failed: bool,
    ) -> Poll<Option<Spill>> {
        let mut inner = self.lock();
        let Some(taken) = message.take().filter(|_| inner.reading != Reading::Over) else {
            return Poll::Ready(None);
        };
        match inner.place(taken, file_failed) {
            Ok(spill) => Poll::Ready(spill),
            Err(back) => {
                *message = Some(back);
                inner.writer = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Marks the end: no more messages follow.
    pub fn end(&self) {
        let mut inner = self.lock();
        inner.ended = true;
        inner.wake_reader();
    }

    /// Marks the reader as gone, and discards all messages.
    pub fn abandon(&self) {
        let mut inner = self.lock();
        inner.reading = Reading::Over;
        inner.queue.clear();
        let memory = inner.memory;
        inner.release(memory);
        inner.file = None;
        if let Some(writer) = inner.writer.take() {
            writer.wake();
        }
    }

    /// Resolves when the reader is gone.
    pub fn poll_abandoned(&self, context: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.reading == Reading::Over {
            return Poll::Ready(());
        }
        inner.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Returns the next message, or none after the last one.
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
        lock(&self.0)
    }
}

impl Inner {
    /// Puts a message into memory, or returns where to write it. Gives it back if there is no room.
    fn place(
        &mut self,
        message: ChannelMsg,
        file_failed: bool,
    ) -> Result<Option<Spill>, ChannelMsg> {
        let (bytes, ext) = match &message {
            ChannelMsg::Data { data } => (data, None),
            ChannelMsg::ExtendedData { data, ext } => (data, Some(*ext)),
            _ if self.queue.len() >= MESSAGES => return Err(message),
            _ => {
                self.add(Item::Message(shorten(message)));
                return Ok(None);
            }
        };
        if self.reading == Reading::NotYet || bytes.is_empty() {
            return Ok(None);
        }
        if self.queue.len() >= MESSAGES {
            return Err(message);
        }
        let length = bytes.len();
        // The queue keeps the order, wherever the bytes are.
        let cost = length + OVERHEAD;
        if self.has_room(cost) {
            self.memory += cost;
            IN_MEMORY.fetch_add(cost, Ordering::Relaxed);
            self.add(Item::Message(message));
            return Ok(None);
        }
        if file_failed || self.written + length as u64 > DISK {
            return Err(message);
        }
        self.is_writing = true;
        Ok(Some(Spill {
            bytes: bytes.clone(),
            ext,
            file: self.file.clone(),
            offset: self.written,
        }))
    }

    /// Whether so many bytes more may be kept in memory.
    fn has_room(&self, length: usize) -> bool {
        let own = self.memory + length;
        let all = IN_MEMORY.load(Ordering::Relaxed) + length;
        self.memory == 0 || own <= MEMORY && (own <= SHARE || all <= ALL_MEMORY)
    }

    /// Notes that so many bytes are no longer kept in memory.
    fn release(&mut self, length: usize) {
        self.memory -= length;
        IN_MEMORY.fetch_sub(length, Ordering::Relaxed);
    }

    /// Adds a message that was written to the file.
    fn spilled(&mut self, file: Arc<File>, length: usize, ext: Option<u32>) {
        self.is_writing = false;
        if self.reading == Reading::Over {
            return;
        }
        self.file = Some(file);
        self.written += length as u64;
        if let Some(Item::Spilled {
            length: last,
            ext: of,
        }) = self.queue.back_mut()
            && *of == ext
            && *last + length <= JOINED
        {
            *last += length;
            return;
        }
        self.add(Item::Spilled { length, ext });
    }

    fn add(&mut self, item: Item) {
        self.queue.push_back(item);
        self.wake_reader();
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    fn take(&mut self, item: Item) -> Option<ChannelMsg> {
        match item {
            Item::Message(message) => {
                if let ChannelMsg::Data { data } | ChannelMsg::ExtendedData { data, .. } = &message
                {
                    self.release(data.len() + OVERHEAD);
                }
                Some(message)
            }
            Item::Spilled { length, ext } => {
                let mut bytes = vec![0; length];
                let file = self.file.as_ref()?;
                // One message at most, of some 32 KiB, which is mostly still in the page cache. If
                // the disk fails the channel ends, which the reader notices.
                file.read_exact_at(&mut bytes, self.read).ok()?;
                self.read += length as u64;
                if self.read == self.written && !self.is_writing {
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

/// Removes from a message without data what the server can make long, and what hitc does not use.
fn shorten(message: ChannelMsg) -> ChannelMsg {
    match message {
        ChannelMsg::ExitSignal {
            mut signal_name,
            core_dumped,
            ..
        } => {
            if let Sig::Custom(name) = &mut signal_name {
                // Names are US-ASCII (RFC 4254, section 6.10).
                *name = name
                    .chars()
                    .filter(char::is_ascii_graphic)
                    .take(NAME)
                    .collect();
            }
            ChannelMsg::ExitSignal {
                signal_name,
                core_dumped,
                error_message: String::new(),
                lang_tag: String::new(),
            }
        }
        other => other,
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let memory = self.memory;
        self.release(memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(n: u32) -> Bytes {
        Bytes::from(n.to_be_bytes().repeat(8 * 1024))
    }

    #[tokio::test]
    async fn keeps_the_order_through_memory_and_file() {
        let spool = Spool::default();
        for n in 0..400 {
            let data = piece(n);
            let message = match n % 3 {
                0 => ChannelMsg::ExtendedData { data, ext: 1 },
                _ => ChannelMsg::Data { data },
            };
            spool.push(message).await;
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

    /// A reader that catches up while the writer writes to the file must not lose what is written.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn reader_and_writer_at_the_same_time() {
        let spool = Arc::new(Spool::default());
        let writer = spool.clone();
        let writing = tokio::spawn(async move {
            for n in 0..2000 {
                writer.push(ChannelMsg::Data { data: piece(n) }).await;
            }
            writer.end();
        });
        // Lets the writer get ahead of the reader first, so that the file is used.
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        for n in 0..2000 {
            match poll_fn(|context| spool.poll_pop(context)).await {
                Some(ChannelMsg::Data { data }) => assert_eq!(data, piece(n), "{n}"),
                other => panic!("{n}: {other:?}"),
            }
        }
        writing.await.unwrap();
        assert!(poll_fn(|context| spool.poll_pop(context)).await.is_none());
    }

    /// A server decides how small its messages are, and whether any data is in them.
    #[tokio::test]
    async fn many_small_messages_take_little_memory() {
        let spool = Spool::default();
        for n in 0..200_000_u32 {
            let data = Bytes::from(vec![n.to_le_bytes()[0]; 1]);
            spool.push(ChannelMsg::Data { data }).await;
            let data = Bytes::new();
            spool.push(ChannelMsg::ExtendedData { data, ext: 1 }).await;
        }
        assert!(spool.lock().queue.len() < 20_000);
        let mut read = 0_u32;
        while read < 200_000 {
            match poll_fn(|context| spool.poll_pop(context)).await {
                Some(ChannelMsg::Data { data }) => {
                    for byte in data {
                        assert_eq!(byte, read.to_le_bytes()[0]);
                        read += 1;
                    }
                }
                other => panic!("{read}: {other:?}"),
            }
        }
    }

    #[tokio::test]
    async fn messages_are_counted() {
        let spool = Spool::default();
        let message = || ChannelMsg::XonXoff {
            client_can_do: true,
        };
        for _ in 0..MESSAGES {
            spool.push(message()).await;
        }
        let mut waiting = Box::pin(spool.push(message()));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        assert!(poll_fn(|context| spool.poll_pop(context)).await.is_some());
        waiting.await;
    }

    #[tokio::test]
    async fn texts_that_the_server_chooses_are_short() {
        let spool = Spool::default();
        let long = format!("\r[web-2] ok\n\u{202e}ä{}", "A".repeat(100_000));
        let message = ChannelMsg::ExitSignal {
            signal_name: Sig::Custom(long.clone()),
            core_dumped: true,
            error_message: long.clone(),
            lang_tag: long,
        };
        spool.push(message).await;
        match poll_fn(|context| spool.poll_pop(context)).await {
            Some(ChannelMsg::ExitSignal {
                signal_name: Sig::Custom(name),
                error_message,
                lang_tag,
                ..
            }) => {
                assert_eq!(name, format!("[web-2]ok{}", "A".repeat(NAME - 9)));
                assert!(error_message.is_empty() && lang_tag.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn an_unused_channel_keeps_no_data() {
        let spool = Spool::unused();
        spool.push(ChannelMsg::Data { data: piece(1) }).await;
        spool.begin();
        spool.push(ChannelMsg::Data { data: piece(2) }).await;
        spool.end();
        match poll_fn(|context| spool.poll_pop(context)).await {
            Some(ChannelMsg::Data { data }) => assert_eq!(data, piece(2)),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_push_ends_when_the_reader_is_gone() {
        let spool = Spool::default();
        spool.abandon();
        for n in 0..400 {
            spool.push(ChannelMsg::Data { data: piece(n) }).await;
        }
        assert!(spool.lock().queue.is_empty() && spool.lock().file.is_none());
    }
}

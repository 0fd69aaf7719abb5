//! What a connection learns while it lasts.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use russh::{Channel, client::Msg, keys::PublicKey};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::ssh::host_key::NewHostKey;

/// What a connection learns while it lasts: written down by those who read from it, for those who
/// use it.
#[derive(Default)]
pub(super) struct Noted {
    /// A host key that was not on record, until somebody is told.
    learned: Mutex<Option<NewHostKey>>,
    /// The key that the server has shown, and that was accepted.
    shown: Mutex<Option<PublicKey>>,
    /// Cancelled when the connection is gone.
    gone: CancellationToken,
    /// Why the server hung up.
    reason: Mutex<Option<String>>,
    /// When something last came from there.
    heard: Mutex<Option<Instant>>,
    /// The last line that a proxy command complained with.
    complaint: Mutex<Option<String>>,
    /// Who is given the connections to a forwarded address.
    forwards: Mutex<HashMap<String, mpsc::UnboundedSender<Channel<Msg>>>>,
}

impl Noted {
    /// The server has shown this key, and it was accepted.
    pub fn accept(&self, key: &PublicKey, learned: Option<NewHostKey>) {
        *lock(&self.learned) = learned;
        *lock(&self.shown) = Some(key.clone());
    }

    /// The host key, if it was seen for the first time; once.
    pub fn take_new_host_key(&self) -> Option<NewHostKey> {
        lock(&self.learned).take()
    }

    /// The key that the server has shown.
    pub fn shown(&self) -> Option<PublicKey> {
        lock(&self.shown).clone()
    }

    /// The connection is gone when this is dropped.
    pub fn gone_guard(&self) -> DropGuard {
        self.gone.clone().drop_guard()
    }

    /// Resolves when the connection is gone.
    pub async fn gone(&self) {
        self.gone.cancelled().await;
    }

    /// The server hung up, and this is why.
    pub fn hung_up(&self, reason: String) {
        *lock(&self.reason) = Some(reason);
    }

    /// Why the server hung up.
    pub fn reason(&self) -> Option<String> {
        lock(&self.reason).clone()
    }

    /// Something came from there.
    pub fn hear(&self) {
        *lock(&self.heard) = Some(Instant::now());
    }

    /// When something last came from there, if it did.
    pub fn heard(&self) -> Option<Instant> {
        *lock(&self.heard)
    }

    /// A proxy command has complained with this line.
    pub fn complain(&self, line: String) {
        *lock(&self.complaint) = Some(line);
    }

    /// The last line that a proxy command complained with.
    pub fn complaint(&self) -> Option<String> {
        lock(&self.complaint).clone()
    }

    /// From now on, connections to this address of the server come out of the receiver.
    pub fn forward(&self, address: &str) -> mpsc::UnboundedReceiver<Channel<Msg>> {
        let (sender, receiver) = mpsc::unbounded_channel();
        lock(&self.forwards).insert(address.to_owned(), sender);
        receiver
    }

    /// Who is given the connections to this address of the server.
    pub fn listener(&self, address: &str) -> Option<mpsc::UnboundedSender<Channel<Msg>>> {
        lock(&self.forwards).get(address).cloned()
    }
}

/// A thread that died with the lock held has left a sound value behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

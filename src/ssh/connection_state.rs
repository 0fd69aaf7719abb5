//! The state of a connection that the client handler and the transport write, and the connection
//! reads: host key, last activity, reason of a disconnect, forwarded addresses.

use std::{collections::HashMap, sync::Mutex, time::Duration};

use russh::{Channel, client::Msg, keys::PublicKey};
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::Instant,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::host_key::NewHostKey;
use crate::core::sync::lock;

/// How long to wait for the standard error of a ProxyCommand after its output has ended.
const PROXY_ERROR_WAIT: Duration = Duration::from_secs(1);

/// A channel that the server opened, and its permit, which is kept until the channel is closed.
pub(super) type ForwardedChannel = (Channel<Msg>, OwnedSemaphorePermit);

/// The state of a connection.
#[derive(Default)]
pub(super) struct ConnectionState {
    /// The host key, if it is seen for the first time, until it is reported to the user.
    new_host_key: Mutex<Option<NewHostKey>>,
    /// The host key that was presented and accepted.
    host_key: Mutex<Option<PublicKey>>,
    /// Cancelled when the connection is closed.
    closed: CancellationToken,
    /// Why the server closed the connection.
    disconnect_reason: Mutex<Option<String>>,
    /// When the last bytes arrived.
    last_activity: Mutex<Option<Instant>>,
    /// The last line that a ProxyCommand wrote to its standard error.
    proxy_error: Mutex<Option<String>>,
    /// The receivers of the connections to each forwarded address.
    forwards: Mutex<HashMap<String, mpsc::UnboundedSender<ForwardedChannel>>>,
}

impl ConnectionState {
    /// Records the accepted host key; `new` if it is seen for the first time.
    pub fn set_host_key(&self, key: &PublicKey, new: Option<NewHostKey>) {
        *lock(&self.new_host_key) = new;
        *lock(&self.host_key) = Some(key.clone());
    }

    /// Takes the host key if it is seen for the first time, so that it is reported only once.
    pub fn take_new_host_key(&self) -> Option<NewHostKey> {
        lock(&self.new_host_key).take()
    }

    /// The host key that was accepted.
    pub fn host_key(&self) -> Option<PublicKey> {
        lock(&self.host_key).clone()
    }

    /// Returns a guard that marks the connection as closed when it is dropped.
    pub fn close_guard(&self) -> DropGuard {
        self.closed.clone().drop_guard()
    }

    /// Resolves when the connection is closed.
    pub async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Records why the server closed the connection.
    pub fn set_disconnect_reason(&self, reason: String) {
        *lock(&self.disconnect_reason) = Some(reason);
    }

    /// Why the server closed the connection.
    pub fn disconnect_reason(&self) -> Option<String> {
        lock(&self.disconnect_reason).clone()
    }

    /// Records that bytes arrived.
    pub fn record_activity(&self) {
        *lock(&self.last_activity) = Some(Instant::now());
    }

    /// When the last bytes arrived, if any did.
    pub fn last_activity(&self) -> Option<Instant> {
        *lock(&self.last_activity)
    }

    /// Records a line of a ProxyCommand's standard error.
    pub fn set_proxy_error(&self, line: String) {
        *lock(&self.proxy_error) = Some(line);
    }

    /// The last line of a ProxyCommand's standard error.
    pub fn proxy_error(&self) -> Option<String> {
        lock(&self.proxy_error).clone()
    }

    /// Waits until a ProxyCommand has written to its standard error, for a moment: its output may end
    /// before what it wrote there was read.
    pub async fn wait_for_proxy_error(&self) {
        let end = Instant::now() + PROXY_ERROR_WAIT;
        while self.proxy_error().is_none() && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Registers a forwarded address of the server. The connections to it arrive at the receiver.
    pub fn register_forward(&self, address: &str) -> mpsc::UnboundedReceiver<ForwardedChannel> {
        let (sender, receiver) = mpsc::unbounded_channel();
        lock(&self.forwards).insert(address.to_owned(), sender);
        receiver
    }

    /// The receiver of the connections to a forwarded address.
    pub fn forward(&self, address: &str) -> Option<mpsc::UnboundedSender<ForwardedChannel>> {
        lock(&self.forwards).get(address).cloned()
    }
}

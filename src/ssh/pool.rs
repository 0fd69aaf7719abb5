//! The connections of a run: one per server, opened on first use.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::{OnceCell, Semaphore},
    time::{Instant, sleep},
};

use super::{
    Cause, Command, Connection, Error, Route, Target, Terminations, connection::OpenOutcome,
    keyring::Keyring, prepared::PreparedCommand,
};
use crate::core::{
    event::{Events, Stream},
    process::Output,
    sync::lock,
};

/// The pause between two attempts to reach a server that is starting.
const RETRY: Duration = Duration::from_millis(100);

/// How often a connection is attempted, and the pause after the first attempt, at least. sshd drops
/// connections while too many are not authenticated yet (`MaxStartups` in sshd_config(5)).
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// How many handshakes go through one machine at the same time: sshd drops connections at random
/// from ten on.
const HANDSHAKES: usize = 8;

/// The result of connecting, which all callers that wait for it share.
type Slot = Arc<OnceCell<Result<Arc<Connection>, Error>>>;

/// The connections of a run. Clones share them.
#[derive(Clone)]
pub struct Pool {
    /// By the key of the target, with its address.
    connections: Arc<Mutex<HashMap<String, (String, Slot)>>>,
    /// Limits the handshakes through each machine, by its address.
    handshakes: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
    keyring: Arc<Keyring>,
    terminations: Terminations,
}

impl Pool {
    /// Creates an empty pool that asks for passphrases through `events`.
    pub fn new(events: Events, sudo_password: Option<String>, terminations: Terminations) -> Self {
        Pool {
            connections: Arc::default(),
            handshakes: Arc::default(),
            keyring: Arc::new(Keyring::new(events, sudo_password)),
            terminations,
        }
    }

    /// Returns the connection to a server. Callers at the same time get the same one.
    pub async fn connect(&self, target: &Target) -> Result<Arc<Connection>, Error> {
        self.connect_with(target, None, ATTEMPTS).await
    }

    /// Opens another connection to a server, beside the one that callers share.
    pub async fn connect_anew(&self, target: &Target) -> Result<Arc<Connection>, Error> {
        self.open(target, None, ATTEMPTS).await
    }

    /// Returns the connection to a server that may still be starting. Tries for at most `limit`, but
    /// not after an error that waiting does not change, such as a rejected key.
    pub async fn wait_for(
        &self,
        target: &Target,
        limit: Duration,
    ) -> Result<Arc<Connection>, Error> {
        let end = Instant::now() + limit;
        loop {
            match self.connect_with(target, None, 1).await {
                Err(error) if error.cause.is_transient() && Instant::now() < end => {
                    sleep(RETRY).await;
                }
                result => return result,
            }
        }
    }

    /// Runs a command on a server. If there is no connection yet, sends the command as part of
    /// connecting. Calls `on_connected` before any output of the command.
    pub async fn exec(
        &self,
        target: &Target,
        command: &Command,
        on_connected: impl FnOnce(&Connection),
        on_output: impl FnMut(Stream, &[u8]),
    ) -> Result<Output, Error> {
        let has_password = self.keyring.sudo_password().is_some();
        let prepared = PreparedCommand::new(command, &target.user, has_password, true);
        let line = prepared
            .is_line_only(command)
            .then_some(prepared.encoded.line.as_str());
        let connection = self.connect_with(target, line, ATTEMPTS).await?;
        on_connected(&connection);
        connection.exec_prepared(command, prepared, on_output).await
    }

    /// Removes the connections to an address from the pool. Each is closed when its last user drops it.
    pub fn forget(&self, address: &str) {
        lock(&self.connections).retain(|_, (known, _)| known != address);
    }

    async fn connect_with(
        &self,
        target: &Target,
        line: Option<&str>,
        attempts: u32,
    ) -> Result<Arc<Connection>, Error> {
        let slot = self.slot(target);
        let made = slot
            .get_or_init(|| self.open(target, line, attempts))
            .await
            .clone();
        if made.is_err() {
            // The next caller tries again.
            let mut connections = lock(&self.connections);
            if let Some((_, known)) = connections.get_mut(&target.key())
                && Arc::ptr_eq(known, &slot)
            {
                *known = Slot::default();
            }
        }
        made
    }

    async fn open(
        &self,
        target: &Target,
        line: Option<&str>,
        attempts: u32,
    ) -> Result<Arc<Connection>, Error> {
        let jump = match &target.route {
            Route::Jump(jump) => Some(Box::pin(self.connect(jump)).await?),
            Route::Direct | Route::ProxyCommand(_) => None,
        };
        let gate = lock(&self.handshakes)
            .entry(target.first_hop().to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(HANDSHAKES)))
            .clone();
        let mut attempt = 0;
        loop {
            attempt += 1;
            // The semaphore is never closed.
            let permit = gate.acquire().await.ok();
            let (keyring, terminations) = (self.keyring.clone(), self.terminations.clone());
            let opened = Connection::open(target, jump.clone(), keyring, terminations, line).await;
            drop(permit);
            match opened {
                Ok(OpenOutcome::Connected(connection)) => return Ok(Arc::from(connection)),
                Ok(OpenOutcome::KeyLocked(path)) => {
                    self.keyring.unlock(&path).await?;
                    attempt -= 1;
                }
                // Not after a rejected key: repeated failures may lock the account.
                Err(Error {
                    cause: Cause::Connect { .. } | Cause::Handshake { .. },
                    ..
                }) if attempt < attempts => {
                    let jitter = Duration::from_millis(fastrand::u64(..200));
                    sleep(PAUSE * attempt + jitter).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The slot of a target; an empty one if its connection is closed.
    fn slot(&self, target: &Target) -> Slot {
        let mut connections = lock(&self.connections);
        let (_, slot) = connections
            .entry(target.key())
            .or_insert_with(|| (target.address.clone(), Slot::default()));
        if let Some(Ok(connection)) = slot.get()
            && connection.is_closed()
        {
            *slot = Slot::default();
        }
        slot.clone()
    }
}

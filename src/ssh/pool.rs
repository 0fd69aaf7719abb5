//! One connection a host for the whole run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{OnceCell, Semaphore},
    time::{Instant, sleep},
};

use super::{
    Command, Connection, Error, Route, Target, Terminations, connection::Opened, exec::Prepared,
    keyring::Keyring,
};
use crate::core::{
    event::{Events, Stream},
    process::Output,
};

/// How long to wait between two tries to reach a server that is starting.
const RETRY: Duration = Duration::from_millis(100);

/// How often a connection that broke while it was made is tried again, and how long after the
/// first time, at least. Servers turn connections away while too many begin at once
/// (`MaxStartups` in sshd_config(5)).
const TRIES: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);

/// How many connections through one machine are made at the same time: sshd turns them away by
/// chance from ten on.
const HANDSHAKES: usize = 8;

/// What came of connecting: whoever waited for it gets the same.
type Slot = Arc<OnceCell<Result<Arc<Connection>, Error>>>;

/// The connections of a run, made when they are first needed.
#[derive(Clone)]
pub struct Pool {
    connections: Arc<Mutex<HashMap<String, (String, Slot)>>>,
    handshakes: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
    keyring: Arc<Keyring>,
    endings: Terminations,
}

impl Pool {
    /// No connections yet. Passphrases are asked for by `events`, sudo is told the password.
    pub fn new(events: Events, sudo_password: Option<String>, endings: Terminations) -> Self {
        Pool {
            connections: Arc::default(),
            handshakes: Arc::default(),
            keyring: Arc::new(Keyring::new(events, sudo_password)),
            endings,
        }
    }

    /// The connection to a server. Whoever asks at the same time gets the same one.
    pub async fn connect(&self, target: &Target) -> Result<Arc<Connection>, Error> {
        self.connect_with(target, None, TRIES).await
    }

    /// The connection to a server that may still be starting: tries until it answers, for as long
    /// as `limit`. An answer that more time will not change (a wrong key) ends it at once.
    pub async fn wait_for(
        &self,
        target: &Target,
        limit: Duration,
    ) -> Result<Arc<Connection>, Error> {
        let end = Instant::now() + limit;
        loop {
            match self.connect_with(target, None, 1).await {
                Err(
                    Error::Connect { .. }
                    | Error::HungUp { .. }
                    | Error::NoAnswer { .. }
                    | Error::Lost { .. },
                ) if Instant::now() < end => {
                    sleep(RETRY).await;
                }
                result => return result,
            }
        }
    }

    /// Runs a command on a server. Where there is no connection yet, the command is sent as it is
    /// made. `on_connected` is told of the connection before the command's output comes.
    pub async fn exec(
        &self,
        target: &Target,
        command: &Command,
        on_connected: impl FnOnce(&Connection),
        on_output: impl FnMut(Stream, &[u8]),
    ) -> Result<Output, Error> {
        let has_password = self.keyring.sudo_password().is_some();
        let prepared = Prepared::new(command, &target.user, has_password, true);
        let line = prepared
            .is_alone(command)
            .then_some(prepared.wire.line.as_str());
        let connection = self.connect_with(target, line, TRIES).await?;
        on_connected(&connection);
        connection.exec_prepared(command, prepared, on_output).await
    }

    /// Forgets the connections to an address; each is closed when its last user is done.
    pub fn forget(&self, address: &str) {
        lock(&self.connections).retain(|_, (known, _)| known != address);
    }

    async fn connect_with(
        &self,
        target: &Target,
        line: Option<&str>,
        tries: u32,
    ) -> Result<Arc<Connection>, Error> {
        let slot = self.slot(target);
        let made = slot
            .get_or_init(|| self.open(target, line, tries))
            .await
            .clone();
        if made.is_err() {
            // Whoever asks again from now on gets another try.
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
        tries: u32,
    ) -> Result<Arc<Connection>, Error> {
        let jump = match &target.route {
            Route::Jump(jump) => Some(Box::pin(self.connect(jump)).await?),
            Route::Direct | Route::ProxyCommand(_) => None,
        };
        let gate = lock(&self.handshakes)
            .entry(target.first_hop().to_owned())
            .or_insert_with(|| Arc::new(Semaphore::new(HANDSHAKES)))
            .clone();
        let mut tried = 0;
        loop {
            tried += 1;
            // It is never closed.
            let permit = gate.acquire().await.ok();
            let (keyring, endings) = (self.keyring.clone(), self.endings.clone());
            let opened = Connection::open(target, jump.clone(), keyring, endings, line).await;
            drop(permit);
            match opened {
                Ok(Opened::Connection(connection)) => return Ok(Arc::from(connection)),
                Ok(Opened::Locked(path)) => {
                    self.keyring.unlock(&path).await?;
                    tried -= 1;
                }
                // Never after the server has said no to a key: accounts get locked.
                Err(Error::Connect { .. } | Error::HungUp { .. }) if tried < tries => {
                    let jitter = Duration::from_millis(fastrand::u64(..200));
                    sleep(PAUSE * tried + jitter).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

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

/// A thread that died with the lock held has left a sound map behind.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

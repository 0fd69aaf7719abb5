//! One connection a host for the whole run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::OnceCell,
    time::{Instant, sleep},
};

use super::{Connection, Error, Target};

/// How long to wait between two tries to reach a server that is starting.
const RETRY: Duration = Duration::from_millis(100);

type Key = (String, String, u16);
type Slot = Arc<OnceCell<Arc<Connection>>>;

/// The connections of a run, made when they are first needed.
#[derive(Clone, Default)]
pub struct Pool {
    connections: Arc<Mutex<HashMap<Key, Slot>>>,
}

impl Pool {
    /// The connection to a server. Whoever asks at the same time gets the same one.
    pub async fn connect(&self, target: &Target) -> Result<Arc<Connection>, Error> {
        let slot = self.slot(target);
        slot.get_or_try_init(|| async { Connection::open(target).await.map(Arc::new) })
            .await
            .cloned()
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
            match self.connect(target).await {
                Err(Error::Connect { .. } | Error::NoAnswer { .. } | Error::Lost { .. })
                    if Instant::now() < end =>
                {
                    sleep(RETRY).await;
                }
                result => return result,
            }
        }
    }

    /// Forgets the connections to an address; each is closed when its last user is done.
    pub fn forget(&self, address: &str) {
        self.lock().retain(|(_, known, _), _| known != address);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Slot>> {
        // A thread that died with the lock held has left a sound map behind.
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn slot(&self, target: &Target) -> Slot {
        let mut connections = self.lock();
        let slot = connections.entry(key(target)).or_default();
        if slot.get().is_some_and(|connection| connection.is_closed()) {
            *slot = Slot::default();
        }
        slot.clone()
    }
}

fn key(target: &Target) -> Key {
    (target.user.clone(), target.address.clone(), target.port)
}

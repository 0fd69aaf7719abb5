//! One connection a host for the whole run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
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

    /// Forgets the connection to a server, which is closed when its last user is done.
    pub fn forget(&self, target: &Target) {
        if let Ok(mut connections) = self.connections.lock() {
            connections.remove(&key(target));
        }
    }

    fn slot(&self, target: &Target) -> Slot {
        // A thread that died with the lock held has left a sound map behind.
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
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

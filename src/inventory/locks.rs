//! The locks of servers that this run holds. All who change a server at the same time in one run share
//! its lock, so that a run does not wait for itself.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::OwnedMutexGuard,
    time::{Instant, timeout},
};

use super::key::{Key, key};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        sync::lock,
    },
    machine::{Lock, WeakLock},
    provider::Node,
};

/// The lock of one server, while someone holds it. The mutex is held while the lock is taken.
type Held = Arc<tokio::sync::Mutex<Option<WeakLock>>>;

/// The locks of a run.
#[derive(Default)]
pub(super) struct Locks {
    held: Mutex<HashMap<Key, Held>>,
    turns: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
}

impl Locks {
    /// The lock of a server that this run holds; otherwise `take` takes it. It gets the part of `wait`
    /// that is left: others may have waited for the same lock before. The last one of the run to drop
    /// the lock releases it.
    pub async fn share<F>(
        &self,
        node: &Node,
        wait: Duration,
        take: impl FnOnce(Duration) -> F,
    ) -> Result<Lock, Diagnostic>
    where
        F: Future<Output = Result<Lock, Diagnostic>>,
    {
        let end = Instant::now() + wait;
        let held = lock(&self.held).entry(key(node)).or_default().clone();
        let mut held = held.lock().await;
        if let Some(shared) = held.as_ref().and_then(WeakLock::upgrade) {
            return Ok(shared);
        }
        let taken = take(end.saturating_duration_since(Instant::now())).await?;
        *held = Some(taken.downgrade());
        Ok(taken)
    }

    /// Waits at most `wait` for those in this run that change a server according to what they read of it
    /// before: manifests, and firewalls. Two of them at the same time would undo what the other does.
    pub async fn turn(
        &self,
        node: &Node,
        wait: Duration,
    ) -> Result<OwnedMutexGuard<()>, Diagnostic> {
        let turn = lock(&self.turns).entry(key(node)).or_default().clone();
        timeout(wait, turn.lock_owned()).await.map_err(|_| {
            let name = &node.name;
            let message = format!("host `{name}`: another task of this run is changing it");
            Diagnostic::new(Kind::Failed, message)
                .help("run one after the other, or add --wait-lock 10m to wait for it".to_owned())
                .on(name)
        })
    }

    /// Forgets the lock of a server that was stopped: its processes have ended.
    pub fn forget(&self, node: &Node) {
        lock(&self.held).remove(&key(node));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::watch;

    use super::*;
    use crate::provider::{Provider, Unmanaged};

    fn node(id: &str) -> Node {
        let folder = tempfile::tempdir().unwrap();
        let provider = Unmanaged::new(folder.path().join("none"));
        Node {
            id: id.to_owned(),
            ..provider.by_address("192.0.2.1").unwrap()
        }
    }

    #[tokio::test]
    async fn all_who_need_a_lock_at_once_take_it_once() {
        let (locks, taken, node) = (Locks::default(), AtomicUsize::new(0), node("web"));
        let (_keep, lost) = watch::channel(false);
        let take = || {
            locks.share(&node, Duration::ZERO, |_| async {
                tokio::task::yield_now().await;
                taken.fetch_add(1, Ordering::Relaxed);
                Ok(Lock::held_by((), lost.clone()))
            })
        };
        let held = join_all((0..10).map(|_| take())).await;
        assert!(held.iter().all(Result::is_ok));
        assert_eq!(taken.load(Ordering::Relaxed), 1);
        // One of them keeps it.
        let last = held.into_iter().next_back();
        take().await.unwrap();
        assert_eq!(taken.load(Ordering::Relaxed), 1);
        drop(last);
        take().await.unwrap();
        assert_eq!(taken.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_lost_lock_is_taken_again() {
        let (locks, node) = (Locks::default(), node("web"));
        let (lose, lost) = watch::channel(false);
        let first = locks.share(&node, Duration::ZERO, |_| async {
            Ok(Lock::held_by((), lost))
        });
        let first = first.await.unwrap();
        lose.send(true).unwrap();
        let again = locks.share(&node, Duration::ZERO, |_| async {
            Err(Diagnostic::new(Kind::Failed, "taken by another run"))
        });
        assert_eq!(again.await.err().unwrap().message, "taken by another run");
        assert!(first.is_lost());
    }

    #[tokio::test]
    async fn those_who_need_a_lock_at_once_wait_for_it_at_the_same_time() {
        let (locks, node) = (Locks::default(), node("web"));
        let take = || {
            locks.share(&node, Duration::from_millis(300), |wait| async move {
                tokio::time::sleep(wait).await;
                Err(Diagnostic::new(Kind::Failed, "busy"))
            })
        };
        let started = Instant::now();
        join_all((0..10).map(|_| take())).await;
        // One after the other, it would be three seconds.
        assert!(started.elapsed().as_millis() < 2000);
    }

    #[tokio::test]
    async fn a_server_is_changed_by_one_manifest_at_a_time() {
        let (locks, node) = (Locks::default(), node("web"));
        let first = locks.turn(&node, Duration::ZERO).await.unwrap();
        let second = locks.turn(&node, Duration::ZERO).await;
        assert_eq!(
            second.err().unwrap().message,
            "host `192.0.2.1`: another task of this run is changing it"
        );
        drop(first);
        locks.turn(&node, Duration::ZERO).await.unwrap();
    }
}

//! Locks of values and of files, and pauses between polls.

use std::{
    fs::{File, TryLockError},
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::sleep;

/// The first and the longest pause between two attempts to lock a file.
const FILE_LOCK_PAUSE: Duration = Duration::from_millis(1);
const FILE_LOCK_PAUSE_MAX: Duration = Duration::from_millis(50);

/// Locks a mutex, even if another thread panicked while it held the lock. Only for values that are
/// valid at any time, such as maps and queues that change in one step.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes the exclusive lock of a file (`flock(2)`), which lasts until the file is closed.
///
/// Polls instead of blocking: a thread that waits in the kernel would hold up the other tasks of
/// the runtime, and could not be cancelled.
pub async fn lock_file(file: &File) -> io::Result<()> {
    let mut backoff = Backoff::new(FILE_LOCK_PAUSE, FILE_LOCK_PAUSE_MAX);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) => backoff.pause().await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// Pauses between polls. Each pause is 1.5 times as long as the one before, up to a limit, so that
/// short waits end soon and long waits poll rarely.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    /// Starts with a pause of `first`; none is longer than `max`.
    pub fn new(first: Duration, max: Duration) -> Self {
        Backoff { next: first, max }
    }

    /// Sleeps for the next pause.
    pub async fn pause(&mut self) {
        sleep(self.step()).await;
    }

    fn step(&mut self) -> Duration {
        let pause = self.next.min(self.max);
        self.next = (pause * 3 / 2).min(self.max);
        pause
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn backoff_grows_up_to_its_limit() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(200));
        let pauses: Vec<u128> = (0..4).map(|_| backoff.step().as_millis()).collect();
        assert_eq!(pauses, [100, 150, 200, 200]);
    }

    #[test]
    fn a_poisoned_mutex_can_be_locked() {
        let mutex = Arc::new(Mutex::new(1));
        let held = mutex.clone();
        let panicked = std::thread::spawn(move || {
            let _guard = held.lock();
            panic!("poisons the mutex");
        });
        assert!(panicked.join().is_err());
        assert_eq!(*lock(&mutex), 1);
    }

    /// On a runtime with one thread, which a blocking lock would hold up for ever.
    #[tokio::test]
    async fn waiting_for_a_file_lock_blocks_no_thread() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let holder = file.reopen().unwrap();
        lock_file(&holder).await.unwrap();
        let release = tokio::spawn(async move {
            sleep(Duration::from_millis(20)).await;
            drop(holder);
        });
        lock_file(file.as_file()).await.unwrap();
        release.await.unwrap();
    }
}

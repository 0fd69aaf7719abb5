//! Values that are read once and then kept, and values that are shared by all who ask at the same time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::{sync::OnceCell, time::Instant};

use super::sync::lock;

/// Values by key, each of which is read once. Errors are not kept: they may pass.
pub struct Memo<T>(Mutex<HashMap<String, Arc<OnceCell<T>>>>);

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Memo(Mutex::default())
    }
}

impl<T: Clone> Memo<T> {
    /// Returns the value of this key. Reads it the first time; those who ask meanwhile wait for it.
    pub async fn get<E, F>(&self, key: &str, read: impl FnOnce() -> F) -> Result<T, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let cell = lock(&self.0).entry(key.to_owned()).or_default().clone();
        cell.get_or_try_init(read).await.cloned()
    }

    /// Forgets all values: they are read again.
    pub fn clear(&self) {
        lock(&self.0).clear();
    }
}

/// When the last reading began, and what it read.
type Reading<T> = (Instant, Arc<T>);

/// A value that changes, and takes a while to read.
pub struct Shared<T>(tokio::sync::Mutex<Option<Reading<T>>>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Shared(tokio::sync::Mutex::default())
    }
}

impl<T> Shared<T> {
    /// Returns the value as a reading has it that began at this time or later.
    pub async fn since<E, F>(&self, time: Instant, read: impl FnOnce() -> F) -> Result<Arc<T>, E>
    where
        F: Future<Output = Result<T, E>>,
    {
        let mut last = self.0.lock().await;
        if let Some((begun, value)) = last.as_ref()
            && *begun >= time
        {
            return Ok(value.clone());
        }
        let begun = Instant::now();
        let value = Arc::new(read().await?);
        *last = Some((begun, value.clone()));
        Ok(value)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn all_who_ask_at_once_share_two_readings() {
        let (shared, count) = (Shared::default(), AtomicUsize::new(0));
        let ask = async || {
            let read = || async {
                tokio::task::yield_now().await;
                Ok::<_, ()>(count.fetch_add(1, Ordering::Relaxed))
            };
            shared.since(Instant::now(), read).await.unwrap()
        };
        // The first reading began before the others asked.
        join_all((0..100).map(|_| ask())).await;
        assert!(count.load(Ordering::Relaxed) <= 2);
    }

    #[tokio::test]
    async fn errors_are_not_kept() {
        let memo = Memo::default();
        assert_eq!(
            memo.get("a", || async { Err::<u8, _>("no") }).await,
            Err("no")
        );
        assert_eq!(memo.get("a", || async { Ok::<u8, &str>(1) }).await, Ok(1));
        assert_eq!(memo.get("a", || async { Err("no") }).await, Ok(1));
    }
}

//! How far a transfer is, for whoever waits longer than a second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;

use crate::core::{event::Events, units::human_bytes};

/// After this long it is shown.
const PATIENCE: Duration = Duration::from_secs(1);
/// And then so often.
const EVERY: Duration = Duration::from_millis(200);

/// Bytes that are on their way. Shown as long as this lives.
pub struct Progress {
    /// How many have gone.
    pub done: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Progress {
    /// Counts bytes of something that is called `what`, on a host; `total` if that is known.
    pub fn new(events: &Events, host: &str, what: String, total: Option<u64>) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let (events, host, counted) = (events.clone(), host.to_owned(), done.clone());
        let task = tokio::spawn(async move {
            tokio::time::sleep(PATIENCE).await;
            let activity = events.start(host, what.clone());
            loop {
                let done = counted.load(Ordering::Relaxed);
                activity.tick(match total {
                    Some(total) if total > 0 => format!(
                        "{what}: {} of {}, {}%",
                        human_bytes(done),
                        human_bytes(total),
                        done.saturating_mul(100) / total
                    ),
                    _ => format!("{what}: {}", human_bytes(done)),
                });
                tokio::time::sleep(EVERY).await;
            }
        });
        Progress { done, task }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
    }
}

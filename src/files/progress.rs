//! The progress of a transfer, which is shown if the transfer takes longer than a second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::task::JoinHandle;

use crate::core::{event::Events, units::human_bytes};

/// How long a transfer takes before its progress is shown.
const DELAY: Duration = Duration::from_secs(1);
/// How often the progress is updated.
const INTERVAL: Duration = Duration::from_millis(200);

/// The progress of a transfer, shown until it is dropped.
pub struct Progress {
    /// How many bytes were transferred.
    pub done: Arc<AtomicU64>,
    task: JoinHandle<()>,
}

impl Progress {
    /// Starts the progress of `what` on a host; `total` is the number of bytes, if known.
    pub fn new(events: &Events, host: &str, what: String, total: Option<u64>) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let (events, host, counted) = (events.clone(), host.to_owned(), done.clone());
        let task = tokio::spawn(async move {
            tokio::time::sleep(DELAY).await;
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
                tokio::time::sleep(INTERVAL).await;
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

//! Cancellation by Ctrl-C, in two stages.
//!
//! While several jobs run in parallel (hosts, resources of a manifest), the first Ctrl-C starts no
//! further job and waits for the running ones; the second cancels everything. With a single job, and
//! where nothing could be left half done, the first Ctrl-C cancels everything.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use tokio_util::sync::CancellationToken;

/// The cancellation state of a run. Clones are cheap and share the state.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    stop: CancellationToken,
    kill: CancellationToken,
    scopes: Arc<AtomicUsize>,
    ends_at_once: Arc<AtomicBool>,
}

impl Cancel {
    /// Handles a Ctrl-C. Returns true if running jobs are waited for, false if they are cancelled.
    pub fn interrupt(&self) -> bool {
        let ends_at_once = self.ends_at_once.load(Ordering::SeqCst);
        let waits = self.is_parallel() && !ends_at_once && !self.stop.is_cancelled();
        self.stop.cancel();
        if !waits {
            self.kill.cancel();
        }
        waits
    }

    /// Sets whether the first Ctrl-C also cancels parallel jobs.
    pub fn end_at_once(&self, ends_at_once: bool) {
        self.ends_at_once.store(ends_at_once, Ordering::SeqCst);
    }

    /// Cancels everything immediately.
    pub fn kill(&self) {
        self.stop.cancel();
        self.kill.cancel();
    }

    /// Whether no further job may start.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Whether jobs run in parallel, for which the first Ctrl-C waits.
    pub fn is_parallel(&self) -> bool {
        self.scopes.load(Ordering::SeqCst) > 0
    }

    /// Whether running jobs must stop immediately.
    pub fn is_killed(&self) -> bool {
        self.kill.is_cancelled()
    }

    /// Resolves when running jobs must stop immediately.
    pub async fn killed(&self) {
        self.kill.cancelled().await;
    }

    /// Marks a section with parallel jobs: until the guard is dropped, the first Ctrl-C waits for
    /// them.
    pub fn scope(&self) -> Scope {
        self.scopes.fetch_add(1, Ordering::SeqCst);
        Scope(self.clone())
    }
}

/// The guard of a section with parallel jobs; see [`Cancel::scope`].
#[derive(Debug)]
pub struct Scope(Cancel);

impl Drop for Scope {
    fn drop(&mut self) {
        self.0.scopes.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_interrupt_cancels_a_single_job() {
        let cancel = Cancel::default();
        assert!(!cancel.interrupt());
        assert!(cancel.is_killed());
    }

    #[test]
    fn the_second_interrupt_cancels_parallel_jobs() {
        let cancel = Cancel::default();
        let _scope = cancel.scope();
        assert!(cancel.interrupt());
        assert!(cancel.is_stopping() && !cancel.is_killed());
        assert!(!cancel.interrupt());
        assert!(cancel.is_killed());
    }

    #[test]
    fn the_first_interrupt_cancels_what_can_be_left() {
        let cancel = Cancel::default();
        let _scope = cancel.scope();
        cancel.end_at_once(true);
        assert!(!cancel.interrupt());
        assert!(cancel.is_killed());
    }
}

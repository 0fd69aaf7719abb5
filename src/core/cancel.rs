//! Ctrl-C, in two stages.
//!
//! Where several things go on at once (hosts, the things of a manifest), the first Ctrl-C stops
//! what has not begun and lets the rest end; the second ends everything. Where there is only one
//! thing, the first one ends it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio_util::sync::CancellationToken;

/// Whether the user wants it to end. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    stop: CancellationToken,
    kill: CancellationToken,
    scopes: Arc<AtomicUsize>,
}

impl Cancel {
    /// Ctrl-C was pressed. Returns whether what runs is waited for.
    pub fn interrupt(&self) -> bool {
        let waits = self.scopes.load(Ordering::SeqCst) > 0 && !self.stop.is_cancelled();
        self.stop.cancel();
        if !waits {
            self.kill.cancel();
        }
        waits
    }

    /// Ends everything at once.
    pub fn end(&self) {
        self.stop.cancel();
        self.kill.cancel();
    }

    /// Nothing new should begin.
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Everything should end now.
    pub fn is_killed(&self) -> bool {
        self.kill.is_cancelled()
    }

    /// Resolves when everything should end now.
    pub async fn killed(&self) {
        self.kill.cancelled().await;
    }

    /// While the guard lives, several things go on that a first Ctrl-C waits for.
    pub fn scope(&self) -> Scope {
        self.scopes.fetch_add(1, Ordering::SeqCst);
        Scope(self.clone())
    }
}

/// See [`Cancel::scope`].
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
    fn alone_the_first_one_ends_it() {
        let cancel = Cancel::default();
        assert!(!cancel.interrupt());
        assert!(cancel.is_killed());
    }

    #[test]
    fn among_several_the_second_one_does() {
        let cancel = Cancel::default();
        let _scope = cancel.scope();
        assert!(cancel.interrupt());
        assert!(cancel.is_stopping() && !cancel.is_killed());
        assert!(!cancel.interrupt());
        assert!(cancel.is_killed());
    }
}

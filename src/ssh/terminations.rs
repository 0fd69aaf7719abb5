//! The commands of a run that are being terminated, and those that could not be.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

use crate::core::sync::lock;

/// A command that may still be running on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnterminatedCommand {
    /// The name of the host.
    pub host: String,
    /// The command line.
    pub line: String,
}

/// The terminations of a run. Clones share their state.
#[derive(Clone, Debug, Default)]
pub struct Terminations {
    state: Arc<Mutex<State>>,
    changed: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    next_id: u64,
    pending: Vec<(u64, UnterminatedCommand)>,
    failed: Vec<UnterminatedCommand>,
}

impl Terminations {
    /// Waits until all abandoned commands are terminated, for at most `limit`. Returns the commands
    /// that may still be running.
    pub async fn wait(&self, limit: Duration) -> Vec<UnterminatedCommand> {
        let end = Instant::now() + limit;
        loop {
            let changed = self.changed.notified();
            let unterminated: Vec<UnterminatedCommand> = {
                let state = lock(&self.state);
                if state.pending.is_empty() {
                    return state.failed.clone();
                }
                let pending = state.pending.iter().map(|(_, command)| command.clone());
                pending.chain(state.failed.iter().cloned()).collect()
            };
            if timeout_at(end, changed).await.is_err() {
                return unterminated;
            }
        }
    }

    /// Records the start of a termination, and returns its id.
    pub(crate) fn start(&self, command: UnterminatedCommand) -> u64 {
        let mut state = lock(&self.state);
        state.next_id += 1;
        let id = state.next_id;
        state.pending.push((id, command));
        id
    }

    /// Records the end of a termination.
    pub(crate) fn finish(&self, id: u64, succeeded: bool) {
        let mut state = lock(&self.state);
        if let Some(at) = state.pending.iter().position(|(pending, _)| *pending == id) {
            let (_, command) = state.pending.swap_remove(at);
            if !succeeded {
                state.failed.push(command);
            }
        }
        drop(state);
        self.changed.notify_waiters();
    }
}

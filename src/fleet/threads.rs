//! Threads that run scripts.

use std::{
    io,
    thread::{self, Scope, ScopedJoinHandle},
};

/// The stack of a thread that runs scripts. In a debug build 64 nested calls need over 2 MiB;
/// running out of stack would end the process. Pages that are not used take no memory.
const STACK: usize = 16 * 1024 * 1024;

/// Starts a thread for a script.
pub(super) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    thread::Builder::new()
        .name("script".to_owned())
        .stack_size(STACK)
        .spawn_scoped(scope, work)
}

/// Waits for a thread of [`spawn`].
pub(super) fn join<T>(thread: ScopedJoinHandle<'_, T>) -> io::Result<T> {
    thread
        .join()
        .map_err(|_| io::Error::other("the script's thread panicked"))
}

/// Runs a script's work on a thread of its own, and waits for it.
///
/// Scripts must not run on the runtime's threads: a function that blocks on a future would panic
/// there.
pub fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| join(spawn(scope, work)?))
}

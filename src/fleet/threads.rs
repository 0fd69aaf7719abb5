//! Threads that run scripts.

use std::{
    io,
    sync::{
        OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, Scope, ScopedJoinHandle},
};

/// The sizes of the stack of a thread that runs scripts, of which the first is taken that the system
/// allows. Running out of stack would end the process, and a script can make values that nest as deep as
/// its memory allows (`script/limits.rs`). Pages that are not used take no memory.
const STACKS: [usize; 2] = [1 << 30, 1 << 28];
const LEAST_STACK: usize = 1 << 24;

/// How many threads may run scripts at the same time: a function that runs closures on hosts may call
/// itself in them.
pub const MAX_THREADS: usize = 1024;

/// Whether more threads were needed.
static EXHAUSTED: AtomicBool = AtomicBool::new(false);

/// Whether scripts needed more than [`MAX_THREADS`] threads. All scripts end then: with fewer threads,
/// what runs itself on hosts would only take longer.
pub fn threads_are_exhausted() -> bool {
    EXHAUSTED.load(Ordering::Relaxed)
}

/// How many threads run scripts now.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// A thread that counts.
struct Running;

impl Running {
    fn begin() -> io::Result<Self> {
        let running = Running;
        if RUNNING.fetch_add(1, Ordering::Relaxed) < MAX_THREADS {
            return Ok(running);
        }
        EXHAUSTED.store(true, Ordering::Relaxed);
        let text = format!("more than {MAX_THREADS} threads run scripts");
        Err(io::Error::other(text))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The size of the stack that the system allows.
fn stack() -> usize {
    static STACK: OnceLock<usize> = OnceLock::new();
    let is_allowed = |size: &usize| {
        let probe = thread::Builder::new().stack_size(*size).spawn(|| ());
        probe.is_ok_and(|probe| probe.join().is_ok())
    };
    *STACK.get_or_init(|| STACKS.into_iter().find(is_allowed).unwrap_or(LEAST_STACK))
}

/// Starts a thread for a script.
pub(super) fn spawn<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    let running = Running::begin()?;
    thread::Builder::new()
        .name("script".to_owned())
        .stack_size(stack())
        .spawn_scoped(scope, move || {
            let _running = running;
            work()
        })
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

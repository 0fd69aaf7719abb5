//! Threads that scripts run on.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// The stack of a thread that runs scripts. In a debug build 64 nested calls need over 2 MiB;
/// running out of stack would end the process. Pages that are not used are not there.
const STACK: usize = 16 * 1024 * 1024;

/// Runs a script's work on a thread of its own, and waits for it.
///
/// The runtime's threads must not run scripts: a function that drives a future may not be called
/// on them.
pub fn alone<T: Send>(work: impl FnOnce() -> T + Send) -> io::Result<T> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("script".to_owned())
            .stack_size(STACK)
            .spawn_scoped(scope, work)?
            .join()
            .map_err(|_| io::Error::other("the script's thread died"))
    })
}

/// Does the same work for each item, on as many threads at once as `forks`. The results come in
/// the order of the items; there is none for an item that was not begun because of `stop`.
pub fn each<I: Sync, T: Send>(
    items: &[I],
    forks: usize,
    stop: impl Fn() -> bool + Sync,
    work: impl Fn(&I) -> T + Sync,
) -> io::Result<Vec<Option<T>>> {
    let next = AtomicUsize::new(0);
    let results: Vec<Mutex<Option<T>>> = items.iter().map(|_| Mutex::new(None)).collect();
    let take = || {
        while !stop() {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let (Some(item), Some(result)) = (items.get(at), results.get(at)) else {
                break;
            };
            let done = work(item);
            *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        }
    };
    thread::scope(|scope| -> io::Result<()> {
        let threads: Vec<_> = (0..forks.clamp(1, items.len().max(1)))
            .map(|_| {
                thread::Builder::new()
                    .name("script".to_owned())
                    .stack_size(STACK)
                    .spawn_scoped(scope, take)
            })
            .collect::<Result<_, _>>()?;
        for thread in threads {
            thread
                .join()
                .map_err(|_| io::Error::other("a script's thread died"))?;
        }
        Ok(())
    })?;
    Ok(results
        .into_iter()
        .map(|result| result.into_inner().unwrap_or_else(PoisonError::into_inner))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::AtomicBool,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn in_order_and_at_once() {
        let started = Instant::now();
        let results = each(
            &[3, 1, 2],
            3,
            || false,
            |n| {
                thread::sleep(Duration::from_millis(50 * n));
                *n
            },
        );
        assert_eq!(results.unwrap(), [Some(3), Some(1), Some(2)]);
        assert!(started.elapsed() < Duration::from_millis(290));
    }

    #[test]
    fn nothing_begins_after_the_end() {
        let stop = AtomicBool::new(false);
        let results = each(
            &[1, 2, 3],
            1,
            || stop.load(Ordering::SeqCst),
            |n| {
                stop.store(true, Ordering::SeqCst);
                *n
            },
        );
        assert_eq!(results.unwrap(), [Some(1), None, None]);
    }
}

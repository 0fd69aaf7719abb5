//! Runs work on many hosts: in batches, concurrently within a batch, until a failure limit or
//! Ctrl-C stops it.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use futures_util::{StreamExt, stream};

use super::{
    rollout::{Gate, Rollout},
    threads::{MAX_THREADS, join, spawn},
};
use crate::core::cancel::Cancel;

/// How work runs on many hosts.
#[derive(Clone, Copy)]
pub struct Drive<'a> {
    /// The batches and the failure limits.
    pub rollout: &'a Rollout,
    /// The number of hosts that work runs on at the same time.
    pub forks: usize,
    /// Whether the user cancelled the run.
    pub cancel: &'a Cancel,
}

/// The results in the order of the hosts. None for a host that was not started.
pub type Results<T, E> = Vec<Option<Result<T, E>>>;

impl Drive<'_> {
    /// Runs `work` for each item as futures, so that a thousand hosts do not need a thousand
    /// threads. A slow item does not delay the others of its batch.
    pub async fn run<I, T, E>(
        self,
        items: &[I],
        work: impl AsyncFn(&I) -> Result<T, E>,
    ) -> Results<T, E> {
        let gate = self.rollout.gate(items.len());
        let mut results = Results::with_capacity(items.len());
        for batch in self.batches(items) {
            if !gate.is_open_between() {
                results.extend(batch.iter().map(|_| None));
                continue;
            }
            let one = async |(at, item): (usize, &I)| {
                if self.is_over(&gate) {
                    return (at, None);
                }
                let result = work(item).await;
                gate.record(result.is_ok());
                (at, Some(result))
            };
            let running = stream::iter(batch.iter().enumerate()).map(one);
            let mut ended: Vec<_> = running.buffer_unordered(self.forks.max(1)).collect().await;
            ended.sort_by_key(|(at, _)| *at);
            results.extend(ended.into_iter().map(|(_, result)| result));
        }
        results
    }

    /// Runs `work` for each item on threads, for scripts.
    pub fn run_on_threads<I: Sync, T: Send, E: Send>(
        self,
        items: &[I],
        work: impl Fn(&I) -> Result<T, E> + Sync,
    ) -> io::Result<Results<T, E>> {
        let gate = self.rollout.gate(items.len());
        let mut results = Results::with_capacity(items.len());
        for batch in self.batches(items) {
            if gate.is_open_between() {
                results.extend(self.batch_on_threads(batch, &gate, &work)?);
            } else {
                results.extend(batch.iter().map(|_| None));
            }
        }
        Ok(results)
    }

    fn batch_on_threads<I: Sync, T: Send, E: Send>(
        self,
        batch: &[I],
        gate: &Gate,
        work: &(impl Fn(&I) -> Result<T, E> + Sync),
    ) -> io::Result<Results<T, E>> {
        let next = AtomicUsize::new(0);
        let results: Vec<Mutex<Option<Result<T, E>>>> =
            batch.iter().map(|_| Mutex::new(None)).collect();
        let take = || {
            while !self.is_over(gate) {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let (Some(item), Some(result)) = (batch.get(at), results.get(at)) else {
                    break;
                };
                let ended = work(item);
                gate.record(ended.is_ok());
                *result.lock().unwrap_or_else(PoisonError::into_inner) = Some(ended);
            }
        };
        thread::scope(|scope| {
            let count = self.forks.clamp(1, batch.len().max(1));
            let count = count.min(MAX_THREADS / 2);
            let mut threads = Vec::new();
            for _ in 0..count {
                match spawn(scope, take) {
                    Ok(thread) => threads.push(thread),
                    Err(error) if threads.is_empty() => return Err(error),
                    // Those that are running do all the work.
                    Err(_) => break,
                }
            }
            threads.into_iter().try_for_each(join)
        })?;
        let results = results.into_iter().map(Mutex::into_inner);
        Ok(results
            .map(|result| result.unwrap_or_else(PoisonError::into_inner))
            .collect())
    }

    fn is_over(self, gate: &Gate) -> bool {
        self.cancel.is_stopping() || !gate.is_open()
    }

    fn batches<'i, I>(&self, items: &'i [I]) -> Vec<&'i [I]> {
        let mut rest = items;
        let sizes = self.rollout.sizes(items.len()).into_iter();
        let split = |size| {
            let (batch, others) = rest.split_at(size);
            rest = others;
            batch
        };
        sizes.map(split).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn drive<'a>(rollout: &'a Rollout, cancel: &'a Cancel, forks: usize) -> Drive<'a> {
        Drive {
            rollout,
            forks,
            cancel,
        }
    }

    /// Runs both ways, with work that fails for 0, and returns the results, which must be the same.
    fn both(rollout: &Rollout, forks: usize, items: &[u64]) -> Results<u64, ()> {
        let cancel = Cancel::default();
        let drive = drive(rollout, &cancel, forks);
        let check = |n: u64| if n == 0 { Err(()) } else { Ok(n) };
        let threaded = drive.run_on_threads(items, |n| check(*n)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        let awaited = runtime.block_on(drive.run(items, async |n: &u64| check(*n)));
        assert_eq!(threaded, awaited);
        threaded
    }

    #[test]
    fn results_are_in_order_and_items_run_at_once() {
        let (rollout, cancel) = (Rollout::default(), Cancel::default());
        let started = Instant::now();
        let work = |n: &u64| {
            thread::sleep(Duration::from_millis(50 * n));
            Ok::<_, ()>(*n)
        };
        let results = drive(&rollout, &cancel, 3).run_on_threads(&[3, 1, 2], work);
        assert_eq!(results.unwrap(), [Some(Ok(3)), Some(Ok(1)), Some(Ok(2))]);
        assert!(started.elapsed() < Duration::from_millis(290));
    }

    #[test]
    fn a_failure_stops_what_has_not_started() {
        let fast = Rollout {
            fail_fast: true,
            ..Rollout::default()
        };
        assert_eq!(
            both(&fast, 1, &[1, 0, 2]),
            [Some(Ok(1)), Some(Err(())), None]
        );
        let goes_on = both(&Rollout::default(), 1, &[0, 1]);
        assert_eq!(goes_on, [Some(Err(())), Some(Ok(1))]);
    }

    #[test]
    fn a_failure_ends_batches_after_its_own() {
        let batches = Rollout {
            batches: vec!["2".parse().unwrap()],
            ..Rollout::default()
        };
        let results = both(&batches, 1, &[0, 1, 2, 3]);
        assert_eq!(results, [Some(Err(())), Some(Ok(1)), None, None]);
    }
}

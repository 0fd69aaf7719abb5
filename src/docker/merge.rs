//! Merges lines of several sources by time. Pure.
//!
//! The lines of one source keep their order. A line is passed on when no other source can have an
//! older one: each of them has a newer line waiting, or has ended. A source that has none is waited
//! for only so long, and lines are passed on early if too much is waiting.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
    time::Duration,
};

use jiff::Timestamp;
use tokio::time::Instant;

/// How many bytes may wait.
const BUDGET: usize = 4 * 1024 * 1024;

/// What a waiting item takes beside its own bytes: about 100 bytes in a queue whose capacity is up to
/// twice its length, and the rounding of an allocation.
const OVERHEAD: usize = 256;

/// Items of several sources that wait to be passed on.
pub(super) struct Merge<T> {
    sources: Vec<Source<T>>,
    /// The first item of each source that has one.
    heads: BinaryHeap<Reverse<(Timestamp, usize)>>,
    /// How many sources have not ended and have no item.
    silent: usize,
    bytes: usize,
    /// How long a source without an item is waited for.
    patience: Duration,
    /// The source with the item that has waited longest, if it is known.
    oldest: Option<usize>,
}

struct Source<T> {
    items: VecDeque<Item<T>>,
    has_ended: bool,
}

struct Item<T> {
    time: Timestamp,
    arrived: Instant,
    size: usize,
    value: T,
}

impl<T> Merge<T> {
    /// Nothing waits yet; none of the sources, which are numbered from 0, has ended.
    pub fn new(sources: usize, patience: Duration) -> Self {
        let source = || Source {
            items: VecDeque::new(),
            has_ended: false,
        };
        Merge {
            sources: (0..sources).map(|_| source()).collect(),
            heads: BinaryHeap::new(),
            silent: sources,
            bytes: 0,
            patience,
            oldest: None,
        }
    }

    /// Adds an item of a source, of this size in bytes.
    pub fn push(&mut self, source: usize, time: Timestamp, size: usize, value: T, now: Instant) {
        let Some(queue) = self.sources.get_mut(source) else {
            return;
        };
        if queue.items.is_empty() {
            self.heads.push(Reverse((time, source)));
            if !queue.has_ended {
                self.silent -= 1;
            }
        }
        let size = size + OVERHEAD;
        self.bytes += size;
        queue.items.push_back(Item {
            time,
            arrived: now,
            size,
            value,
        });
    }

    /// Notes that a source has no more items.
    pub fn end(&mut self, source: usize) {
        if let Some(queue) = self.sources.get_mut(source)
            && !queue.has_ended
        {
            queue.has_ended = true;
            if queue.items.is_empty() {
                self.silent -= 1;
            }
        }
    }

    /// The next item that may be passed on.
    pub fn pop(&mut self, now: Instant) -> Option<T> {
        let may_pass = self.silent == 0
            || self.bytes > BUDGET
            || self.deadline().is_some_and(|deadline| deadline <= now);
        if !may_pass {
            return None;
        }
        let Reverse((_, at)) = self.heads.pop()?;
        let source = self.sources.get_mut(at)?;
        let item = source.items.pop_front()?;
        match source.items.front() {
            Some(next) => self.heads.push(Reverse((next.time, at))),
            None if !source.has_ended => self.silent += 1,
            None => {}
        }
        self.bytes -= item.size;
        if self.oldest == Some(at) {
            self.oldest = None;
        }
        Some(item.value)
    }

    /// When an item has waited long enough; none if nothing waits.
    pub fn deadline(&mut self) -> Option<Instant> {
        if self.oldest.is_none() {
            let first = |(at, source): (usize, &Source<T>)| {
                source.items.front().map(|item| (item.arrived, at))
            };
            let oldest = self.sources.iter().enumerate().filter_map(first).min();
            self.oldest = oldest.map(|(_, at)| at);
        }
        let oldest = self.sources.get(self.oldest?)?.items.front()?;
        Some(oldest.arrived + self.patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_millis(100);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn all(merge: &mut Merge<i64>, now: Instant) -> Vec<i64> {
        std::iter::from_fn(|| merge.pop(now)).collect()
    }

    #[test]
    fn lines_are_ordered_by_time_as_soon_as_no_older_one_can_come() {
        let now = Instant::now();
        let mut merge = Merge::new(2, PATIENCE);
        merge.push(0, at(2), 1, 2, now);
        merge.push(0, at(4), 1, 4, now);
        let early = all(&mut merge, now);
        assert!(early.is_empty(), "the other may have an older one");
        merge.push(1, at(1), 1, 1, now);
        merge.push(1, at(3), 1, 3, now);
        assert_eq!(all(&mut merge, now), [1, 2, 3]);
        merge.end(1);
        assert_eq!(all(&mut merge, now), [4]);
        merge.end(0);
        assert_eq!(merge.deadline(), None);
    }

    #[test]
    fn a_silent_source_is_waited_for_only_so_long() {
        let now = Instant::now();
        let mut merge = Merge::new(3, PATIENCE);
        merge.push(0, at(5), 1, 5, now);
        // Its clock is behind: its lines are always older.
        for n in 0..3 {
            merge.push(1, at(n), 1, n, now + PATIENCE / 2);
        }
        assert_eq!(merge.deadline(), Some(now + PATIENCE));
        assert!(all(&mut merge, now + PATIENCE / 2).is_empty());
        assert_eq!(all(&mut merge, now + PATIENCE), [0, 1, 2, 5]);
    }

    /// Three servers whose clocks are 30 s apart, of which the first writes all the time.
    #[test]
    fn a_clock_that_is_wrong_delays_no_line_for_longer() {
        let start = Instant::now();
        let tick = Duration::from_millis(10);
        let mut merge = Merge::new(3, PATIENCE);
        let (mut sent, mut passed) = (Vec::new(), Vec::new());
        for n in 0..1000_u32 {
            let now = start + tick * n;
            let time = at(i64::from(n / 100));
            let mut push = |source: usize, time: Timestamp| {
                merge.push(source, time, 1, (source, n), now);
                sent.push((source, n));
            };
            push(0, time);
            if n % 7 == 0 {
                push(1, time + Duration::from_secs(30));
            }
            if n % 11 == 0 {
                push(2, time - Duration::from_secs(30));
            }
            while let Some(line) = merge.pop(now) {
                passed.push(line);
            }
            let late = sent.iter().filter(|(_, sent)| tick * (n - sent) > PATIENCE);
            assert!(late.clone().all(|line| passed.contains(line)), "at {n}");
        }
        (0..3).for_each(|source| merge.end(source));
        passed.extend(std::iter::from_fn(|| merge.pop(start)));
        for source in 0..3 {
            let of = |lines: &[(usize, u32)]| -> Vec<u32> {
                let lines = lines.iter().filter(|(from, _)| *from == source);
                lines.map(|(_, n)| *n).collect()
            };
            assert_eq!(of(&passed), of(&sent), "source {source}");
        }
    }

    #[test]
    fn the_lines_of_a_source_keep_their_order() {
        let now = Instant::now();
        let mut merge = Merge::new(1, PATIENCE);
        for time in [3, 1, 2] {
            merge.push(0, at(time), 1, time, now);
        }
        assert_eq!(all(&mut merge, now), [3, 1, 2]);
    }

    #[test]
    fn too_much_does_not_wait() {
        let now = Instant::now();
        let mut merge = Merge::new(2, PATIENCE);
        merge.push(0, at(1), BUDGET, 1, now);
        merge.push(0, at(2), 1, 2, now);
        assert_eq!(all(&mut merge, now), [1]);
        assert!(merge.bytes < BUDGET);
    }
}

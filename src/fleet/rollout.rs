//! Batches of hosts, and when to stop after failures: `--batch`, `--fail-fast`, `--max-fail`.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicUsize, Ordering},
};

/// The size of a batch: a number of hosts, or a percentage of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    /// A number of hosts.
    Count(usize),
    /// A percentage of all hosts.
    Percent(usize),
}

impl FromStr for Portion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let parsed = match text.strip_suffix('%') {
            Some(share) => share.trim().parse().ok().map(Portion::Percent),
            None => text.parse().ok().map(Portion::Count),
        };
        parsed
            .filter(|portion| !matches!(portion, Portion::Percent(101..)))
            .ok_or_else(|| format!("expected a number or a percentage such as 25%, not `{text}`"))
    }
}

impl fmt::Display for Portion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Portion::Count(number) => write!(f, "{number}"),
            Portion::Percent(share) => write!(f, "{share}%"),
        }
    }
}

impl Portion {
    /// The number of hosts of a batch of this size, out of `count`; a percentage is rounded down.
    pub fn of(self, count: usize) -> usize {
        match self {
            Portion::Count(number) => number,
            Portion::Percent(share) => count * share / 100,
        }
    }
}

/// The batches in which hosts are processed, and the failures after which no further one is started.
#[derive(Clone, Debug, Default)]
pub struct Rollout {
    /// The sizes of the batches. The last one repeats. Without any, all hosts are one batch.
    pub batches: Vec<Portion>,
    /// Whether no further host is started after a failure.
    pub fail_fast: bool,
    /// No further host is started after more failures than this.
    pub max_fail: Option<Portion>,
}

impl Rollout {
    /// The sizes of the batches of `count` hosts.
    pub fn sizes(&self, count: usize) -> Vec<usize> {
        self.sizes_of(count, count)
    }

    /// The sizes of the batches of `some` of `all` hosts. Percentages are of all.
    pub fn sizes_of(&self, some: usize, all: usize) -> Vec<usize> {
        match self.batches.last() {
            None => vec![some],
            Some(last) => {
                let (mut rest, mut sizes) = (some, Vec::new());
                let mut portions = self.batches.iter().chain(std::iter::repeat(last));
                while rest > 0 {
                    // A percentage is at least one host.
                    let size = portions.next().map_or(rest, |p| p.of(all).clamp(1, rest));
                    sizes.push(size);
                    rest -= size;
                }
                sizes
            }
        }
    }

    /// The number of failures among `count` hosts after which the next batch still starts.
    pub fn tolerated(&self, count: usize) -> usize {
        match self.max_fail {
            Some(portion) if !self.fail_fast => portion.of(count),
            _ => 0,
        }
    }

    /// Returns the gate that counts failures for a run over `count` hosts.
    pub fn gate(&self, count: usize) -> Gate {
        let limit = if self.fail_fast {
            Some(0)
        } else {
            self.max_fail.map(|portion| portion.of(count))
        };
        Gate {
            limit,
            // Batches are asked for to see one succeed before the next starts.
            between: limit.or((!self.batches.is_empty()).then_some(0)),
            failed: AtomicUsize::new(0),
        }
    }
}

/// Counts failures, and stops hosts from being started after too many. See [`Rollout::gate`].
#[derive(Debug)]
pub struct Gate {
    limit: Option<usize>,
    between: Option<usize>,
    failed: AtomicUsize,
}

impl Gate {
    /// Counts a host that has ended. An unreachable host has failed.
    pub fn record(&self, is_ok: bool) {
        if !is_ok {
            self.failed.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether another host may start.
    pub fn is_open(&self) -> bool {
        self.admits(self.limit)
    }

    /// Whether another batch may start.
    pub fn is_open_between(&self) -> bool {
        self.admits(self.between)
    }

    fn admits(&self, limit: Option<usize>) -> bool {
        limit.is_none_or(|limit| self.failed.load(Ordering::SeqCst) <= limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rollout(batches: &[&str]) -> Rollout {
        Rollout {
            batches: batches.iter().map(|text| text.parse().unwrap()).collect(),
            ..Rollout::default()
        }
    }

    #[test]
    fn sizes_of_batches() {
        assert_eq!(rollout(&["1", "25%", "100%"]).sizes(10), [1, 2, 7]);
        assert_eq!(rollout(&["1", "25%"]).sizes(10), [1, 2, 2, 2, 2, 1]);
        assert_eq!(rollout(&["20%"]).sizes(2), [1, 1]);
        assert_eq!(rollout(&["5"]).sizes(0), [0; 0]);
        assert_eq!(rollout(&["1", "50%"]).sizes_of(4, 10), [1, 3]);
        assert_eq!(rollout(&[]).sizes(3), [3]);
        for bad in ["x", "101%", "-1", ""] {
            assert!(bad.parse::<Portion>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn after_failures_no_more_begin() {
        let after = |rollout: &Rollout, failures: usize| {
            let gate = rollout.gate(10);
            (0..failures).for_each(|_| gate.record(false));
            (gate.is_open(), gate.is_open_between())
        };
        assert_eq!(after(&rollout(&[]), 9), (true, true));
        assert_eq!(after(&rollout(&["1"]), 1), (true, false));
        let fast = Rollout {
            fail_fast: true,
            ..Rollout::default()
        };
        assert_eq!(after(&fast, 0), (true, true));
        assert_eq!(after(&fast, 1), (false, false));
        let some = Rollout {
            max_fail: Some(Portion::Percent(20)),
            ..rollout(&["1"])
        };
        assert_eq!(after(&some, 2), (true, true));
        assert_eq!(after(&some, 3), (false, false));
    }
}

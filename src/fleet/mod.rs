//! Going through many hosts: in which portions, when no more are begun, and what is told at the
//! end.

mod selection;
pub mod threads;

pub use selection::Selection;

use std::{
    str::FromStr,
    sync::atomic::{AtomicUsize, Ordering},
};

use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::{Event, Events, Outcome, RecapLine},
    },
    project::Project,
};

/// A number of hosts, or a share of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Portion {
    /// So many.
    Count(usize),
    /// So many percent of all.
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
            .ok_or_else(|| format!("`{text}` is no number and no share such as 25%"))
    }
}

impl Portion {
    /// How many of `count` hosts that is, rounded down.
    pub fn of(self, count: usize) -> usize {
        match self {
            Portion::Count(number) => number,
            Portion::Percent(share) => count * share / 100,
        }
    }
}

/// In which portions, and until how many failures.
#[derive(Clone, Debug, Default)]
pub struct Rollout {
    /// One after the other; the last one is used again. All at once if there is none.
    pub batches: Vec<Portion>,
    /// After a failure, no more are begun.
    pub fail_fast: bool,
    /// No more are begun after more failures than this.
    pub max_fail: Option<Portion>,
}

impl Rollout {
    /// How many hosts each batch of `count` hosts has.
    pub fn sizes(&self, count: usize) -> Vec<usize> {
        match self.batches.last() {
            None => vec![count],
            Some(last) => {
                let (mut rest, mut sizes) = (count, Vec::new());
                let mut portions = self.batches.iter().chain(std::iter::repeat(last));
                while rest > 0 {
                    // A share is one host at least.
                    let size = portions.next().map_or(rest, |p| p.of(count).clamp(1, rest));
                    sizes.push(size);
                    rest -= size;
                }
                sizes
            }
        }
    }

    /// What admits hosts, one after the other, as long as it goes well enough.
    pub fn gate(&self, count: usize) -> Gate {
        let limit = if self.fail_fast {
            Some(0)
        } else {
            self.max_fail.map(|portion| portion.of(count))
        };
        Gate {
            limit,
            // Who wants batches wants to see one go well before the next.
            between: limit.or((!self.batches.is_empty()).then_some(0)),
            failed: AtomicUsize::new(0),
        }
    }
}

/// See [`Rollout::gate`].
#[derive(Debug)]
pub struct Gate {
    limit: Option<usize>,
    between: Option<usize>,
    failed: AtomicUsize,
}

impl Gate {
    /// A host has ended. One that could not be reached has failed.
    pub fn record(&self, is_ok: bool) {
        if !is_ok {
            self.failed.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Whether another host may begin.
    pub fn is_open(&self) -> bool {
        self.admits(self.limit)
    }

    /// Whether another batch may begin.
    pub fn is_open_between(&self) -> bool {
        self.admits(self.between)
    }

    fn admits(&self, limit: Option<usize>) -> bool {
        limit.is_none_or(|limit| self.failed.load(Ordering::SeqCst) <= limit)
    }
}

/// How it went on one host.
#[derive(Debug)]
pub struct HostResult {
    /// The host's name.
    pub name: String,
    /// How long it took.
    pub seconds: f64,
    /// None if it was not begun.
    pub ended: Option<Result<(), Failure>>,
}

/// Tells how it went. With `recap`, the table is shown also if everything went well. With a
/// `project`, where it did not go well is remembered there, for `--failed`. `interrupted` says why
/// hosts were not begun.
pub fn finish(
    events: &Events,
    project: Option<&Project>,
    results: Vec<HostResult>,
    recap: bool,
    interrupted: bool,
) -> Result<(), Failure> {
    let many = results.len() > 1;
    let (mut lines, mut failures) = (Vec::new(), Vec::new());
    for result in results {
        let (outcome, failure) = match result.ended {
            None => (Outcome::Skipped, None),
            Some(Ok(())) => (Outcome::Ok, None),
            Some(Err(failure)) => {
                let outcome = match failure.kind() {
                    Kind::Unreachable => Outcome::Unreachable,
                    _ => Outcome::Failed,
                };
                let mut own = failure.0;
                if many {
                    own = own
                        .into_iter()
                        .map(|error| error.of_host(&result.name))
                        .collect();
                }
                failures.extend(own.iter().cloned());
                (outcome, own.into_iter().next())
            }
        };
        lines.push(RecapLine {
            name: result.name,
            outcome,
            seconds: result.seconds,
            failure,
        });
    }
    let bad: Vec<&str> = lines
        .iter()
        .filter(|line| !line.is_ok())
        .map(|line| line.name.as_str())
        .collect();
    if let Some(project) = project {
        project.remember_failed(&bad);
    }
    let is_bad = !bad.is_empty();
    if interrupted && lines.iter().any(|line| line.outcome == Outcome::Skipped) {
        failures.push(Diagnostic::new(Kind::Interrupted, "interrupted"));
    }
    if many && (recap || is_bad) {
        events.emit(Event::Recap {
            noun: "host",
            lines,
        });
        if is_bad && project.is_some() {
            events.note("`--failed` does it again on the hosts that are not ok");
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Failure(failures))
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

//! Finishes a run on many hosts: shows the table, collects the failures, and records the failed
//! hosts for `--failed`.

use crate::{
    core::{
        diagnostic::{Diagnostic, Failure, Kind},
        event::{Event, Events, Outcome, RecapLine},
    },
    project::Project,
};

/// The result of one host.
#[derive(Debug)]
pub struct HostResult {
    /// The host's name.
    pub name: String,
    /// The elapsed time in seconds.
    pub seconds: f64,
    /// None if it was not started.
    pub ended: Option<Result<(), Failure>>,
}

/// What is shown if every host succeeded. If one failed, it is the table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum OnSuccess {
    /// Nothing.
    Nothing,
    /// How many hosts succeeded.
    Counts,
    /// The table.
    Table,
}

/// Reports the results of all hosts, and returns the failures. With a `project`, the hosts that
/// did not succeed are remembered there, for `--failed`. `interrupted` says that hosts were not
/// started because of Ctrl-C, not because of failures.
pub fn finish(
    events: &Events,
    project: Option<&Project>,
    results: Vec<HostResult>,
    on_success: OnSuccess,
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
    if many && (on_success != OnSuccess::Nothing || is_bad) {
        events.emit(Event::Recap {
            noun: "host",
            lines,
            counts_only: on_success == OnSuccess::Counts && !is_bad,
        });
        if is_bad && project.is_some() {
            events.note("use `--failed` to run again on the hosts that did not succeed");
        }
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Failure(failures))
    }
}

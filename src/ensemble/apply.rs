//! Executes a plan: everything whose dependencies are met, at once.
//!
//! The executor knows no kinds of resources. It keeps a queue of steps that are ready: a step is
//! counted down each time one of its dependencies is done.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{
    Execution, Plan,
    operation::{self, Operation},
    plan::Step,
    resource::ResourceName,
};
use crate::{
    core::{
        diagnostic::{Diagnostic, Kind},
        event::{Outcome, RecapLine},
    },
    fleet::Rollout,
};

/// The result of a step.
enum Ended {
    Done { changed: bool, took: Duration },
    Failed { error: Diagnostic, took: Duration },
    Skipped,
}

/// Executes a plan. A failure stops only what depends on the step that failed, and after Ctrl-C no
/// further steps begin. None begins after more failures than --max-fail allows. Returns a line for each
/// resource, in the plan's order.
pub async fn apply<'a>(plan: &'a Plan, execution: &'a Execution<'a>) -> Vec<RecapLine> {
    let steps = &plan.steps;
    let mut queue = Queue::new(steps);
    let request = execution.request;
    // The replicas of a batch are counted by the batch.
    let is_batch = |step: &Step| step.operation.kind() == operation::Kind::Batch;
    let limit = if request.rollout.fail_fast || !steps.iter().any(is_batch) {
        let resources: HashSet<_> = steps
            .iter()
            .filter_map(|step| step.resource.as_ref())
            .collect();
        request.rollout.gate(resources.len())
    } else {
        Rollout::default().gate(0)
    };
    let mut running = FuturesUnordered::new();
    loop {
        for at in std::mem::take(&mut queue.ready) {
            if !execution.world.cancel().is_stopping() && limit.is_open() {
                running.push(run(at, &steps[at], execution));
            }
        }
        let Some((at, result)) = running.next().await else {
            break;
        };
        limit.record(matches!(result, Ended::Done { .. }));
        queue.end(at, result);
    }
    drop(running);
    let mut ended = queue.ended;
    undo(steps, &mut ended, execution).await;
    recap(steps, ended)
}

/// The steps that wait for others, and those that have ended.
struct Queue<'a> {
    steps: &'a [Step],
    dependents: Vec<Vec<usize>>,
    /// How many steps each one waits for.
    waiting: Vec<usize>,
    /// The steps whose dependencies are done, and that have not started.
    ready: Vec<usize>,
    /// The result of each step: skipped unless it was executed.
    ended: Vec<Ended>,
    /// The steps that will not be executed, because one before them was not.
    lost: HashSet<usize>,
    /// How many replicas failed in each batch and in those before it, by the step that ends it.
    failed: HashMap<usize, usize>,
}

impl<'a> Queue<'a> {
    fn new(steps: &'a [Step]) -> Self {
        let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
        let mut waiting: Vec<usize> = Vec::with_capacity(steps.len());
        for (at, step) in steps.iter().enumerate() {
            for before in &step.after {
                dependents[*before].push(at);
            }
            waiting.push(step.after.len());
        }
        Queue {
            steps,
            dependents,
            ready: (0..steps.len()).filter(|at| waiting[*at] == 0).collect(),
            waiting,
            ended: steps.iter().map(|_| Ended::Skipped).collect(),
            lost: HashSet::new(),
            failed: HashMap::new(),
        }
    }

    /// Notes what became of a step, and finds those that are ready now.
    fn end(&mut self, at: usize, result: Ended) {
        let is_done = matches!(result, Ended::Done { .. });
        self.ended[at] = result;
        let mut settled = vec![(at, is_done)];
        while let Some((at, is_done)) = settled.pop() {
            for index in 0..self.dependents[at].len() {
                let dependent = self.dependents[at][index];
                let is_batch = self.steps[dependent].operation.kind() == operation::Kind::Batch;
                if is_done || is_batch {
                    self.waiting[dependent] -= 1;
                    if self.waiting[dependent] > 0 || self.lost.contains(&dependent) {
                        continue;
                    }
                    if is_batch && !self.may_continue_after(dependent) {
                        self.lost.insert(dependent);
                        settled.push((dependent, false));
                    } else {
                        self.ready.push(dependent);
                    }
                } else if self.lost.insert(dependent) {
                    settled.push((dependent, false));
                }
            }
        }
    }

    /// Whether the next batch may begin after the one that a step ends. Counts its failures.
    fn may_continue_after(&mut self, at: usize) -> bool {
        let Operation::Batch {
            replicas, may_fail, ..
        } = &self.steps[at].operation
        else {
            return true;
        };
        let after = &self.steps[at].after;
        let is_well = |before: &usize| match self.ended[*before] {
            Ended::Done { .. } => true,
            Ended::Failed { .. } => false,
            // What depends on a replica that failed is no further failure.
            Ended::Skipped => {
                let resource = self.steps[*before].resource.as_ref();
                resource.is_none_or(|name| !replicas.contains(name))
            }
        };
        let unwell = after.iter().filter(|before| !is_well(before));
        let unwell: HashSet<_> = unwell
            .filter_map(|before| self.steps[*before].resource.as_ref())
            .collect();
        let earlier = after.iter().filter_map(|before| self.failed.get(before));
        let failed = unwell.len() + earlier.max().copied().unwrap_or(0);
        self.failed.insert(at, failed);
        failed <= *may_fail
    }
}

/// Undoes the steps whose purpose was not reached: another step on the same resource that waited for
/// them was not done.
async fn undo(steps: &[Step], ended: &mut [Ended], execution: &Execution<'_>) {
    let mut pending: Vec<usize> = Vec::new();
    for (at, step) in steps.iter().enumerate() {
        if matches!(ended[at], Ended::Done { .. }) {
            continue;
        }
        let same = step.after.iter().filter(|before| {
            steps[**before].resource == step.resource
                && matches!(ended[**before], Ended::Done { changed: true, .. })
        });
        pending.extend(same);
    }
    for at in pending {
        let Some(resource) = &steps[at].resource else {
            continue;
        };
        let started = Instant::now();
        if let Err(error) = steps[at].operation.undo(resource, execution).await {
            ended[at] = Ended::Failed {
                error,
                took: started.elapsed(),
            };
        }
    }
}

async fn run<'a>(at: usize, step: &'a Step, execution: &'a Execution<'a>) -> (usize, Ended) {
    let started = Instant::now();
    let result = match &step.resource {
        Some(resource) => {
            let running = execution.begin(resource);
            let result = step.operation.execute(resource, execution).await;
            running.end();
            result
        }
        None => Ok(false),
    };
    let took = started.elapsed();
    let ended = match result {
        Ok(changed) => Ended::Done { changed, took },
        Err(error) => Ended::Failed { error, took },
    };
    (at, ended)
}

/// A line for each resource about which there is something to say.
fn recap(steps: &[Step], ended: Vec<Ended>) -> Vec<RecapLine> {
    let mut lines: Vec<RecapLine> = Vec::new();
    let mut position: HashMap<&ResourceName, usize> = HashMap::new();
    for (step, ended) in steps.iter().zip(ended) {
        let Some(resource) = &step.resource else {
            continue;
        };
        let at = *position.entry(resource).or_insert_with(|| {
            lines.push(RecapLine {
                name: resource.to_string(),
                outcome: Outcome::Ok,
                seconds: 0.0,
                failure: None,
            });
            lines.len() - 1
        });
        let line = &mut lines[at];
        match ended {
            Ended::Done { changed, took } => {
                line.seconds += took.as_secs_f64();
                if changed && line.outcome == Outcome::Ok {
                    line.outcome = Outcome::Changed;
                }
            }
            Ended::Failed { error, took } => {
                line.seconds += took.as_secs_f64();
                line.outcome = match error.kind {
                    Kind::Unreachable => Outcome::Unreachable,
                    _ => Outcome::Failed,
                };
                // The first failure is the cause; another one may be that it could not be undone.
                line.failure = Some(match line.failure.take() {
                    Some(first) => first.note(error.message),
                    None => error,
                });
            }
            Ended::Skipped if line.failure.is_none() => line.outcome = Outcome::Skipped,
            Ended::Skipped => {}
        }
    }
    lines
}

//! Executes a plan: everything whose dependencies are met, at once.
//!
//! The executor knows no kinds of resources. It keeps a queue of steps that are ready: a step is
//! counted down each time one of its dependencies is done.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream::FuturesUnordered};

use super::{Execution, Plan, plan::Step, resource::ResourceName};
use crate::core::{
    diagnostic::{Diagnostic, Kind},
    event::{Outcome, RecapLine},
};

/// The result of a step.
enum Ended {
    Done { changed: bool, took: Duration },
    Failed { error: Diagnostic, took: Duration },
    Skipped,
}

/// Executes a plan. A failure stops only what depends on the step that failed; after Ctrl-C no
/// further steps begin. Returns a line for each resource, in the plan's order.
pub async fn apply<'a>(plan: &'a Plan, execution: &'a Execution<'a>) -> Vec<RecapLine> {
    let steps = &plan.steps;
    let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); steps.len()];
    let mut waiting: Vec<usize> = Vec::with_capacity(steps.len());
    for (at, step) in steps.iter().enumerate() {
        for before in &step.after {
            dependents[*before].push(at);
        }
        waiting.push(step.after.len());
    }
    let mut ready: Vec<usize> = (0..steps.len()).filter(|at| waiting[*at] == 0).collect();
    let mut ended: Vec<Ended> = steps.iter().map(|_| Ended::Skipped).collect();
    let mut running = FuturesUnordered::new();
    loop {
        for at in std::mem::take(&mut ready) {
            if !execution.world.cancel().is_stopping() {
                running.push(run(at, &steps[at], execution));
            }
        }
        let Some((at, result)) = running.next().await else {
            break;
        };
        if let Ended::Done { .. } = result {
            for dependent in &dependents[at] {
                waiting[*dependent] -= 1;
                if waiting[*dependent] == 0 {
                    ready.push(*dependent);
                }
            }
        }
        ended[at] = result;
    }
    drop(running);
    undo(steps, &mut ended, execution).await;
    recap(steps, ended)
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

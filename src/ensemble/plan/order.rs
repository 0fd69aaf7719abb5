//! Orders the steps between which the manifest has no dependency: a step that frees a port, a name
//! or a volume runs before the step that needs it, and removals run last.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{Step, make::barrier};
use crate::{
    docker::{Container, Protocol},
    ensemble::{
        Observed,
        operation::Operation,
        resource::{Cause, Decision, ResourceName},
    },
};

/// Makes the steps that need a port or a volume wait for the steps that free it.
///
/// If the step that frees it already waits for the step that needs it, as when two containers swap
/// their ports, an additional step stops the current holder before both.
pub fn free_before_take(
    steps: &mut Vec<Step>,
    observed: &Observed,
    decisions: &HashMap<ResourceName, Decision>,
) {
    let mut by_server: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (at, step) in steps.iter().enumerate() {
        if let Some(ResourceName::Container(server, _)) = &step.resource {
            by_server.entry(server.clone()).or_default().push(at);
        }
    }
    for (server, own) in by_server {
        let Some(state) = observed.servers.get(&server) else {
            continue;
        };
        let containers = state.engine.containers();
        // The step that removes or replaces each container, by the container's id.
        let ends: HashMap<&str, usize> = own
            .iter()
            .filter_map(|at| match &steps[*at].operation {
                Operation::RemoveContainer { id } | Operation::ReplaceContainer { id, .. } => {
                    let found = containers.iter().find(|container| container.id == *id);
                    Some((found?.id.as_str(), *at))
                }
                _ => None,
            })
            .collect();
        if ends.is_empty() {
            continue;
        }
        for at in own {
            let Some(needs) = Needs::of(&steps[at], decisions) else {
                continue;
            };
            for holder in containers {
                let Some(end) = ends.get(holder.id.as_str()).copied() else {
                    continue;
                };
                let is_removed = matches!(steps[end].operation, Operation::RemoveContainer { .. });
                if end == at || !needs.something_of(holder, is_removed) {
                    continue;
                }
                if is_before(steps, at, end) {
                    let stop = stop(steps, at, end, holder);
                    steps[at].after.push(stop);
                    steps[end].after.push(stop);
                } else {
                    steps[at].after.push(end);
                }
            }
        }
    }
    for step in steps {
        step.after.sort_unstable();
        step.after.dedup();
    }
}

/// Adds a step that stops a container, on which the step `at` and the step `end`, which replaces or
/// removes the container, wait. It waits for the same steps as `at`, so that nothing is stopped if
/// one of them fails. Returns its position.
fn stop(steps: &mut Vec<Step>, at: usize, end: usize, holder: &Container) -> usize {
    let operation = Operation::StopContainer {
        id: holder.id.clone(),
    };
    if let Some(stop) = steps.iter().position(|step| step.operation == operation) {
        // A step that waits for `at` cannot run before it.
        let waiting = steps[stop].after.iter().copied();
        let after = waiting.filter(|before| !is_before(steps, at, *before));
        steps[stop].after = after.collect();
        return stop;
    }
    let ports: Vec<String> = holder
        .ports()
        .iter()
        .map(|port| port.public.to_string())
        .collect();
    steps.push(Step {
        resource: steps[end].resource.clone(),
        what: steps[end].what.clone(),
        operation,
        cause: Cause::InTheWay(format!("port {}", ports.join(", "))),
        changes: Vec::new(),
        after: steps[at].after.clone(),
    });
    steps.len() - 1
}

/// The ports and volumes that a container will use.
struct Needs {
    /// None if the ports are not known yet.
    ports: Option<Vec<(u16, Protocol)>>,
    volumes: Vec<String>,
}

impl Needs {
    fn of(step: &Step, decisions: &HashMap<ResourceName, Decision>) -> Option<Self> {
        match step.operation {
            Operation::CreateContainer { .. }
            | Operation::FinishContainer { .. }
            | Operation::StartContainer { .. }
            | Operation::ReplaceContainer { .. }
            | Operation::Deferred { .. } => {}
            _ => return None,
        }
        let decision = decisions.get(step.resource.as_ref()?)?;
        Some(Needs {
            ports: decision.ports.clone(),
            volumes: decision.volumes.clone(),
        })
    }

    /// Whether the container needs a port that `holder` publishes, or, if `holder` is removed, a
    /// volume of it.
    fn something_of(&self, holder: &Container, is_removed: bool) -> bool {
        let Some(ports) = &self.ports else {
            return is_removed;
        };
        let port = holder.state.holds_processes()
            && holder
                .ports()
                .iter()
                .any(|held| ports.contains(&(held.public, held.protocol)));
        let volume = is_removed
            && holder
                .options
                .volumes()
                .iter()
                .any(|held| self.volumes.contains(&held.host));
        port || volume
    }
}

/// Whether a step must be executed before another one.
fn is_before(steps: &[Step], first: usize, then: usize) -> bool {
    let (mut seen, mut stack) = (HashSet::new(), vec![then]);
    while let Some(at) = stack.pop() {
        if at == first {
            return true;
        }
        if seen.insert(at) {
            stack.extend(&steps[at].after);
        }
    }
    false
}

/// Makes the removals, which begin at `others`, wait for all other steps, so that nothing is
/// removed if one of them fails. A removal that another step waits for is left as it is.
pub fn remove_last(steps: &mut Vec<Step>, others: usize) {
    let needed: HashSet<usize> = steps.iter().flat_map(|step| step.after.clone()).collect();
    let is_removal = |step: &Step| step.cause == Cause::NotInManifest;
    let last: Vec<usize> = (others..steps.len())
        .filter(|at| is_removal(&steps[*at]) && !needed.contains(at))
        .collect();
    let before: Vec<usize> = (0..steps.len())
        .filter(|at| !needed.contains(at) && !last.contains(at))
        .collect();
    if last.is_empty() || before.is_empty() {
        return;
    }
    let everything = match before.as_slice() {
        [one] => *one,
        _ => {
            steps.push(barrier(before));
            steps.len() - 1
        }
    };
    for at in last {
        steps[at].after.push(everything);
    }
}

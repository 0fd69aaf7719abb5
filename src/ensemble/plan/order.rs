//! Orders the steps between which the manifest has no dependency: a step that frees a port, a name
//! or a volume runs before the step that needs it, and removals run last.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::Step;
use crate::{
    docker::{Container, Port},
    ensemble::{
        EngineState, Observed,
        operation::Operation,
        resource::{Cause, Decision, ResourceName, container::IMAGE_FIELDS},
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
        let holders: Vec<Holder> = own
            .iter()
            .filter_map(|at| Holder::of(*at, &steps[*at], &state.engine, decisions))
            .collect();
        if holders.is_empty() {
            continue;
        }
        for at in own {
            let Some(needs) = Needs::of(&steps[at], decisions) else {
                continue;
            };
            for holder in &holders {
                if holder.end == at || !needs.something_of(holder) {
                    continue;
                }
                if is_before(steps, at, holder.end) {
                    let stop = stop(steps, at, holder);
                    steps[at].after.push(stop);
                    steps[holder.end].after.push(stop);
                } else {
                    steps[at].after.push(holder.end);
                }
            }
        }
    }
    for step in steps {
        step.after.sort_unstable();
        step.after.dedup();
    }
}

/// An existing container that a step replaces or removes.
struct Holder<'a> {
    container: &'a Container,
    /// The position of the step that replaces or removes it.
    end: usize,
    is_removed: bool,
    /// The ports that it holds now and that its replacement does not publish.
    ports: Vec<Port>,
}

impl<'a> Holder<'a> {
    fn of(
        at: usize,
        step: &Step,
        engine: &'a EngineState,
        decisions: &HashMap<ResourceName, Decision>,
    ) -> Option<Self> {
        let ResourceName::Container(_, name) = step.resource.as_ref()? else {
            return None;
        };
        let container = match &step.operation {
            Operation::RemoveContainer { id } | Operation::ReplaceContainer { id, .. } => {
                let mut containers = engine.containers().iter();
                containers.find(|container| container.id == *id)
            }
            // It may be replaced.
            Operation::Deferred { .. } => engine.container(name),
            _ => None,
        }?;
        let is_removed = matches!(step.operation, Operation::RemoveContainer { .. });
        let keeps = step.resource.as_ref().filter(|_| !is_removed);
        let keeps = keeps.and_then(|resource| decisions.get(resource)?.ports.clone());
        let mut ports = Vec::new();
        if container.state.holds_processes() {
            ports.extend(container.ports());
            ports.retain(|port| !keeps.iter().flatten().any(|kept| kept == port));
        }
        Some(Holder {
            container,
            end: at,
            is_removed,
            ports,
        })
    }
}

/// Adds a step that stops a container for the step `at`, before another step replaces or removes
/// it. It waits for the same steps as `at`, and for the images of both, so that nothing is stopped
/// if one of these fails. Returns its position.
fn stop(steps: &mut Vec<Step>, at: usize, holder: &Holder<'_>) -> usize {
    let operation = Operation::StopContainer {
        id: holder.container.id.clone(),
    };
    let needed = steps[at].after.clone();
    let image = provide_image(steps, at, &needed);
    if let Some(stop) = steps.iter().position(|step| step.operation == operation) {
        // A step that waits for `at` cannot run before it.
        let waiting = steps[stop].after.iter().copied();
        let mut after: Vec<usize> = waiting
            .filter(|before| !is_before(steps, at, *before))
            .collect();
        after.extend(image.filter(|image| !is_before(steps, stop, *image)));
        steps[stop].after = after;
        return stop;
    }
    let mut after = needed.clone();
    after.extend(image);
    after.extend(provide_image(steps, holder.end, &needed));
    let ports: Vec<String> = holder
        .ports
        .iter()
        .map(|port| port.public.to_string())
        .collect();
    steps.push(Step {
        resource: steps[holder.end].resource.clone(),
        what: steps[holder.end].what.clone(),
        operation,
        cause: Cause::InTheWay(format!("port {}", ports.join(", "))),
        changes: Vec::new(),
        after,
    });
    steps.len() - 1
}

/// Adds a step that provides the image of the container that the step `at` creates, after the steps
/// `needed`. None if it creates no container, or if the image depends on values that are not known
/// before that step.
fn provide_image(steps: &mut Vec<Step>, at: usize, needed: &[usize]) -> Option<usize> {
    let (Operation::CreateContainer { options }
    | Operation::ReplaceContainer { options, .. }
    | Operation::Deferred { options, .. }) = &steps[at].operation
    else {
        return None;
    };
    if !options.select(&IMAGE_FIELDS).uses().is_empty() {
        return None;
    }
    let operation = Operation::ProvideImage {
        options: options.clone(),
    };
    let is_same = |step: &Step| {
        step.resource == steps[at].resource && step.operation.kind() == operation.kind()
    };
    if let Some(found) = steps.iter().position(is_same) {
        return Some(found);
    }
    let step = Step {
        resource: steps[at].resource.clone(),
        what: steps[at].what.clone(),
        operation,
        cause: Cause::Order,
        changes: Vec::new(),
        after: needed.to_vec(),
    };
    steps.push(step);
    Some(steps.len() - 1)
}

/// The ports and volumes that a container will use.
struct Needs {
    /// None if the ports are not known yet.
    ports: Option<BTreeSet<Port>>,
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

    /// Whether the container needs a port that `holder` frees, or, if `holder` is removed, a volume
    /// of it.
    fn something_of(&self, holder: &Holder<'_>) -> bool {
        let Some(ports) = &self.ports else {
            return holder.is_removed;
        };
        let mut volumes = holder.container.options.volumes().iter();
        let volume = holder.is_removed && volumes.any(|held| self.volumes.contains(&held.host));
        let mut taken = holder.ports.iter();
        volume || taken.any(|held| ports.iter().any(|port| port.conflicts_with(held)))
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
            steps.push(Step::barrier(before));
            steps.len() - 1
        }
    };
    for at in last {
        steps[at].after.push(everything);
    }
}
